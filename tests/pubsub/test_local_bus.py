"""The bus of a cluster of one node."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.pubsub.local_bus import LocalBus
from cluster.pubsub.pubsub import PubSub
from tests.fakes import RecordingConnection, RecordingReceiver


class LocalBusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.bus = LocalBus("only", self.clock, self.clock.seconds)
        self.receiver = RecordingReceiver()

    def start(self) -> None:
        self.bus.start(self.receiver)
        self.clock.advance(0)
        (welcome,) = self.receiver.events
        self.epoch = welcome.epoch
        self.receiver.events.clear()

    def test_the_bus_is_up_in_the_next_turn(self) -> None:
        self.assertFalse(self.bus.is_up)
        self.bus.start(self.receiver)
        self.assertEqual(self.receiver.events, [])
        self.clock.advance(0)
        (welcome,) = self.receiver.events
        self.assertIsInstance(welcome, wire.Welcome)
        self.assertEqual(welcome.nodes, ())
        self.assertTrue(self.bus.is_up)
        self.assertEqual(self.bus.queued_bytes, 0)

    def test_answers_are_delivered_together_in_the_next_turn(self) -> None:
        self.start()
        self.bus.send(wire.NodeSubscriptions("only", (b"t",)))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.bus.send(wire.Arrive("game", 1, (1,)))
        self.bus.send(wire.Retain(b"t", 1, b"frame"))
        self.assertEqual(self.receiver.events, [])
        self.clock.advance(0)
        self.assertEqual(
            self.receiver.events,
            [wire.Release("game", (1,)), wire.Retained(b"t", 1, 1, (b"frame",), self.epoch)],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_messages_sent_by_an_answer_are_answered_in_the_turn_after(self) -> None:
        self.receiver = RecordingReceiver(
            lambda event: (
                event == wire.Release("game", (1,)) and self.bus.send(wire.Arrive("next", 1, (2,)))
            )
        )
        self.start()
        self.bus.send(wire.Arrive("game", 1, (1,)))
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.receiver.events[1:], [wire.Release("next", (2,))])

    def test_nothing_is_delivered_after_stop(self) -> None:
        self.receiver = RecordingReceiver(lambda event: self.bus.stop())
        self.start()
        self.bus.start(self.receiver)
        self.bus.send(wire.Arrive("game", 1, (1,)))
        self.clock.advance(0)
        self.assertEqual(len(self.receiver.events), 1)
        self.assertFalse(self.bus.is_up)

    def test_batches_are_dropped(self) -> None:
        self.start()
        self.bus.send_batch("other", b"batch")
        self.assertEqual(self.bus.dropped["node_gone"], 1)

    def test_pubsub_works_without_other_nodes(self) -> None:
        """PubSub and exchange in one process: retained frames, and a barrier of one party."""
        connection, late = RecordingConnection(), RecordingConnection()
        events: list[str] = []
        pubsub = PubSub(self.bus, [], lambda: None, self.clock, self.clock.seconds)
        pubsub.on_up = lambda: events.append("up")
        self.bus.start(pubsub)
        self.clock.advance(0)
        pubsub.subscribe(connection, b"t")
        pubsub.publish_retained(b"t", b"kept", 1)
        pubsub.barriers.arrive("game", 1, lambda: events.append("released"), events.append)
        self.assertEqual(pubsub.publish(b"t", b"frame"), (1, 1))
        pubsub.flush()
        self.clock.advance(0)
        pubsub.subscribe(late, b"t")
        self.assertEqual((connection.out, late.out), ([b"frame", b"kept"], [b"kept"]))
        self.assertEqual(events, ["up", "released"])
        pubsub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
