"""What waits for the engine, in turns."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.machines import inbox_queue, turn_queue
from cluster.core.machines.encodings.inbox_payloads import (
    RoutedBatch,
    SnapshotPiece,
    decode_inbox_payload,
)
from cluster.core.machines.encodings.log_payloads import GATEWAY, decode_log_payload
from cluster.core.machines.engine import Turn
from cluster.core.machines.turn_queue import TurnQueue
from tests import profiles

assert profiles

NODE = "n.1@A"


def batch(data: bytes, origin: str = NODE) -> RoutedBatch:
    return RoutedBatch("n.1@B", origin, data)


def events(turn: Turn) -> list[wire.Message]:
    return [message for _, message in decode_log_payload(turn.log, "A").events] if turn.log else []


def contents(turn: Turn, member: str = "B~1") -> list[bytes]:
    payload = decode_inbox_payload(dict(turn.inboxes)[member])
    assert isinstance(payload, tuple) and not isinstance(payload, SnapshotPiece)
    return [each.data for each in payload]


class TurnQueueTests(SynchronousTestCase):
    """TurnQueue and InboxQueue."""

    def setUp(self) -> None:
        self.queue = TurnQueue()

    def take(self) -> Turn:
        turn = self.queue.take("7-0")
        assert turn is not None
        return turn

    def write(self, *refused: str) -> Turn:
        turn = self.take()
        self.freed = self.queue.written(refused)
        return turn

    def test_nothing(self) -> None:
        self.assertIsNone(self.queue.take("7-0"))

    def test_one_turn_at_a_time(self) -> None:
        self.queue.add_event(NODE, wire.Query(b"1"))
        first = self.take()
        self.queue.add_event(NODE, wire.Query(b"2"))
        self.assertIsNone(self.queue.take("7-0"))
        self.queue.written(())
        second = self.take()
        self.assertEqual((first.number, first.after, second.number), (1, "7-0", 2))
        self.assertEqual((events(first), events(second)), ([wire.Query(b"1")], [wire.Query(b"2")]))
        self.assertEqual(self.queue.size, 0)

    def test_the_first_turn_says_ready_even_without_events(self) -> None:
        self.queue.ready = True
        self.assertTrue(decode_log_payload(self.write().log, "A").ready)
        self.queue.add_event(NODE, wire.Goodbye())
        self.assertFalse(decode_log_payload(self.write().log, "A").ready)

    def test_a_turn_has_limits(self) -> None:
        self.patch(turn_queue, "LOG_BYTES", 100)
        for number in range(1, 4):
            self.queue.add_event(NODE, wire.Retain(b"t", 1, bytes(40), 0, number))
        numbers = [len(events(self.write())) for _ in range(3)]
        self.assertEqual(numbers, [1, 1, 1])

    def test_a_batch_does_not_overtake_the_events_before_it(self) -> None:
        self.patch(turn_queue, "LOG_BYTES", 1)
        self.queue.add_batch("B~1", batch(b"before"))
        for topic in (b"1", b"2"):
            self.queue.add_event(NODE, wire.Query(topic))
        self.queue.add_batch("B~1", batch(b"after"))
        self.queue.add_answer("request", b"answer")
        first, second = self.write(), self.write()
        self.assertEqual(contents(first), [b"before"])
        self.assertEqual(
            (contents(second), second.answers), ([b"after"], (("request", b"answer"),))
        )
        self.assertEqual((first.answers, self.queue.size), ((), 0))

    def test_a_refused_payload_is_written_again(self) -> None:
        self.queue.add_batch("B~1", batch(b"1"))
        self.queue.add_batch("C~1", batch(b"c"))
        self.write("B~1")
        self.queue.add_batch("B~1", batch(b"2"))
        self.assertIsNone(self.queue.take("7-0"))
        self.queue.retry()
        self.assertEqual(contents(self.write()), [b"1"])
        self.assertEqual(contents(self.write()), [b"2"])
        self.assertEqual(self.queue.batch_count, 0)

    def test_a_queue_that_is_full(self) -> None:
        for name, value in (("HIGH_WATER", 10), ("LOW_WATER", 4), ("LIMIT", 20)):
            self.patch(inbox_queue, name, value)
        self.assertFalse(self.queue.is_full("B~1"))
        self.assertTrue(self.queue.add_batch("B~1", batch(bytes(21))))
        self.assertTrue(self.queue.is_full("B~1"))
        self.assertFalse(self.queue.add_batch("B~1", batch(b"x")))
        self.assertEqual(self.queue.size, 21)
        self.write()
        self.assertEqual(self.freed, {"B~1": ((NODE, "n.1@B"),)})
        self.assertFalse(self.queue.is_full("B~1"))

    def test_a_payload_has_a_limit(self) -> None:
        self.patch(inbox_queue, "PAYLOAD_BYTES", 10)
        for data in (bytes(6), bytes(5), bytes(99), b"x"):
            self.queue.add_batch("B~1", batch(data))
        sizes = [[len(each) for each in contents(self.write())] for _ in range(4)]
        self.assertEqual(sizes, [[6], [5], [99], [1]])

    def test_no_machine_waits_for_another_one(self) -> None:
        self.patch(turn_queue, "INBOX_BYTES", 1)
        self.patch(inbox_queue, "PAYLOAD_BYTES", 1)
        for member in ("B~1", "C~1", "D~1"):
            for _ in range(2):
                self.queue.add_batch(member, batch(b"x"))
        served = [self.write().inboxes[0][0] for _ in range(6)]
        self.assertEqual(served, ["B~1", "C~1", "D~1"] * 2)

    def test_snapshots(self) -> None:
        pieces = [SnapshotPiece("1-0", number, number == 1, b"x") for number in (0, 1)]
        self.queue.add_snapshot("B~1", iter(pieces))
        written = [decode_inbox_payload(self.write().inboxes[0][1]) for _ in range(2)]
        self.assertEqual(written, pieces)
        self.assertIsNone(self.queue.take("7-0"))

    def test_a_member_that_is_gone(self) -> None:
        self.queue.add_batch("B~1", batch(b"1"))
        self.take()
        self.queue.add_batch("B~1", batch(b"2"))
        self.assertEqual(self.queue.batch_count, 2)
        self.assertEqual((self.queue.forget("B~1"), self.queue.forget("C~1")), (2, 0))
        self.assertEqual((self.queue.written(()), self.queue.size), ({}, 0))

    def test_events_of_nodes_are_dropped(self) -> None:
        """Those of the gateway are not: nobody would write them again."""
        restore = wire.Restore(b"t", 1, 1, (b"f",), "e")
        self.queue.add_event(NODE, wire.Query(b"t"))
        self.queue.add_event(GATEWAY, restore)
        self.queue.add_event(NODE, wire.Query(b"u"))
        self.assertEqual(self.queue.drop_events(), 2)
        self.queue.add_batch("B~1", batch(b"1"))
        turn = self.write()
        self.assertEqual((events(turn), contents(turn)), ([restore], [b"1"]))
        self.assertEqual(self.queue.log_size, 0)

    def test_the_rules_hold_in_any_sequence(self) -> None:
        self.patch(turn_queue, "LOG_BYTES", 60)
        self.patch(inbox_queue, "PAYLOAD_BYTES", 3)
        run_state_machine_as_test(TurnQueueMachine)


class TurnQueueMachine(RuleBasedStateMachine):
    """All that is queued is written once, in order, and no batch before the events before it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TurnQueue()
        self.turn: Turn | None = None
        self.number = 0
        self.events: list[bytes] = []
        self.written: list[bytes] = []
        self.batches: dict[str, list[tuple[int, bytes]]] = {"B~1": [], "C~1": []}
        self.received: dict[str, list[bytes]] = {"B~1": [], "C~1": []}

    @rule()
    def add_event(self) -> None:
        self.number += 1
        self.events.append(b"%d" % self.number)
        self.queue.add_event(NODE, wire.Query(self.events[-1]))

    @rule(member=st.sampled_from(["B~1", "C~1"]))
    def add_batch(self, member: str) -> None:
        self.number += 1
        self.batches[member].append((len(self.events), b"%d" % self.number))
        self.queue.add_batch(member, batch(b"%d" % self.number))

    @rule()
    def take(self) -> None:
        if self.turn is None:
            self.turn = self.queue.take("7-0")

    @rule(refused=st.sets(st.sampled_from(["B~1", "C~1"])))
    def write(self, refused: set[str]) -> None:
        turn, self.turn = self.turn, None
        if turn is None:
            return
        self.written += [each.topic for each in events(turn) if isinstance(each, wire.Query)]
        for member, _ in turn.inboxes:
            if member not in refused:
                self.received[member] += contents(turn, member)
        self.queue.written(refused)
        assert self.written == self.events[: len(self.written)]
        for member, received in self.received.items():
            sent = self.batches[member][: len(received)]
            assert received == [data for _, data in sent]
            assert all(before <= len(self.written) for before, _ in sent)

    @rule()
    def retry(self) -> None:
        self.queue.retry()

    def teardown(self) -> None:
        self.retry()
        for _ in range(2 * self.number + 2):
            self.take()
            self.write(set())
        assert self.written == self.events
        assert self.queue.size == self.queue.batch_count == 0
        for member, received in self.received.items():
            assert received == [data for _, data in self.batches[member]]
