"""A snapshot in pieces."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import WireError
from cluster.core.machines import snapshot_transfer
from cluster.core.machines.encodings.inbox_payloads import SnapshotPiece
from cluster.core.machines.encodings.plain_values import encode_value
from cluster.core.machines.snapshot_transfer import SnapshotReceiver, divide

RECORDS = st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 9)), max_size=8)


class SnapshotTransferTests(SynchronousTestCase):
    """divide and SnapshotReceiver."""

    def setUp(self) -> None:
        self.patch(snapshot_transfer, "PIECE_BYTES", 100)
        self.receiver = SnapshotReceiver()

    @given(RECORDS)
    def test_the_records_survive(self, records: list[tuple[Any, ...]]) -> None:
        pieces = list(divide("1-0", records))
        self.assertTrue(all(len(piece.data) <= 100 for piece in pieces))
        self.assertEqual([piece.number for piece in pieces], list(range(len(pieces))))
        *before, last = [self.receiver.receive("A~1", piece) for piece in pieces]
        self.assertEqual(before, [None] * len(before))
        self.assertEqual(last, records)
        self.assertEqual(self.receiver.size, 0)

    def test_pieces_are_encoded_when_their_turn_comes(self) -> None:
        left = iter([(bytes(100),)] * 9)
        next(divide("1-0", left))
        self.assertEqual(len(list(left)), 8)

    def test_another_sender_begins_another_snapshot(self) -> None:
        first = list(divide("1-0", [(bytes(300),)]))
        second = list(divide("2-0", [(b"x",)]))
        self.assertIsNone(self.receiver.receive("A~1", first[0]))
        self.assertGreater(self.receiver.size, 0)
        self.assertEqual(self.receiver.receive("B~1", second[0]), [(b"x",)])
        self.assertRaises(WireError, self.receiver.receive, "A~1", first[1])

    def test_pieces_that_do_not_fit_together_are_refused(self) -> None:
        pieces = list(divide("1-0", [(bytes(300),)]))
        self.receiver.receive("A~1", pieces[0])
        self.assertRaises(WireError, self.receiver.receive, "A~1", pieces[2])

    @given(st.binary(max_size=60))
    def test_other_bytes_are_refused(self, data: bytes) -> None:
        try:
            records = SnapshotReceiver().receive("A~1", SnapshotPiece("1-0", 0, True, data))
        except WireError:
            return
        assert records is not None
        self.assertTrue(all(isinstance(record, tuple) for record in records))

    def test_a_record_is_a_tuple(self) -> None:
        value = encode_value(b"no tuple")
        data = len(value).to_bytes(4, "little") + value
        piece = SnapshotPiece("1-0", 0, True, data)
        self.assertRaises(WireError, self.receiver.receive, "A~1", piece)
