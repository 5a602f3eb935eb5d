"""Batches of publications <-> bytes."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import WireError
from cluster.core.wire.batches import (
    Batch,
    decode_batch,
    encode_acknowledgement,
    encode_batch,
    publications,
)
from cluster.core.wire.fields import encode_fields
from tests import profiles

assert profiles

ITEMS = st.lists(st.binary(max_size=40), max_size=20)
PAIRS = ITEMS.map(lambda items: items[: len(items) // 2 * 2])
NUMBERS = st.integers(1, 2**64 - 1)


class BatchTests(SynchronousTestCase):
    """encode_batch, encode_acknowledgement and decode_batch."""

    def test_layout(self) -> None:
        self.assertEqual(
            encode_batch(258, [b"t", b"frame"], 3, 4, [b"u"]),
            b"\2\1\0\0\0\0\0\0"
            + (b"\3" + bytes(7))
            + (b"\4" + bytes(7))
            + (b"\1" + bytes(3))
            + encode_fields([b"u", b"t", b"frame"]),
        )
        self.assertEqual(
            encode_acknowledgement(9, True),
            bytes(8) + (b"\1" + bytes(7)) + (b"\t" + bytes(7)) + bytes(4) + encode_fields([]),
        )

    @given(NUMBERS, PAIRS, st.integers(0, 2**64 - 1), ITEMS, st.data())
    def test_roundtrip(
        self, number: int, items: list[bytes], known: int, lost: list[bytes], data: st.DataObject
    ) -> None:
        first = data.draw(st.integers(1, number))
        encoded = encode_batch(number, items, first, known, lost)
        self.assertEqual(decode_batch(encoded), Batch(number, first, known, lost, items))
        self.assertEqual(publications(encoded), len(items) // 2)

    @given(st.integers(0, 2**64 - 1), st.booleans())
    def test_acknowledgements(self, number: int, resend: bool) -> None:
        encoded = encode_acknowledgement(number, resend)
        self.assertEqual(decode_batch(encoded), (0, resend, number, [], []))

    def test_impossible_batches_are_refused(self) -> None:
        for encoded, reason in (
            (b"abc", "3 bytes are too short"),
            (encode_batch(1, [b"topic"]), "a topic that has no frame"),
            (encode_batch(1, [], 1, 0, [b"u"])[:-9] + encode_fields([]), "1 lost topics"),
            (encode_batch(3, [], first=0), "batch 3 of those from number 0 on"),
            (encode_batch(3, [], first=4), "batch 3 of those from number 4 on"),
            (encode_batch(0, [b"t", b"x"]), "an acknowledgement with publications"),
            (encode_batch(0, [], first=2), "an acknowledgement with publications"),
        ):
            with self.assertRaises(WireError) as raised:
                decode_batch(encoded)
            self.assertIn(reason, str(raised.exception))

    @given(st.binary(max_size=60))
    def test_arbitrary_bytes_are_a_batch_or_a_wire_error(self, encoded: bytes) -> None:
        try:
            batch = decode_batch(encoded)
        except WireError:
            return
        number, first, acknowledged, lost, items = batch
        self.assertEqual(encode_batch(number, items, first, acknowledged, lost), encoded)
