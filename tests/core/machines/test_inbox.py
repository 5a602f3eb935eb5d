"""What other gateways and external processes send."""

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines.encodings.inbox_payloads import (
    RoutedBatch,
    SnapshotPiece,
    encode_batches,
    encode_piece,
)
from cluster.core.machines.engine import BATCHES, EXTERNAL, START, InboxEntry
from cluster.core.machines.inbox import Inbox


def batch(data: bytes) -> RoutedBatch:
    return RoutedBatch("n.1@A", "n.1@B", data)


class InboxTests(SynchronousTestCase):
    """Inbox."""

    def setUp(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.inbox = Inbox(self.dropped)
        self.number = 0

    def take(self, after: str, *contents: bytes, member: str = "B~1") -> None:
        self.number += 1
        data = encode_batches(map(batch, contents))
        entry = InboxEntry(f"{self.number}-0", BATCHES, member, after, data)
        self.assertIsNone(self.inbox.take(entry))

    def released(self, applied: str) -> list[bytes]:
        return [each.data for each in self.inbox.release(applied)]

    def test_batches_are_held_until_the_log_entry_is_applied(self) -> None:
        self.take("9-1", b"1", b"2")
        self.assertEqual(self.released("9-0"), [])
        self.assertEqual(self.released("10-0"), [b"1", b"2"])
        self.assertEqual(self.released("11-0"), [])

    def test_the_batches_of_a_sender_keep_their_order(self) -> None:
        self.take("12-0", b"1")
        self.take("11-0", b"2")  # an engine does not do that
        self.take("11-0", b"other", member="C~1")
        self.assertEqual(self.released("11-0"), [b"other"])
        self.assertEqual(self.released("12-0"), [b"1", b"2"])

    def test_an_entry_that_was_read_before_has_no_effect(self) -> None:
        self.take("1-0", b"1")
        self.number -= 1
        self.take("1-0", b"1")
        self.assertEqual(self.released("1-0"), [b"1"])
        self.assertEqual(self.inbox.last, "1-0")

    def test_pieces_of_snapshots_are_not_held(self) -> None:
        piece = SnapshotPiece("5-0", 0, True, b"data")
        entry = InboxEntry("1-0", BATCHES, "B~1", "9-0", encode_piece(piece))
        self.assertEqual(self.inbox.take(entry), piece)

    def test_external_requests(self) -> None:
        self.inbox.take(InboxEntry("1-0", EXTERNAL, "request", "", b"data"))
        self.assertEqual(self.inbox.requests(), [("request", b"data")])
        self.assertEqual(self.inbox.requests(), [])

    def test_malformed_entries_are_counted(self) -> None:
        self.inbox.take(InboxEntry("1-0", BATCHES, "B~1", "1-0", b"?"))
        self.assertEqual(self.dropped, {"malformed": 1})

    def test_what_is_forgotten_is_counted(self) -> None:
        self.take("9-0", b"1", b"2")
        self.inbox.take(InboxEntry("5-0", EXTERNAL, "request", "", b"data"))
        self.inbox.clear()
        self.assertEqual(self.dropped, {"machine_gone": 2, "external_requests": 1})
        self.assertEqual((self.inbox.last, self.released("9-0")), (START, []))
