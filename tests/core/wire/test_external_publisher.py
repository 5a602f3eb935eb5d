"""Messages between a node and an external publisher <-> bytes."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import WireError
from cluster.core.wire.external_publisher import (
    MAX_MESSAGE,
    VERSION,
    Accepted,
    Closing,
    ExternalMessage,
    Greeting,
    MessageDecoder,
    Publish,
    Rejection,
    encode,
)
from cluster.core.wire.fields import LIMIT, encode_fields
from tests import profiles  # noqa: F401  (loads it)

NUMBERS = st.integers(0, LIMIT - 1)
OCTETS = st.binary(max_size=30)
MESSAGES: st.SearchStrategy[ExternalMessage] = st.one_of(
    st.builds(Greeting, st.text(max_size=5), NUMBERS),
    st.builds(Publish, OCTETS, OCTETS, NUMBERS, NUMBERS),
    st.builds(Accepted, NUMBERS, NUMBERS),
    st.builds(Rejection, st.text(max_size=20)),
    st.builds(Closing),
)


def length(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


class MessageDecoderTests(SynchronousTestCase):
    @given(st.lists(MESSAGES, max_size=5), st.integers(1, 50))
    def test_roundtrip_in_pieces_of_any_size(self, sent: list[ExternalMessage], size: int) -> None:
        stream = b"".join(map(encode, sent))
        messages = MessageDecoder()
        received: list[ExternalMessage] = []
        for at in range(0, len(stream), size):
            received += messages.feed(stream[at : at + size])
        self.assertEqual(received, sent)

    def test_the_bytes_of_a_publication(self) -> None:
        """Processes of another release read them, so they must not change."""
        self.assertEqual(
            encode(Publish(b"t", b"\x81\2hi", 15, 3_600_000)),
            # length, kind, fields: count, lengths, contents
            b"\x2a\0\0\0P\4\0\0\0"
            b"\1\0\0\0\4\0\0\0\x08\0\0\0\x08\0\0\0"
            b"t"
            b"\x81\2hi"
            b"\x0f" + bytes(7) + b"\x80\xee\x36" + bytes(5),
        )
        self.assertEqual(
            encode(Greeting("s")), b"\x16\0\0\0H\2\0\0\0\1\0\0\0\x08\0\0\0s\1" + bytes(7)
        )
        self.assertEqual(encode(Closing()), b"\5\0\0\0C" + bytes(4))

    def test_a_message_that_is_too_long_is_not_encoded(self) -> None:
        encode(Publish(b"t", bytes(MAX_MESSAGE - 100)))
        with self.assertRaises(ValueError) as raised:
            encode(Publish(b"t", bytes(MAX_MESSAGE)))
        self.assertIn("the limit is 16,777,216 bytes", str(raised.exception))

    def test_a_message_that_is_too_long_is_refused_by_its_length_alone(self) -> None:
        self.assertRaises(WireError, MessageDecoder().feed, (MAX_MESSAGE + 1).to_bytes(4, "little"))
        self.assertEqual(MessageDecoder().feed(MAX_MESSAGE.to_bytes(4, "little")), [])

    def test_malformed_messages_are_refused(self) -> None:
        number = VERSION.to_bytes(8, "little")
        for body in (
            b"",
            b"P",
            b"GET / HTTP/1.1\r\n\r\n",
            b"Q" + encode_fields([]),
            b"C" + encode_fields([b"what"]),
            b"R" + encode_fields([number]),
            b"R" + encode_fields([number, b"short"]),
            b"F" + encode_fields([b"\xff"]),
            b"P" + encode_fields([b"t", b"f", number]),
            b"C" + encode_fields([]) + b"more",
        ):
            self.assertRaises(WireError, MessageDecoder().feed, length(body))

    @given(st.binary(max_size=60))
    def test_arbitrary_bytes_are_refused_or_incomplete(self, data: bytes) -> None:
        with contextlib.suppress(WireError):
            MessageDecoder().feed(data)
