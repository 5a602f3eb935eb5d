"""Tests of cluster.core.socketio.reassembly."""

from typing import Any

from twisted.trial.unittest import TestCase

from cluster.core.socketio.engine_packets import InvalidPacket
from cluster.core.socketio.packets import BINARY_EVENT, Packet, PacketLimits
from cluster.core.socketio.reassembly import Reassembly

FIRST, SECOND = {"_placeholder": True, "num": 0}, {"_placeholder": True, "num": 1}


class ReassemblyTests(TestCase):
    def setUp(self) -> None:
        self.reassembly = Reassembly(PacketLimits(attachment_bytes=10))

    def event(self, *data: Any, attachments: int) -> Packet:
        return Packet(BINARY_EVENT, "/", ["a", *data], None, attachments)

    def test_attachments_take_the_places_of_their_placeholders(self) -> None:
        self.assertIsNone(
            self.reassembly.add(self.event({"x": [SECOND]}, FIRST, 1, None, attachments=2))
        )
        self.assertIsNone(self.reassembly.attachment(b"one"))
        packet = self.reassembly.attachment(b"two")
        assert packet is not None
        self.assertEqual(packet.data, ["a", {"x": [b"two"]}, b"one", 1, None])

    def test_one_packet_after_the_other(self) -> None:
        for data in (b"123456", b"654321"):
            self.assertIsNone(self.reassembly.add(self.event(FIRST, attachments=1)))
            packet = self.reassembly.attachment(data)
            assert packet is not None
            self.assertEqual(packet.data, ["a", data])

    def test_a_packet_without_attachments(self) -> None:
        packet = self.event(FIRST, attachments=0)
        self.assertIs(self.reassembly.add(packet), packet)

    def test_binary_data_that_no_packet_has_announced(self) -> None:
        with self.assertRaises(InvalidPacket):
            self.reassembly.attachment(b"a")

    def test_a_packet_in_place_of_an_attachment(self) -> None:
        self.reassembly.add(self.event(FIRST, attachments=1))
        with self.assertRaises(InvalidPacket):
            self.reassembly.add(self.event(1, attachments=0))

    def test_attachments_that_are_too_large(self) -> None:
        self.reassembly.add(self.event(FIRST, SECOND, attachments=2))
        self.reassembly.attachment(b"123456")
        with self.assertRaises(InvalidPacket):
            self.reassembly.attachment(b"12345")

    def test_placeholders_and_attachments_that_do_not_fit(self) -> None:
        numbers: list[Any] = [{"_placeholder": True, "num": each} for each in ("0", True, None)]
        for data in ([], [FIRST, FIRST], [SECOND], *([each] for each in numbers)):
            self.reassembly.add(self.event(*data, attachments=1))
            with self.assertRaises(InvalidPacket, msg=str(data)):
                self.reassembly.attachment(b"a")

    def test_data_that_only_resembles_a_placeholder(self) -> None:
        self.reassembly.add(self.event(FIRST, {"_placeholder": 1}, attachments=1))
        packet = self.reassembly.attachment(b"a")
        assert packet is not None
        self.assertEqual(packet.data, ["a", b"a", {"_placeholder": 1}])

    def test_data_that_is_nested_too_deeply(self) -> None:
        nested: Any = FIRST
        for _ in range(10_000):
            nested = [nested]
        self.reassembly.add(self.event(nested, attachments=1))
        with self.assertRaises(InvalidPacket):
            self.reassembly.attachment(b"a")
