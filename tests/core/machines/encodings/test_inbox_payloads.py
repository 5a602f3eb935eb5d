"""What gateways write to the inboxes of others."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import WireError
from cluster.core.machines.encodings.inbox_payloads import (
    RoutedBatch,
    SnapshotPiece,
    decode_inbox_payload,
    encode_batches,
    encode_piece,
)
from cluster.core.wire.fields import FLAG, NUMBER, encode_fields

BATCHES = st.lists(st.builds(RoutedBatch, st.just("n.1@A"), st.just("n.2@B"), st.binary()))
PIECES = st.builds(
    SnapshotPiece, st.just("1700000000000-3"), st.integers(0, 99), st.booleans(), st.binary()
)


class InboxPayloadTests(SynchronousTestCase):
    """encode_batches, encode_piece and decode_inbox_payload."""

    @given(BATCHES)
    def test_batches_survive(self, batches: list[RoutedBatch]) -> None:
        self.assertEqual(decode_inbox_payload(encode_batches(batches)), tuple(batches))

    @given(PIECES)
    def test_pieces_survive(self, piece: SnapshotPiece) -> None:
        self.assertEqual(decode_inbox_payload(encode_piece(piece)), piece)

    @given(st.binary(max_size=80) | st.builds(bytes.__add__, st.just(b"P"), st.binary()))
    def test_other_bytes_are_refused(self, data: bytes) -> None:
        try:
            payload = decode_inbox_payload(data)
        except WireError:
            return
        if isinstance(payload, SnapshotPiece):
            self.assertEqual(decode_inbox_payload(encode_piece(payload)), payload)
        else:
            self.assertEqual(decode_inbox_payload(encode_batches(payload)), payload)

    def test_wrong_payloads_are_refused(self) -> None:
        numbers = [NUMBER.encode(0), FLAG.encode(True), b"piece"]
        for data in (
            b"X" + encode_fields([]),
            b"P" + encode_fields([b"n.1@A", b"n.2@B"]),
            b"P" + encode_fields([b"n.1@A", b"\xff", b"data"]),
            b"S" + encode_fields(numbers),
            *(b"S" + encode_fields([id, *numbers]) for id in (b"", b"1", b"1-", b"1-x", b"1-2-3")),
        ):
            self.assertRaises(WireError, decode_inbox_payload, data)
