"""The frames that connections and listeners of one node receive."""

from typing import Any

from cluster.core import wire
from cluster.core.acknowledged_batches import ALL_TOPICS
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

    def test_a_listener_of_a_topic_with_history_learns_of_losses(self) -> None:
        received: list[bytes] = []
        self.pubsub.listen(b"t", received.append, lambda: received.append(b"lost"))
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t",))])
        self.pubsub.publish(b"t", b"1")  # the broker has not answered
        self.assertEqual(received, [b"1"])
        self.pubsub.batches.on_lost([ALL_TOPICS])  # of a topic that has retained nothing
        self.receive(wire.Retained(b"t", 3, 1, (b"2",), "e"))
        self.pubsub.batches.on_lost([ALL_TOPICS])  # none of the retained ones
        self.assertEqual(received, [b"1", b"2"])
        self.bus.down()
        self.bus.up("first", "a", "b")
        self.receive(wire.Retained(b"t", 3, 3, (b"2", b"3", b"4"), "e"))
        self.assertEqual(received, [b"1", b"2", b"3", b"4"])
        self.bus.down()
        self.bus.up("first", "a", "b")
        self.receive(wire.Retained(b"t", 3, 9, (b"7", b"8", b"9"), "e"))
        self.assertEqual(received[4:], [b"lost", b"7", b"8", b"9"])
        self.bus.down()
        self.bus.up("second", "a", "b")
        self.receive(wire.Retained(b"t", 3, 1, (b"1",), "other"))
        self.assertEqual(received[8:], [b"lost", b"1"])


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


class LostFramesTests(PubSubTestCase):
    """Frames that are lost on the way to this node."""

    def setUp(self) -> None:
        super().setUp()
        self.answers: list[Any] = []
        self.connection = self.subscribed(b"t", b"u", b"k")
        self.skipping = RecordingConnection()
        self.pubsub.subscribe_skipping(self.skipping, b"t", lambda: None)
        self.callback = self.pubsub.follow(b"t", self.take, answer=self.answer)
        self.receive(wire.Retained(b"t", 0, 0, ()))  # nothing is retained
        self.pubsub.follow(b"k", self.take, answer=self.answer)
        self.receive(wire.Retained(b"k", 1, 4, (b"4",), "e"))
        self.answers.clear()

    def answer(self, *answer: Any) -> None:
        self.answers.append(answer)

    def take(self, frame: bytes, offset: int) -> None:
        self.answers.append(frame)

    def lose(self, *topics: bytes) -> None:
        self.number = getattr(self, "number", 0) + 1
        batch = encode_batch(self.number, [b"t", b"next"], lost=topics)
        self.pubsub.bus_batch("a", batch)

    def test_all_subscribers_of_the_topics_learn_of_it_before_the_next_frame(self) -> None:
        self.lose(b"t", b"unknown")
        self.assertEqual((self.connection.lost, self.skipping.lost), ([b"t"], [b"t"]))
        self.assertEqual(self.answers, [(False, "", 0), b"next"])

    def test_a_notice_of_all_topics_is_not_for_retained_ones(self) -> None:
        """Their offsets show what is lost."""
        self.callback.stop()
        self.lose(ALL_TOPICS)
        self.assertEqual(sorted(self.connection.lost), [b"t", b"u"])
        self.assertEqual(self.answers, [])

    def test_retained_frames_that_are_lost_while_the_link_is_down(self) -> None:
        self.bus.down()
        self.bus.up("second", "a")
        self.receive(wire.Retained(b"k", 1, 9, (b"9",), "e"))
        self.assertEqual((self.connection.lost, self.connection.out[-1]), ([b"k"], b"9"))
        self.assertEqual(self.answers, [(False, "e", 9), b"9"])

    def test_errors_of_an_answer_are_logged(self) -> None:
        def fail(*answer: Any) -> None:
            if answer[0] is False:
                raise ZeroDivisionError

        self.pubsub.follow(b"k", self.take, answer=fail)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.bus.down()
        self.bus.up("second", "a")
        self.receive(wire.Retained(b"k", 1, 9, (b"9",), "e"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.answers[-1], b"9")

    def test_a_node_that_joined_while_only_this_one_was_cut_off_did_not_know_of_it(self) -> None:
        self.bus.down()
        self.bus.up("first", "a", "b")
        self.assertEqual(self.connection.lost, [])
        self.bus.down()
        self.bus.up("first", "a", "b", "c")
        self.assertEqual(sorted(self.connection.lost), [b"t", b"u"])
