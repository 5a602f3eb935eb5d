"""Subscribers that resume from a position, and callback subscribers."""

from dataclasses import replace
from typing import Any

from cluster.core import wire
from cluster.core.broker_state.retained_topic import History
from cluster.core.broker_state.topic_history import MAX_TOPICS
from cluster.pubsub import waiting_for_history
from tests.fakes import RecordingConnection
from tests.pubsub.node_case import PubSubTestCase

PATIENT = {"since": ("e", 2)}


def kept(offset: int, *frames: bytes, epoch: str = "e") -> wire.Retained:
    """A message of the exchange about the topic k, which retains three frames."""
    return wire.Retained(b"k", 3, offset, frames, epoch)


class FollowTests(PubSubTestCase):
    """PubSub.follow."""

    def follow(self, **how: Any) -> list[Any]:
        """Follow k; returns the answer and the frames with their offsets, as they arrive."""
        received: list[Any] = []
        self.subscriber = self.pubsub.follow(
            b"k",
            lambda frame, offset: received.append((frame, offset)),
            answer=lambda *answer: received.append(answer),
            **how,
        )
        return received

    def test_a_subscriber_without_a_position_begins_at_once(self) -> None:
        received: list[Any] = []
        subscriber = self.pubsub.follow(b"k", lambda *frame: received.append(frame))
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"k",))])
        self.pubsub.publish(b"k", b"plain")
        self.receive(kept(2, b"1", b"2"))
        self.assertEqual(received, [(b"plain", 0), (b"1", 1), (b"2", 2)])
        subscriber.stop()
        subscriber.stop()
        self.receive(kept(3, b"3"))
        self.assertEqual(received[3:], [])
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"k",))])

    def test_a_callback_for_a_client_is_counted_in_receipts(self) -> None:
        self.pubsub.follow(b"k", lambda *frame: None)
        client = self.pubsub.follow(b"k", lambda *frame: None, for_client=True)
        self.assertEqual(self.pubsub.publish(b"k", b"plain"), (1, 1))
        self.assertEqual(self.pubsub.publish_retained(b"k", b"kept", 1), (1, 1))
        client.stop()
        client.stop()
        self.assertEqual(self.pubsub.publish(b"k", b"plain"), (1, 0))
        self.assertEqual(self.pubsub.publish_retained(b"k", b"kept", 1), (1, 0))

    def test_a_subscriber_with_a_position_receives_the_missed_frames(self) -> None:
        received = self.follow(since=("e", 2))
        self.assertEqual(
            self.flushed(), [wire.NodeSubscriptions("here", (b"k",)), wire.Query(b"k")]
        )
        self.assertEqual(received, [])
        self.receive(kept(4, b"2", b"3", b"4"))
        self.receive(kept(5, b"5"))
        self.assertEqual(received, [(True, "e", 4), (b"3", 3), (b"4", 4), (b"5", 5)])

    def test_a_second_answer_changes_nothing(self) -> None:
        """The exchange answers the subscription and the query."""
        received = self.follow(since=("e", 4))
        self.receive(kept(4, b"3", b"4"), kept(4, b"3", b"4"))
        self.assertEqual(received, [(True, "e", 4)])

    def test_a_position_that_is_too_old_is_not_recovered(self) -> None:
        received = self.follow(since=("e", 1))
        self.receive(kept(5, b"4", b"5"))
        self.assertEqual(received, [(False, "e", 5), (b"4", 4), (b"5", 5)])

    def test_a_position_of_another_epoch_is_not_recovered(self) -> None:
        received = self.follow(since=("before", 4), replay=False)
        self.receive(kept(4, b"3", b"4"))
        self.assertEqual(received, [(False, "e", 4)])

    def test_frames_meanwhile_follow_the_answer_for_a_topic_that_retains_nothing(self) -> None:
        received = self.follow(since=("e", 4))
        self.pubsub.publish(b"k", b"meanwhile")
        self.assertEqual(received, [])
        self.receive(wire.Retained(b"k", 0, 0, ()))
        self.pubsub.publish(b"k", b"later")
        self.assertEqual(received, [(False, "", 0), (b"meanwhile", 0), (b"later", 0)])

    def test_without_replay_only_new_frames_are_received(self) -> None:
        received = self.follow(replay=False)
        self.receive(kept(2, b"1", b"2"))
        self.receive(kept(3, b"3"))
        self.assertEqual(received, [(False, "e", 2), (b"3", 3)])

    def test_a_cached_topic_answers_at_once(self) -> None:
        self.subscribed(b"k")
        self.receive(kept(4, b"3", b"4"))
        self.flushed()
        received = self.follow(since=("e", 3))
        self.assertEqual(received, [(True, "e", 4), (b"4", 4)])
        self.assertEqual(self.flushed(), [])

    def test_a_subscriber_that_is_ahead_of_the_cache_waits(self) -> None:
        self.pubsub.follow(b"k", lambda *frame: None)
        self.receive(kept(3, b"2", b"3"))
        self.flushed()
        received, unknown = self.follow(since=("e", 5)), self.follow(since=("e", 9))
        self.assertEqual(self.flushed(), [wire.Query(b"k")])
        self.receive(kept(4, b"4"))
        self.assertEqual(received, [])
        self.receive(kept(5, b"5"))
        self.assertEqual(received, [(True, "e", 5)])
        self.receive(kept(6, b"6"))
        self.assertEqual((received[1:], unknown), ([(b"6", 6)], []))
        self.receive(kept(6, b"4", b"5", b"6"))  # the answer to the query, with all frames
        self.assertEqual(unknown[0], (False, "e", 6))
        self.follow(since=("before", 9))
        self.assertEqual(self.flushed(), [])

    def test_a_subscriber_that_stops_while_pending_is_forgotten(self) -> None:
        received = self.follow(since=("e", 3))
        self.subscriber.stop()
        self.assertEqual(self.pubsub.subscriptions.special, {})
        self.receive(kept(4, b"3", b"4"))
        self.assertEqual(received, [])

    def test_repeated_subscriptions_send_one_query(self) -> None:
        """Each answer has the whole history."""
        for _ in range(100):
            self.follow(since=("e", 3))
            self.subscriber.stop()
        self.follow(since=("e", 3))
        self.assertEqual(
            self.flushed(), [wire.NodeSubscriptions("here", (b"k",)), wire.Query(b"k")]
        )

    def test_queries_do_not_accumulate_while_the_bus_is_down(self) -> None:
        self.bus.down()
        for _ in range(100):
            self.follow(since=("e", 3))
            self.subscriber.stop()
        self.assertEqual(len(self.pubsub.subscriptions._queries), 1)
        self.bus.up("second", "a", "b")
        self.assertNotIn(wire.Query(b"k"), [*self.bus.take(), *self.flushed()])

    def test_an_open_query_is_sent_again_when_the_bus_comes_up(self) -> None:
        received = self.follow(since=("e", 3))
        self.flushed()
        self.bus.down()
        self.bus.up("second", "a", "b")
        self.assertIn(wire.Query(b"k"), [*self.bus.take(), *self.flushed()])
        self.receive(kept(4, b"4"))
        self.assertEqual(received, [(True, "e", 4), (b"4", 4)])

    def test_a_subscriber_with_too_many_waiting_frames_begins(self) -> None:
        self.patch(waiting_for_history, "WAITING_FRAMES", 2)
        received = self.follow(since=("e", 3))
        for frame in (b"x", b"y", b"z"):
            self.pubsub.publish(b"k", frame)
        self.pubsub.publish(b"k", b"next")
        self.assertEqual(
            received, [(False, "", 0), *((frame, 0) for frame in (b"x", b"y", b"z", b"next"))]
        )

    def test_a_callback_that_fails_does_not_affect_others(self) -> None:
        received: list[bytes] = []
        self.pubsub.follow(b"k", lambda frame, offset: 1 // 0)
        self.pubsub.follow(b"k", lambda frame, offset: received.append(frame))
        self.pubsub.publish(b"k", b"x")
        self.assertEqual(received, [b"x"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_callback_stopped_by_another_is_not_called(self) -> None:
        received: list[bytes] = []
        self.pubsub.follow(b"k", lambda frame, offset: second.stop())
        second = self.pubsub.follow(b"k", lambda frame, offset: received.append(frame))
        self.pubsub.publish(b"k", b"x")
        self.assertEqual(received, [])

    def test_the_epoch_of_a_subscriber_is_that_of_the_offsets(self) -> None:
        subscriber = self.pubsub.follow(
            b"k", lambda frame, offset: epochs.append((subscriber.epoch, offset))
        )
        epochs: list[Any] = []
        self.pubsub.publish(b"k", b"plain")
        self.receive(kept(1, b"1"), kept(7, b"7", epoch="f"))
        self.assertEqual(epochs, [("", 0), ("e", 1), ("f", 7)])

    def test_frames_after_a_gap_have_the_right_offsets(self) -> None:
        self.subscribed(b"k")
        self.receive(kept(2, b"1", b"2"), kept(7, b"6", b"7"))
        received = self.follow(since=("e", 4))
        self.assertEqual(received, [(False, "e", 7), (b"6", 6), (b"7", 7)])


class SinceTests(PubSubTestCase):
    """PubSub.subscribe_since: connections."""

    def setUp(self) -> None:
        super().setUp()
        self.connection = RecordingConnection()
        self.answers: list[Any] = []

    def subscribe(self, since: tuple[str, int] | None) -> None:
        def begin(history: History) -> tuple[bytes, ...]:
            self.answers.append((history.recovered, history.epoch, history.offset))
            return history.frames

        self.pubsub.subscribe_since(self.connection, b"k", since, begin)

    def test_missed_frames_come_first(self) -> None:
        self.subscribe(("e", 2))
        self.pubsub.publish(b"k", b"plain")
        self.assertEqual(self.connection.out, [])
        self.receive(kept(3, b"2", b"3"))
        self.receive(kept(4, b"4"))
        self.assertEqual(self.connection.out, [b"3", b"plain", b"4"])
        self.assertEqual(self.answers, [(True, "e", 3)])

    def test_subscribing_again_starts_at_the_position(self) -> None:
        self.pubsub.subscribe(self.connection, b"k")
        self.receive(kept(2, b"1", b"2"))
        self.subscribe(("e", 1))
        self.assertEqual(self.connection.out, [b"1", b"2", b"2"])

    def test_a_closed_connection_does_not_begin(self) -> None:
        self.subscribe(("e", 2))
        self.pubsub.drop(self.connection)
        self.receive(kept(3, b"3"))
        self.assertEqual(self.connection.out, [])
        self.assertEqual(self.pubsub.subscriptions.special, {})
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"k",))])

    def test_a_connection_that_unsubscribes_does_not_begin(self) -> None:
        self.subscribe(("e", 2))
        self.pubsub.unsubscribe(self.connection, b"k")
        self.receive(kept(3, b"3"))
        self.assertEqual((self.answers, self.connection.out), ([], []))

    def test_frames_are_received_once_however_many_topics_are_cached(self) -> None:
        """For example if each client of a node has its own topic."""
        connection = self.subscribed(b"k")
        self.receive(kept(2, b"1", b"2"))
        topics = [b"t%d" % number for number in range(MAX_TOPICS)]
        self.subscribed(*topics)
        for topic in topics:
            self.receive(wire.Retained(topic, 1, 1, (b"x",), "e"))
        self.subscribe(("e", 1))
        self.receive(kept(2, b"1", b"2"))
        self.assertEqual((connection.out, self.connection.out), ([b"1", b"2"], [b"2"]))

    def test_the_later_of_two_subscriptions_replaces_the_other(self) -> None:
        def plain() -> None:
            self.pubsub.subscribe(self.connection, b"k")

        def skipping() -> None:
            self.pubsub.subscribe_skipping(self.connection, b"k", lambda: None)

        for later in (plain, skipping):
            self.subscribe(("e", 2))
            later()
            self.receive(kept(3, b"2", b"3"))
            self.assertEqual((self.answers, self.connection.out), ([], [b"2", b"3"]))
            self.connection.out.clear()
            self.pubsub.drop(self.connection, (b"k",))
            self.assertEqual(self.pubsub.subscriptions.special, {})


class PublishExceptTests(PubSubTestCase):
    """Publishing to all but one connection."""

    def test_plain_publications_skip_the_connection(self) -> None:
        one, two = self.subscribed(b"t"), self.subscribed(b"t")
        self.flushed()
        self.assertEqual(self.pubsub.publish_except(one, b"t", b"x"), (3, 1))
        self.assertEqual((one.out, two.out), ([], [b"x"]))
        self.assertEqual(self.flushed(), [("a", 1, [b"t", b"x"]), ("b", 1, [b"t", b"x"])])

    def test_retained_publications_skip_the_connection(self) -> None:
        one, two = self.subscribed(b"k"), self.subscribed(b"k")
        self.assertEqual(self.pubsub.publish_retained(b"k", b"x", 3, skip=one), (1, 1))
        self.flushed()
        self.receive(kept(1, b"x"))  # of another publisher
        self.receive(replace(kept(2, b"x"), number=1))
        self.assertEqual((one.out, two.out), ([b"x"], [b"x", b"x"]))
