"""Tests of cluster.core.socketio.engine_packets."""

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from cluster.core.socketio.engine_packets import (
    CLOSE,
    MESSAGE,
    NOOP,
    OPEN,
    PING,
    PONG,
    UPGRADE,
    InvalidPacket,
    decode_packet,
    decode_payload,
    encode_payload,
    open_packet,
)
from tests import profiles

assert profiles

MANY = 1000

text_packets = st.tuples(
    st.sampled_from(b"0123456"),
    st.text().map(str.encode).map(lambda data: data.replace(b"\x1e", b"")),
).map(lambda parts: (bytes((parts[0],)) + parts[1], False))
binary_packets = st.tuples(st.binary(), st.just(True))


class DecodePacketTests(TestCase):
    def test_types(self) -> None:
        types = (OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP)
        for digit, kind in zip(b"0123456", types, strict=True):
            packet = decode_packet(bytes((digit,)) + b"data", False)
            self.assertEqual(packet, (kind, b"data", False))

    def test_no_data(self) -> None:
        self.assertEqual(decode_packet(b"5", False), (UPGRADE, b"", False))

    def test_binary_data_is_a_message_without_a_type(self) -> None:
        for data in (b"\x01\x02", b"2", b""):
            self.assertEqual(decode_packet(data, True), (MESSAGE, data, True))

    def test_what_is_not_a_packet(self) -> None:
        for data in (b"", b"7", b"/", b"abc", b"bAQID", b" 4", "\u0664".encode()):
            with self.assertRaises(InvalidPacket, msg=data):
                decode_packet(data, False)

    @given(st.binary(), st.booleans())
    def test_garbage(self, data: bytes, is_binary: bool) -> None:
        with contextlib.suppress(InvalidPacket):
            decode_packet(data, is_binary)


class PayloadTests(TestCase):
    def test_the_examples_of_the_document(self) -> None:
        self.assertEqual(
            decode_payload(b"4hello\x1e2\x1e4world", 3),
            [(MESSAGE, b"hello", False), (PING, b"", False), (MESSAGE, b"world", False)],
        )
        self.assertEqual(
            decode_payload(b"4hello\x1ebAQIDBA==", 2),
            [(MESSAGE, b"hello", False), (MESSAGE, b"\x01\x02\x03\x04", True)],
        )
        self.assertEqual(
            encode_payload([(b"4hello", False), (b"\x01\x02\x03\x04", True)]),
            b"4hello\x1ebAQIDBA==",
        )

    def test_text_is_utf_8(self) -> None:
        body = "4\u20ac\x1e4\U0001f600".encode()
        self.assertEqual(
            decode_payload(body, 2),
            [(MESSAGE, "\u20ac".encode(), False), (MESSAGE, "\U0001f600".encode(), False)],
        )

    def test_as_many_packets_as_allowed_and_one_more(self) -> None:
        self.assertEqual(len(decode_payload(b"2\x1e2", 2)), 2)
        with self.assertRaises(InvalidPacket):
            decode_payload(b"2\x1e2\x1e2", 2)

    def test_what_is_not_a_payload(self) -> None:
        for body in (
            b"", b"\x1e", b"4a\x1e", b"\x1e4a", b"4a\x1e\x1e4b", b"abc", b"4\xff", b"4\xed\xa0\x80",
            b"bAQI", b"bAQID\n", b"b!", b"bA===", b"4a\x1e7",
        ):  # fmt: skip
            with self.assertRaises(InvalidPacket, msg=body):
                decode_payload(body, MANY)

    @given(st.lists(text_packets | binary_packets, min_size=1))
    def test_round_trips(self, packets: list[tuple[bytes, bool]]) -> None:
        self.assertEqual(
            decode_payload(encode_payload(packets), MANY),
            [decode_packet(data, is_binary) for data, is_binary in packets],
        )

    @given(st.binary() | st.text(st.sampled_from("0123456bAQ=\x1e")).map(str.encode))
    def test_garbage(self, body: bytes) -> None:
        with contextlib.suppress(InvalidPacket):
            decode_payload(body, 5)


class OpenPacketTests(TestCase):
    def test_the_keys_of_the_document(self) -> None:
        packet = open_packet("lv_VI97HAXpY6yYWAAAC", ["websocket"], 300, 200, 1_000_000)
        kind, data, _ = decode_packet(packet, False)
        self.assertEqual(kind, OPEN)
        self.assertEqual(
            json.loads(data),
            {
                "sid": "lv_VI97HAXpY6yYWAAAC",
                "upgrades": ["websocket"],
                "pingInterval": 300,
                "pingTimeout": 200,
                "maxPayload": 1_000_000,
            },
        )
