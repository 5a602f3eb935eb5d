"""The frames that connections and listeners of one node receive."""

from cluster.core import wire
from cluster.core.wire.batches import encode_batch
from tests.fakes import RecordingConnection
from tests.pubsub.node_case import PubSubTestCase


class SubscribeTests(PubSubTestCase):
    def test_only_the_first_and_the_last_subscriber_change_the_subscriptions(self) -> None:
        one, two = self.subscribed(b"t"), self.subscribed(b"t", b"u")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t", b"u"))])
        self.pubsub.unsubscribe(one, b"t")
        self.pubsub.unsubscribe(one, b"t")
        self.assertEqual(self.flushed(), [])
        self.pubsub.drop(two)
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"t", b"u"))])
        self.pubsub.publish_here(b"t", b"1")
        self.assertEqual((one.out, two.out), ([], []))

    def test_the_last_subscriber_may_be_replaced_within_a_turn(self) -> None:
        self.pubsub.drop(self.subscribed(b"t"))
        self.subscribed(b"t")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t",))])

    def test_subscribing_twice_has_no_further_effect(self) -> None:
        connection = self.subscribed(b"t", b"t")
        self.receive(wire.Retained(b"t", 1, 1, (b"kept",)))
        self.pubsub.subscribe(connection, b"t")
        self.pubsub.publish_here(b"t", b"1")
        self.assertEqual(connection.out, [b"kept", b"1"])

    def test_listeners_receive_all_frames_and_their_errors_are_logged(self) -> None:
        received: list[bytes] = []
        self.pubsub.listen(b"t", lambda frame: {}[frame])
        self.pubsub.listen(b"t", received.append)
        connection = self.subscribed(b"t")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t",))])
        self.assertEqual(self.pubsub.publish(b"t", b"1"), (3, 1))
        self.pubsub.bus_batch("a", encode_batch(1, [b"t", b"2"]))
        self.pubsub.drop(connection)
        self.pubsub.publish_here(b"t", b"3")
        self.assertEqual(received, [b"1", b"2", b"3"])
        batches = [("a", 1, [b"t", b"1"]), ("b", 1, [b"t", b"1"])]
        self.assertEqual(self.flushed(), batches)  # the node still subscribes to the topic
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 3)


class SkippingTests(PubSubTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.connection, self.other = RecordingConnection(), RecordingConnection()
        for connection in (self.connection, self.other):
            self.pubsub.subscribe_skipping(connection, b"t", lambda: self.events.append("skipped"))

    def test_frames_are_skipped_while_blocked_and_counted(self) -> None:
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t",))])
        self.assertEqual(self.pubsub.publish(b"t", b"1"), (3, 2))
        self.connection.blocked = True
        self.assertEqual(self.pubsub.publish(b"t", b"2"), (3, 1))
        self.pubsub.bus_batch("a", encode_batch(1, [b"t", b"3"]))
        self.connection.blocked = False
        self.pubsub.publish_here(b"t", b"4")
        self.assertEqual(self.connection.out, [b"1", b"4"])
        self.assertEqual(self.other.out, [b"1", b"2", b"3", b"4"])
        self.assertEqual(self.events, ["skipped"] * 2)
        self.assertEqual(self.pubsub.subscriptions.conflated, 2)

    def test_drop_and_unsubscribe(self) -> None:
        self.flushed()
        self.pubsub.drop(self.connection, (b"t", b"u"))
        self.pubsub.unsubscribe(self.connection, b"t")
        self.assertEqual(self.flushed(), [])
        self.pubsub.unsubscribe(self.other, b"t")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"t",))])
        self.assertEqual(self.pubsub.publish_here(b"t", b"1"), (0, 0))

    def test_a_skipping_and_a_plain_subscription_replace_each_other(self) -> None:
        self.receive(wire.Retained(b"t", 1, 1, (b"kept",)))
        self.flushed()
        self.pubsub.drop(self.other, (b"t",))
        self.pubsub.subscribe(self.connection, b"t")
        self.pubsub.publish_here(b"t", b"1")
        self.pubsub.subscribe_skipping(self.connection, b"t", lambda: None)
        self.pubsub.subscribe_skipping(self.connection, b"t", lambda: self.events.append("last"))
        self.connection.blocked = True
        self.pubsub.publish_here(b"t", b"2")
        self.assertEqual(self.connection.out, [b"kept", b"1"])
        self.assertEqual(self.events, ["last"])
        self.assertEqual(self.flushed(), [])
        self.pubsub.drop(self.connection, (b"t",))
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"t",))])
