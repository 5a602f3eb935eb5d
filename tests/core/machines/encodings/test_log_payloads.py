"""What gateways write to the log."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.exceptions import WireError
from cluster.core.machines.encodings.log_payloads import (
    GATEWAY,
    LogPayload,
    decode_log_payload,
    encode_event,
    encode_log_payload,
    says_ready,
)
from cluster.core.wire.fields import encode_fields

NODE = "node0.1@A"
RESTORE = wire.Restore(b"t", 1, 1, (b"f",), "e")
EVENTS = st.lists(
    st.sampled_from(
        [
            (NODE, wire.Hello(returning=True)),
            (NODE, wire.NodeSubscriptions(NODE, (b"t",), (b"u",))),
            (NODE, wire.PresenceUpdate(NODE, True, ((b"t", "ada"),))),
            (NODE, wire.Arrive("b", 2, (1, 2))),
            (NODE, wire.Withdraw("b", (1,))),
            (NODE, wire.Retain(b"t", 1, b"frame", 0, 1)),
            (NODE, wire.Query(b"t")),
            (NODE, wire.Goodbye()),
            (NODE, wire.Left(NODE, True)),
            (NODE, RESTORE),
            (GATEWAY, RESTORE),
        ]
    )
)


def encoded(node: str, message: wire.Message) -> bytes:
    return encode_log_payload(False, [encode_event(node, message)])


class LogPayloadTests(SynchronousTestCase):
    """encode_log_payload and decode_log_payload."""

    def assertRefused(self, data: bytes, reason: str) -> None:
        error = self.assertRaises(WireError, decode_log_payload, data, "A")
        self.assertIn(reason, str(error))

    @given(st.booleans(), EVENTS)
    def test_events_survive(self, ready: bool, events: list[tuple[str, wire.Message]]) -> None:
        data = encode_log_payload(ready, [encode_event(*event) for event in events])
        self.assertEqual(decode_log_payload(data, "A"), LogPayload(ready, tuple(events)))
        self.assertEqual(says_ready(data), ready)

    @given(st.binary(max_size=80) | st.builds(bytes.__add__, st.just(b"R"), st.binary()))
    def test_other_bytes_are_refused(self, data: bytes) -> None:
        try:
            ready, events = decode_log_payload(data, "A")
        except WireError:
            return
        again = encode_log_payload(ready, [encode_event(*event) for event in events])
        self.assertEqual(decode_log_payload(again, "A"), LogPayload(ready, events))

    def test_what_a_gateway_may_write(self) -> None:
        self.assertRefused(b"", "not a turn")
        self.assertRefused(b"R" + encode_fields([b"x"]), "without a message")
        self.assertRefused(encoded("node0.1@B", wire.Hello()), "not a node of machine A")
        self.assertRefused(encoded("node0.1", wire.Hello()), "not a node of machine A")
        self.assertRefused(encoded(NODE, wire.UnknownNode()), "a node does not send UnknownNode")
        self.assertRefused(encoded(GATEWAY, wire.Hello()), "a gateway does not write Hello")
        self.assertRefused(b"S" + encode_fields([b"\xff", b"G"]), "not the name of a node")
