"""How a member gets the agreed state."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.machines import joining
from cluster.core.machines.agreed_state import AgreedState
from cluster.core.machines.encodings.inbox_payloads import SnapshotPiece
from cluster.core.machines.encodings.log_payloads import encode_event, encode_log_payload
from cluster.core.machines.engine import JOINED, LEFT, TURN, Gone, Joined, LogEntry
from cluster.core.machines.joining import Joining
from cluster.core.machines.snapshot_transfer import divide

A, B, C = "A~00000001", "B~00000002", "C~00000003"
READY = encode_log_payload(True, [])


def joined(member: str, *members: str) -> Joining:
    return Joining(Joined("abc", member, len(members) == 1, "5-0", members))


class JoiningTests(SynchronousTestCase):
    """Joining."""

    def test_the_only_member_begins(self) -> None:
        state = joined(A, A).begin()
        assert state is not None
        self.assertEqual(state.exchange.epoch, "abc00000001")
        self.assertEqual(state.membership.members, (A,))

    def test_another_member_waits(self) -> None:
        self.assertIsNone(joined(B, A, B).begin())

    def test_a_member_begins_when_all_before_it_are_gone(self) -> None:
        waiting = joined(C, A, B, C)
        self.assertIsNone(waiting.add(LogEntry("6-0", LEFT, A)))
        self.assertIsNone(waiting.add(LogEntry("6-1", JOINED, A)))
        state = waiting.add(LogEntry("7-0", LEFT, B))
        assert state is not None
        self.assertEqual((waiting.log_id, state.membership.members), ("7-0", (C, A)))

    def test_a_member_does_not_begin_if_a_later_one_is_ready(self) -> None:
        waiting = joined(B, A, B)
        self.assertIsNone(waiting.add(LogEntry("6-0", JOINED, C)))
        self.assertIsNone(waiting.add(LogEntry("7-0", TURN, C, READY)))
        self.assertIsNone(waiting.add(LogEntry("8-0", LEFT, A)))

    def test_a_snapshot_and_the_log_after_it(self) -> None:
        sent = AgreedState("e", [A, B])
        sent.apply(LogEntry("6-0", TURN, A, READY))
        waiting = joined(B, A, B)
        hello = encode_log_payload(False, [encode_event("n.1@A", wire.Hello())])
        goodbye = encode_log_payload(False, [encode_event("n.1@A", wire.Goodbye())])
        for entry in (LogEntry("6-0", TURN, A, goodbye), LogEntry("7-0", TURN, A, hello)):
            self.assertIsNone(waiting.add(entry))
        (piece,) = divide("6-0", sent.snapshot())
        state = waiting.receive(A, piece)
        assert state is not None
        self.assertEqual((waiting.log_id, state.exchange.nodes), ("7-0", ("n.1@A",)))

    def test_a_snapshot_that_is_newer_than_the_log(self) -> None:
        sent = AgreedState("e", [A, B])
        waiting = joined(B, A, B)
        (piece,) = divide("9-0", sent.snapshot())
        self.assertIsNotNone(waiting.receive(A, piece))
        self.assertEqual(waiting.log_id, "9-0")

    def test_a_snapshot_that_is_incomplete(self) -> None:
        waiting = joined(B, A, B)
        self.assertIsNone(waiting.receive(A, SnapshotPiece("6-0", 0, False, b"")))

    def test_a_snapshot_that_cannot_be_used(self) -> None:
        for data in (b"?", b""):
            piece = SnapshotPiece("6-0", 0, True, data)
            error = self.assertRaises(Gone, joined(B, A, B).receive, A, piece)
            self.assertIn("the state of A~00000001 cannot be used", str(error))

    def test_a_member_that_is_removed(self) -> None:
        self.assertRaises(Gone, joined(B, A, B).add, LogEntry("6-0", LEFT, B))

    def test_a_snapshot_that_takes_too_long(self) -> None:
        self.patch(joining, "MAX_BYTES", 10)
        waiting = joined(B, A, B)
        waiting.add(LogEntry("6-0", TURN, A, bytes(10)))
        self.assertRaises(Gone, waiting.add, LogEntry("7-0", TURN, A, b"x"))
