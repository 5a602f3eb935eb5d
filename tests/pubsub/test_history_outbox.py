"""Retained publications that wait for the exchange, or are sent again."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.broker_state.retained_topic import GAP
from cluster.pubsub import history_outbox as module
from cluster.pubsub.history_outbox import GRACE_S, HistoryOutbox


class HistoryOutboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.held = 0
        self.outbox = HistoryOutbox(self.clock.seconds, self.count_held)

    def count_held(self, size: int) -> None:
        self.held += size

    def add(self, *frames: bytes, skip: object = None) -> None:
        for frame in frames:
            self.outbox.add(b"t", 3, frame, 0, skip)

    def unsent(self) -> list[tuple[int, bytes]]:
        return [(retain.number, retain.frame) for retain in self.outbox.unsent()]

    def test_each_publication_is_sent_once_while_the_bus_is_up(self) -> None:
        self.add(b"a", b"b")
        self.assertEqual(self.unsent(), [(1, b"a"), (2, b"b")])
        self.add(b"c")
        self.assertTrue(self.outbox.has_unsent)
        self.assertEqual(self.unsent(), [(3, b"c")])
        self.outbox.acknowledged(2)
        self.add(b"d")
        self.assertEqual(self.unsent(), [(4, b"d")])
        self.assertFalse(self.outbox.has_unsent)

    def test_bytes_that_are_not_acknowledged_are_counted(self) -> None:
        self.add(b"four", b"five!")
        self.assertEqual(self.held, 9)
        self.unsent()
        self.assertEqual(self.held, 9)
        self.outbox.acknowledged(1)
        self.assertEqual(self.held, 5)
        self.outbox.acknowledged(2)
        self.outbox.acknowledged(2)
        self.assertEqual(self.held, 0)

    def test_the_same_broker_receives_what_it_has_not_acknowledged(self) -> None:
        self.add(b"a", b"b", b"c")
        self.unsent()
        self.outbox.acknowledged(1)
        self.outbox.bus_down()
        self.add(b"d")
        self.outbox.bus_up(same_broker=True)
        self.assertEqual(self.unsent(), [(2, b"b"), (3, b"c"), (4, b"d")])

    def test_another_broker_receives_the_grace_period_too(self) -> None:
        self.add(b"old", b"a", b"b")
        self.unsent()
        self.outbox.acknowledged(1)
        self.clock.advance(GRACE_S)
        self.outbox.acknowledged(2)
        self.clock.advance(0.1)
        self.outbox.bus_down()
        self.clock.advance(100)  # without any broker
        self.outbox.bus_up(same_broker=False)
        self.assertEqual(self.held, 2)
        self.assertEqual(self.unsent(), [(2, b"a"), (3, b"b")])
        self.outbox.acknowledged(3)
        self.assertEqual(self.held, 0)

    def test_each_further_broker_receives_the_grace_period(self) -> None:
        self.add(b"a")
        for _ in range(3):
            self.outbox.bus_up(same_broker=False)
            self.assertEqual(self.unsent(), [(1, b"a")])
            self.outbox.acknowledged(1)
            self.outbox.bus_down()

    def test_the_bytes_of_the_grace_period_are_bounded(self) -> None:
        self.patch(module, "GRACE_BYTES", 5)
        self.add(b"aa", b"bb", b"cc")
        self.unsent()
        self.outbox.acknowledged(3)
        self.outbox.bus_down()
        self.outbox.bus_up(same_broker=False)
        self.assertEqual(self.unsent(), [(2, b"bb"), (3, b"cc")])
        self.assertEqual(self.held, 4)

    def test_one_gap_stands_for_all_publications_that_are_refused_until_it_is_sent(self) -> None:
        self.add(b"a")
        for _ in range(3):
            self.outbox.refused(b"t", 3, 0)
        self.outbox.refused(b"other", 1, 9)
        self.assertEqual(self.unsent(), [(1, b"a"), (2, GAP), (3, GAP)])
        self.assertEqual(self.held, 1)

    def test_a_publication_ends_a_gap(self) -> None:
        self.outbox.refused(b"t", 3, 0)
        self.add(b"a")
        self.outbox.refused(b"t", 3, 0)
        self.assertEqual(self.unsent(), [(1, GAP), (2, b"a"), (3, GAP)])

    def test_a_further_gap_waits_for_the_acknowledgement_of_the_one_that_was_sent(self) -> None:
        self.outbox.refused(b"t", 3, 0)
        self.unsent()
        self.outbox.refused(b"t", 3, 0)
        self.outbox.refused(b"t", 3, 0)
        self.assertEqual(self.unsent(), [])
        self.outbox.acknowledged(1)
        self.assertEqual(self.unsent(), [(2, GAP)])
        self.outbox.acknowledged(2)
        self.assertEqual(self.unsent(), [])

    def test_a_further_gap_comes_before_the_next_publication(self) -> None:
        self.outbox.refused(b"t", 3, 0)
        self.unsent()
        self.outbox.refused(b"t", 3, 0)
        self.add(b"a")
        self.assertEqual(self.unsent(), [(2, GAP), (3, b"a")])
        self.outbox.acknowledged(3)
        self.assertEqual(self.unsent(), [])

    def test_the_number_of_gaps_is_bounded(self) -> None:
        self.patch(module, "MAX_GAPS", 2)
        for topic in (b"1", b"2", b"3"):
            self.outbox.refused(topic, 1, 0)
        self.assertEqual(len(self.unsent()), 2)

    def test_the_connection_to_skip_is_returned_with_its_publication(self) -> None:
        me, other = object(), object()
        self.add(b"a", skip=me)
        self.add(b"b", skip=other)
        self.add(b"c")
        self.unsent()
        self.assertIs(self.outbox.acknowledged(1), me)
        self.assertIs(self.outbox.acknowledged(1), None)
        self.assertIs(self.outbox.acknowledged(3), None)
