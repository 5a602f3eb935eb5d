"""Masking and splitting of small frames."""

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from workers.connection.frames import SMALL, masked_text, split_text_frames


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A server's frame of at most 65,535 bytes."""
    if len(payload) <= SMALL:
        return bytes((first, len(payload))) + payload
    return bytes((first, 126)) + len(payload).to_bytes(2, "big") + payload


class MaskTests(SynchronousTestCase):
    @given(st.binary(max_size=SMALL), st.binary(min_size=4, max_size=4))
    def test_unmasking_returns_the_message(self, message: bytes, mask: bytes) -> None:
        masked = masked_text(message, mask)
        self.assertEqual(masked[:2], bytes((0x81, 0x80 | len(message))))
        self.assertEqual(masked[2:6], mask)
        unmasked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(masked[6:]))
        self.assertEqual(unmasked, message)


class SplitTests(SynchronousTestCase):
    @given(st.lists(st.text(st.characters(max_codepoint=127), max_size=SMALL), min_size=1))
    def test_complete_frames_are_split(self, texts: list[str]) -> None:
        messages = [text.encode() for text in texts]
        self.assertEqual(split_text_frames(b"".join(map(frame, messages))), messages)

    def test_other_chunks_are_left_to_autobahn(self) -> None:
        for name, data in {
            "cut in the payload": frame(b"0 1 2 1") + frame(b"0 1 3 1")[:-1],
            "cut in the header": frame(b"0 1 2 1") + b"\x81",
            "too long": frame(b"0 1 2 1") + b"0",
            "masked": masked_text(b"0 1 2 1", b"abcd"),
            "binary": frame(b"0 1 2 1", 0x82),
            "a fragment": frame(b"0 1 2 1", 0x01),
            "a ping after a text": frame(b"0 1 2 1") + frame(b"", 0x89),
            "a close frame": frame(b"\x03\xe8", 0x88),
            "not ASCII": frame("é".encode()),
            "a continuation byte like a header": frame("Á".encode()),
            "a long one": frame(b"x" * 126),
            "rubbish": os.urandom(8) + b"\x00",
        }.items():
            self.assertIsNone(split_text_frames(data), name)
