"""Tests of cluster.core.socketio.packets."""

import contextlib
import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from cluster.core.socketio.engine_packets import InvalidPacket
from cluster.core.socketio.packets import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DEFAULT_LIMITS,
    DISCONNECT,
    EVENT,
    Packet,
    PacketLimits,
    decode,
    encode,
)
from cluster.core.socketio.reassembly import Reassembly
from tests import profiles

assert profiles

FIRST, SECOND = {"_placeholder": True, "num": 0}, {"_placeholder": True, "num": 1}

EXAMPLES = (
    # Of the protocol's document.
    (b"0", Packet(CONNECT, "/", None, None, 0)),
    (b'0/admin,{"sid":"a"}', Packet(CONNECT, "/admin", {"sid": "a"}, None, 0)),
    (b'4{"message":"no"}', Packet(CONNECT_ERROR, "/", {"message": "no"}, None, 0)),
    (b'2["foo"]', Packet(EVENT, "/", ["foo"], None, 0)),
    (b'2/admin,["bar"]', Packet(EVENT, "/admin", ["bar"], None, 0)),
    (b'212["foo"]', Packet(EVENT, "/", ["foo"], 12, 0)),
    (b'3/admin,13["bar"]', Packet(ACK, "/admin", ["bar"], 13, 0)),
    (b"1", Packet(DISCONNECT, "/", None, None, 0)),
    (b"1/admin,", Packet(DISCONNECT, "/admin", None, None, 0)),
    (
        b'52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
        Packet(BINARY_EVENT, "/admin", ["baz", FIRST, SECOND], None, 2),
    ),
    (
        b'61-15["bar",{"_placeholder":true,"num":0}]',
        Packet(BINARY_ACK, "/", ["bar", FIRST], 15, 1),
    ),
)


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


class DecodeTests(TestCase):
    def test_depth(self) -> None:
        """What is decoded can be encoded again, also by a caller with a deep stack."""
        for begin, end in (("[", "]"), ('{"a":', "}")):
            allowed = f'2["a",{begin * 99}1{end * 99}]'.encode()
            decode(allowed)
            decode(b'2["a","' + b"[" * 5000 + b'"]')
            decode(b'2["a"' + b",[]" * 5000 + b"]")
            for levels in (100, 400, 900):
                with self.assertRaises(InvalidPacket):
                    decode(f'2["a",{begin * levels}1{end * levels}]'.encode())
            decode(allowed, PacketLimits(depth=100))

    def assertInvalid(self, text: bytes, limits: PacketLimits = DEFAULT_LIMITS) -> None:
        with self.assertRaises(InvalidPacket, msg=text):
            decode(text, limits)

    def test_the_examples_of_the_document(self) -> None:
        for text, packet in EXAMPLES:
            self.assertEqual(decode(text), packet)

    def test_a_namespace_may_end_the_packet(self) -> None:
        self.assertEqual(decode(b"0/random"), Packet(CONNECT, "/random", None, None, 0))

    def test_the_name_of_an_event_may_be_a_number(self) -> None:
        self.assertEqual(decode(b"2[1,2]").data, [1, 2])
        self.assertEqual(decode(b"2[1.5]").data, [1.5])

    def test_the_acknowledgement_of_nothing(self) -> None:
        self.assertEqual(decode(b"37[]"), Packet(ACK, "/", [], 7, 0))

    def test_what_is_not_a_packet(self) -> None:
        for text in (
            b"", b"a", b"9", b"abc", b"\xff", b"2", b"2[", b"2{}", b"2[]", b"2[null]", b"2[true]",
            b'2["connect"]', b'2["disconnecting",1]', b"2[NaN]", b'2["a",Infinity]', b'2["a"]x',
            b"3", b"3{}", b'0"a"', b"0[]", b"1{}", b"4", b"41", b'5["a"]', b'5-["a"]', b"51-",
            b'51-[{"_placeholder":true,"num":0}]', b'21-["a"]', b'50-["a"]', b"60-[]",
            b"2" + b"[" * 100_000, b'2["a",1e999]', b'2["a",-1e999]',
            '2\u0663["a"]'.encode(), '5\u0661-["a"]'.encode(),
        ):  # fmt: skip
            self.assertInvalid(text)

    def test_limits(self) -> None:
        limits = PacketLimits(attachments=2, namespace=4, id_digits=3)
        self.assertEqual(decode(b'52-/abc,999["a"]', limits).attachments, 2)
        for text in (b'53-["a"]', b'2/abcd,["a"]', b'21000["a"]', b"5" + b"9" * 5000 + b'-["a"]'):
            self.assertInvalid(text, limits)

    @given(st.binary(max_size=60))
    def test_garbage(self, text: bytes) -> None:
        with contextlib.suppress(InvalidPacket):
            decode(text)

    @given(st.text(st.sampled_from('0123456789-/,[]{}"a_'), max_size=30))
    def test_garbage_that_resembles_packets(self, text: str) -> None:
        try:
            packet = decode(text.encode())
        except InvalidPacket:
            return
        self.assertIn(packet.type, range(7))


class EncodeTests(TestCase):
    def test_the_examples_of_the_document(self) -> None:
        for text, packet in EXAMPLES:
            if not packet.attachments:
                found = encode(packet.type, packet.namespace, packet.data, packet.id, compact)
                self.assertEqual(found, (text, ()))

    def test_binary_parts_become_attachments(self) -> None:
        for data in (b"one", bytearray(b"one"), memoryview(b"one")):
            self.assertEqual(
                encode(EVENT, "/", ("baz", {"x": [data, b"two"]}, 1), None, compact),
                (
                    b'52-["baz",{"x":[{"_placeholder":true,"num":0},'
                    b'{"_placeholder":true,"num":1}]},1]',
                    (b"one", b"two"),
                ),
            )
        self.assertEqual(
            encode(ACK, "/admin", [b"one"], 15, compact),
            (b'61-/admin,15[{"_placeholder":true,"num":0}]', (b"one",)),
        )

    def test_what_cannot_be_encoded(self) -> None:
        with self.assertRaises(TypeError):
            encode(EVENT, "/", ["a", object()])
        with self.assertRaises(TypeError):
            encode(EVENT, "/", ["a", b"binary", object()])
        for number in (math.nan, math.inf):
            with self.assertRaises(ValueError):
                encode(EVENT, "/", ["a", number])

    def test_data_that_is_nested_too_deeply(self) -> None:
        for innermost in (1, b"binary"):
            nested: Any = innermost
            for _ in range(100_000):
                nested = [nested]
            with self.assertRaises(ValueError):
                encode(EVENT, "/", ["a", nested])

    def test_binary_data_that_is_nested_deeper_than_its_walk_can_follow(self) -> None:
        nested: Any = b"binary"
        for _ in range(900):
            nested = {"": [nested]}
        with self.assertRaises(ValueError):
            encode(EVENT, "/", ["a", nested], None, lambda value: json.dumps(b""))

    @given(
        st.sampled_from((EVENT, ACK)),
        st.sampled_from(("/", "/admin", "/a/b")),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.binary(),
            lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(), each, max_size=4),
            max_leaves=10,
        ),
        st.none() | st.integers(0, 10**15 - 1),
    )
    def test_round_trips(self, kind: int, namespace: str, value: Any, id: int | None) -> None:
        text, attachments = encode(kind, namespace, ["a", value], id)
        packet = decode(text)
        reassembly = Reassembly(packet)
        found: Packet | None = packet
        for data in attachments:
            found = reassembly.attachment(data)
        assert found is not None
        self.assertEqual((found.namespace, found.data, found.id), (namespace, ["a", value], id))
        self.assertEqual(found.type, kind + 3 if attachments else kind)
