"""Encoding of frames, and unmasking."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.websocket.frames import binary_frame, frame_payload, is_utf8, text_frame, unmask
from tests import profiles  # noqa: F401  # loads the Hypothesis profile
from tests.net.websocket.wire import masked

SIZES = (0, 1, 125, 126, 127, 65535, 65536, 70000)


class FramesTests(SynchronousTestCase):
    def test_bytes_on_the_wire(self) -> None:
        self.assertEqual(text_frame(b"Hello"), b"\x81\x05Hello")
        self.assertEqual(binary_frame(b""), b"\x82\x00")
        self.assertEqual(binary_frame(b"x" * 126)[:4], b"\x82\x7e\x00\x7e")
        self.assertEqual(text_frame(b"x" * 65536)[:10], b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00")

    def test_frame_payload_decodes_frames(self) -> None:
        for size in SIZES:
            payload = b"y" * size
            self.assertEqual(frame_payload(text_frame(payload)), (payload, False))
            self.assertEqual(frame_payload(binary_frame(payload)), (payload, True))

    @given(st.binary(min_size=4, max_size=4), st.binary(max_size=300))
    def test_unmask_returns_the_payload(self, mask: bytes, payload: bytes) -> None:
        self.assertEqual(unmask(mask, masked(payload, mask)), payload)

    def test_unmask_of_any_size_gives_bytes(self) -> None:
        mask = b"\x01\x82\xff\x00"
        for size in (0, 125, 1399, 1400, 1401, 70000):
            payload = bytes(range(256)) * (size // 256 + 1)
            unmasked = unmask(mask, masked(payload[:size], mask))
            self.assertIs(type(unmasked), bytes)
            self.assertEqual(unmasked, payload[:size])

    def test_utf8_is_valid_as_in_rfc_3629(self) -> None:
        for good in ("", "a", "κόσμε", "\U0010ffff", "\ufffe"):
            self.assertTrue(is_utf8(good.encode()))
        for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xce"):
            self.assertFalse(is_utf8(bad))
