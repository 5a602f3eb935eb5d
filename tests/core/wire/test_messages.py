"""Messages between a node and the broker <-> bytes."""

import contextlib
from dataclasses import FrozenInstanceError

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.exceptions import WireError
from cluster.core.wire import messages as module
from cluster.core.wire.fields import LIMIT, NUMBER, encode_fields
from cluster.core.wire.topic_messages import MAX_RESTORED

TEXT = st.text(max_size=12)
NAME = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)
TOPICS = st.lists(st.binary(max_size=12), max_size=5).map(tuple)
NAMES = st.lists(NAME, max_size=5).map(tuple)
NUMBERS = st.integers(0, LIMIT - 1)
TOKENS = st.lists(NUMBERS, max_size=5).map(tuple)

OCTETS = st.binary(max_size=12)
MEMBERSHIPS = st.lists(st.tuples(OCTETS, TEXT), max_size=3).map(tuple)


EPOCHS = st.sampled_from(["9f3a", "9f3ax1 9f3a:7", "b a:1 0:20"])


def kept_frames(cls: type[wire.Message]) -> st.SearchStrategy[wire.Message]:
    """Frames with a time for each, or without times."""
    frames = TOPICS.flatmap(
        lambda frames: st.tuples(
            st.just(frames),
            EPOCHS,
            st.just(()) | st.tuples(*[NUMBERS] * len(frames)),
            st.sampled_from(["", "node0.9f:7", "a:1 b:20"]),
            NUMBERS,
            st.booleans(),
        )
    )
    return st.builds(
        lambda topic, depth, offset, rest: cls(topic, depth, offset, *rest),  # type: ignore[call-arg]
        OCTETS,
        st.integers(1, LIMIT - 1),
        st.integers(5, MAX_RESTORED),
        frames,
    )


BY_CLASS: dict[type[wire.Message], st.SearchStrategy[wire.Message]] = {
    wire.Hello: st.builds(wire.Hello, st.just(wire.VERSION), st.booleans()),
    wire.Welcome: st.builds(wire.Welcome, TEXT, NAMES),
    wire.Rejected: st.builds(wire.Rejected, TEXT),
    wire.UnknownNode: st.builds(wire.UnknownNode),
    wire.Goodbye: st.builds(wire.Goodbye),
    wire.Joined: st.builds(wire.Joined, NAME, st.booleans()),
    wire.Left: st.builds(wire.Left, NAME, st.booleans()),
    wire.Congested: st.builds(wire.Congested, NAME),
    wire.Cleared: st.builds(wire.Cleared, NAME),
    wire.NodeSubscriptions: st.builds(wire.NodeSubscriptions, NAME, TOPICS, TOPICS),
    wire.Arrive: st.builds(wire.Arrive, TEXT, NUMBERS, TOKENS, st.booleans()),
    wire.Withdraw: st.builds(wire.Withdraw, TEXT, TOKENS),
    wire.Refuse: st.builds(wire.Refuse, TEXT, TOKENS),
    wire.Release: st.builds(wire.Release, TEXT, TOKENS),
    wire.Retain: st.builds(wire.Retain, OCTETS, NUMBERS, OCTETS, NUMBERS, NUMBERS),
    wire.Acknowledged: st.builds(wire.Acknowledged, NUMBERS),
    wire.Restore: kept_frames(wire.Restore),
    wire.Retained: kept_frames(wire.Retained),
    wire.Query: st.builds(wire.Query, OCTETS),
    wire.PresenceUpdate: st.builds(
        wire.PresenceUpdate, NAME, st.booleans(), MEMBERSHIPS, MEMBERSHIPS
    ),
    wire.ExternalRequest: st.builds(wire.ExternalRequest, TEXT, OCTETS),
    wire.ExternalAnswer: st.builds(wire.ExternalAnswer, TEXT, OCTETS),
}
MESSAGES = st.one_of(*BY_CLASS.values())

KINDS = [cls.KIND for cls in BY_CLASS]

PLAUSIBLE = st.builds(
    lambda kind, fields: kind + encode_fields(fields),
    st.sampled_from(KINDS),
    st.lists(st.binary(max_size=9) | NUMBERS.map(lambda n: n.to_bytes(8, "little")), max_size=6),
)
"""Well-formed fields after a known kind, which pass the first checks."""


class WireTests(SynchronousTestCase):
    """encode and decode."""

    def assertRefused(self, encoded: bytes, reason: str) -> None:
        with self.assertRaises(WireError) as raised:
            wire.decode(encoded)
        self.assertIn(reason, str(raised.exception))

    def test_every_message_class_is_tested_here(self) -> None:
        classes = {
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, wire.Message) and "KIND" in vars(value)
        }
        self.assertEqual(classes, set(BY_CLASS))

    def test_kinds_are_single_bytes_and_distinct(self) -> None:
        kinds = [*KINDS, wire.BATCH]
        self.assertEqual([len(kind) for kind in kinds], [1] * len(kinds))
        self.assertEqual(len(set(kinds)), len(kinds))

    def test_the_grammar_names_every_kind(self) -> None:
        for cls in BY_CLASS:
            self.assertIn(f"{cls.KIND.decode()} {cls.__name__}", module.__doc__ or "")

    def test_messages_cannot_be_changed(self) -> None:
        message = wire.Left("node1")
        with self.assertRaises(FrozenInstanceError):
            message.node = "node2"  # type: ignore[misc]

    def test_messages_are_encoded_byte_for_byte(self) -> None:
        self.assertEqual(wire.encode(wire.Goodbye()), b"G" + encode_fields([]))
        self.assertEqual(
            wire.encode(wire.NodeSubscriptions("node1", (b"a", b"b"), (b"c",))),
            b"I" + encode_fields([b"node1", b"\2" + bytes(7), b"a", b"b", b"c"]),
        )
        self.assertEqual(
            wire.encode(wire.Arrive("game", 3, (1, 256))),
            b"A"
            + encode_fields(
                [b"game", b"\3" + bytes(7), b"\1" + bytes(7) + b"\0\1" + bytes(6), bytes(8)]
            ),
        )

    @given(MESSAGES)
    def test_decoding_reverses_encoding(self, message: wire.Message) -> None:
        decoded = wire.decode(wire.encode(message))
        self.assertEqual(decoded, message)
        self.assertIs(type(decoded), type(message))

    @given(st.data())
    def test_roundtrip_of_each_class(self, data: st.DataObject) -> None:
        for messages in BY_CLASS.values():
            message = data.draw(messages)
            self.assertEqual(wire.decode(wire.encode(message)), message)

    @given(st.binary(max_size=60) | PLAUSIBLE)
    def test_arbitrary_bytes_are_a_message_or_a_wire_error(self, encoded: bytes) -> None:
        try:
            message = wire.decode(encoded)
        except WireError:
            return
        self.assertEqual(wire.decode(wire.encode(message)), message)

    @given(MESSAGES, st.data())
    def test_damaged_messages_are_a_message_or_a_wire_error(
        self, message: wire.Message, data: st.DataObject
    ) -> None:
        encoded = bytearray(wire.encode(message))
        for _ in range(data.draw(st.integers(1, 3))):
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
        with contextlib.suppress(WireError):
            wire.decode(bytes(encoded))

    def test_empty_messages_and_unknown_kinds(self) -> None:
        self.assertRefused(b"", "unknown message kind b''")
        self.assertRefused(b"?" + encode_fields([]), "unknown message kind b'?'")
        self.assertRefused(wire.BATCH + encode_fields([]), "unknown message kind b'P'")

    def test_a_wrong_number_of_fields_is_a_wire_error(self) -> None:
        self.assertRefused(b"G" + encode_fields([b""]), "1 fields instead of 0")
        self.assertRefused(b"J" + encode_fields([]), "0 fields instead of 2")
        self.assertRefused(b"H" + encode_fields([]), "0 fields instead of 2")
        self.assertRefused(b"A" + encode_fields([b"game"]), "1 fields instead of 4")
        self.assertRefused(b"W" + encode_fields([]), "a welcome without an epoch")
        self.assertRefused(b"I" + encode_fields([b"node1"]), "subscriptions without a node")
        self.assertRefused(b"T" + encode_fields([b"t", bytes(8)]), "without its offset")
        self.assertRefused(b"K" + encode_fields([b"t"]), "1 fields instead of 5")
        self.assertRefused(b"Q" + encode_fields([]), "0 fields instead of 1")
        self.assertRefused(b"M" + encode_fields([b"n", bytes(8)]), "a presence update of 2 fields")

    def test_a_node_of_another_version_can_be_rejected(self) -> None:
        """Whatever else its Hello has."""
        for fields in ([NUMBER.encode(5)], [NUMBER.encode(wire.VERSION + 1), b"more", b"fields"]):
            hello = wire.decode(b"H" + encode_fields(fields))
            self.assertEqual(hello, wire.Hello(NUMBER.decode(fields[0])))

    def test_invalid_fields_are_wire_errors(self) -> None:
        name = encode_fields([b"\xff", bytes(8)])
        self.assertRefused(b"J" + name, "not the name of a node: b'\\xff'")
        self.assertRefused(b"U" + encode_fields([b"\xff"]), "not UTF-8: b'\\xff'")
        self.assertRefused(b"H" + encode_fields([b"1"]), "a number of 1 bytes")
        self.assertRefused(b"B" + encode_fields([b"game", b"123"]), "tokens of 3 bytes")
        one = b"\1" + bytes(7)
        kept = [b"t", one, one, b"e", bytes(16), b"", *[bytes(8)] * 2, b"frame"]
        self.assertRefused(b"T" + encode_fields(kept), "1 frames with 2 times")
        numbers = [bytes(8)] * 2
        bad_epochs, bad_sources = [b"e f", b"", b"", *numbers], [b"e", b"", b"a", *numbers]
        self.assertRefused(b"S" + encode_fields([*kept[:3], *bad_epochs]), "EPOCH:OFFSET")
        self.assertRefused(b"S" + encode_fields([*kept[:3], *bad_sources]), "PUBLISHER:NUMBER")
        rest = [b"e", b"", b"", *numbers, b"frame"]
        self.assertRefused(b"T" + encode_fields([b"t", one, bytes(8), *rest]), "up to offset 0")
        too_far = (MAX_RESTORED + 1).to_bytes(8, "little")
        self.assertRefused(b"S" + encode_fields([b"t", one, too_far, *rest]), "up to offset 23")
        self.assertRefused(b"T" + encode_fields([b"t", bytes(8), one, *rest]), "depth 0")
        for epochs in (b"", b" a:1", b"a-b"):
            self.assertRefused(b"T" + encode_fields([b"t", one, one, epochs, *rest[1:]]), "epoch")
        self.assertRefused(
            b"M" + encode_fields([b"n", bytes(8), b"\2" + bytes(7), b"t", b"ada"]),
            "2 members announced, 1 sent",
        )
        self.assertRefused(
            b"I" + encode_fields([b"node1", b"\2" + bytes(7), b"a"]), "2 topics announced, 1 sent"
        )
