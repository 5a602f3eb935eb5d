"""Tests of cluster.core.socketio.reassembly."""

from typing import Any

from twisted.trial.unittest import TestCase

from cluster.core.socketio.engine_packets import InvalidPacket
from cluster.core.socketio.packets import BINARY_EVENT, Packet, PacketLimits
from cluster.core.socketio.reassembly import Reassembly

FIRST, SECOND = {"_placeholder": True, "num": 0}, {"_placeholder": True, "num": 1}


class ReassemblyTests(TestCase):
    def begin(self, *data: Any, attachments: int) -> Reassembly:
        packet = Packet(BINARY_EVENT, "/", ["a", *data], None, attachments)
        return Reassembly(packet, PacketLimits(attachment_bytes=10))

    def test_attachments_take_the_places_of_their_placeholders(self) -> None:
        reassembly = self.begin({"x": [SECOND]}, FIRST, 1, None, attachments=2)
        self.assertIsNone(reassembly.attachment(b"one"))
        packet = reassembly.attachment(b"two")
        assert packet is not None
        self.assertEqual(packet.data, ["a", {"x": [b"two"]}, b"one", 1, None])

    def test_attachments_that_are_too_large(self) -> None:
        reassembly = self.begin(FIRST, SECOND, attachments=2)
        reassembly.attachment(b"123456")
        with self.assertRaises(InvalidPacket):
            reassembly.attachment(b"12345")

    def test_placeholders_and_attachments_that_do_not_fit(self) -> None:
        numbers: list[Any] = [{"_placeholder": True, "num": each} for each in ("0", True, None)]
        for data in ([], [FIRST, FIRST], [SECOND], *([each] for each in numbers)):
            reassembly = self.begin(*data, attachments=1)
            with self.assertRaises(InvalidPacket, msg=str(data)):
                reassembly.attachment(b"a")

    def test_data_that_only_resembles_a_placeholder(self) -> None:
        reassembly = self.begin(FIRST, {"_placeholder": 1}, attachments=1)
        packet = reassembly.attachment(b"a")
        assert packet is not None
        self.assertEqual(packet.data, ["a", b"a", {"_placeholder": 1}])

    def test_data_that_is_nested_too_deeply(self) -> None:
        nested: Any = FIRST
        for _ in range(10_000):
            nested = [nested]
        reassembly = self.begin(nested, attachments=1)
        with self.assertRaises(InvalidPacket):
            reassembly.attachment(b"a")
