"""Tests of cluster.node.statistics.latency, with two nodes in memory and one clock."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.node.statistics.latency import BOUNDS, STAMP_S, TICK_S, TOPIC, Latency
from cluster.pubsub.pubsub import PubSub
from tests.fakes import RecordingBus


def counts(histogram: Any) -> dict[str, int]:
    """The buckets of a histogram that are not empty."""
    found, before = {}, 0
    for bound, count in histogram.as_dict()["buckets"]:
        if count > before:
            found[bound] = count - before
        before = count
    return found


class Node:
    """One node on a recording bus; ``receive`` is given what another node sends."""

    def __init__(self, name: str, clock: Clock, machine: bytes = b"this machine") -> None:
        self.bus = RecordingBus(name)
        self.end_of_turn = EndOfTurn(clock, pace=1.0)
        self.pubsub = PubSub(
            self.bus, self.end_of_turn.published, self.end_of_turn.schedule_published, clock
        )
        self.latency = Latency(self.pubsub, self.end_of_turn, clock, clock.seconds, machine)
        self.end_of_turn.send_to_bus = self.pubsub.flush
        self.bus.start(self.pubsub)
        self.bus.up("epoch", "a", "b")
        self.latency.start()

    def batches(self) -> list[bytes]:
        """The batches that were sent to the other node since the last call."""
        return [item[1] for item in self.bus.take() if isinstance(item, tuple)]


class LatencyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.a, self.b = Node("a", self.clock), Node("b", self.clock)
        self.a.pubsub.bus_message(wire.NodeSubscriptions("b", (b"t", TOPIC)))
        self.a.batches()
        self.clock.advance(1)
        self.a.batches()

    def test_the_lateness_of_a_timer_is_the_time_of_a_turn(self) -> None:
        ticks = sum(counts(self.a.latency.turns).values())
        self.clock.advance(TICK_S)
        self.assertEqual(sum(counts(self.a.latency.turns).values()), ticks + 1)
        self.clock.advance(TICK_S + 0.2)  # a turn of 0.2 s
        self.assertEqual(counts(self.a.latency.turns)["0.25"], 1)

    def test_the_time_from_a_publication_to_the_flush_of_another_node(self) -> None:
        self.a.pubsub.publish(b"t", b"frame")
        self.clock.advance(0.002)
        (batch,) = self.a.batches()
        self.clock.advance(0.03)  # on the way
        self.b.pubsub.bus_batch("a", batch)
        self.assertEqual(counts(self.b.latency.fanout), {})
        self.clock.advance(0.01)
        self.assertEqual(counts(self.b.latency.fanout), {"0.05": 1})
        self.assertAlmostEqual(self.b.latency.fanout.as_dict()["sum"], 0.042)
        self.assertEqual(counts(self.a.latency.fanout), {})
        self.assertEqual(self.b.end_of_turn.frames_sent, 0)

    def test_stamps_of_another_machine_are_ignored(self) -> None:
        """Its monotonic clock began at another time."""
        far = Node("far", self.clock, machine=b"another machine!")
        far.pubsub.bus_message(wire.NodeSubscriptions("b", (b"t", TOPIC)))
        far.batches()
        far.pubsub.publish(b"t", b"frame")
        self.clock.advance(0.002)
        (batch,) = far.batches()
        self.assertIn(TOPIC, batch)
        self.b.pubsub.bus_batch("a", batch)
        self.b.latency._stamp_received(b"no stamp")
        self.clock.advance(0.01)
        self.assertEqual(counts(self.b.latency.fanout), {})

    def test_batches_are_stamped_a_few_times_a_second(self) -> None:
        sizes = []
        for _ in range(3):
            self.a.pubsub.publish(b"t", b"frame")
            self.clock.advance(STAMP_S / 2)
            sizes += [TOPIC in batch for batch in self.a.batches()]
        self.assertEqual(sizes, [True, False, True])

    def test_nothing_is_sent_if_nothing_is_published(self) -> None:
        self.clock.pump([STAMP_S] * 10)
        self.assertEqual(self.a.batches(), [])

    def test_a_node_that_is_away_receives_no_stamps(self) -> None:
        self.a.bus.down()
        self.a.pubsub.publish(b"t", b"frame")
        self.clock.advance(1)
        self.a.bus.up("epoch", "a", "b")
        self.clock.advance(1)
        self.assertFalse(any(TOPIC in batch for batch in self.a.batches()))

    def test_stop_ends_the_timer(self) -> None:
        for node in (self.a, self.b):
            node.latency.stop()
            node.latency.stop()
        self.clock.advance(10)
        self.assertEqual(len(BOUNDS) + 1, len(self.a.latency.turns.as_dict()["buckets"]))
        self.assertFalse(
            [call for call in self.clock.getDelayedCalls() if "_measure" in str(call.func)]
        )
