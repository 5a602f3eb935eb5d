"""Subscribers that say where they were, and followers."""

from dataclasses import replace
from typing import Any

from cluster.core import wire
from cluster.core.retained import MAX_TOPICS
from cluster.pubsub import pending_subscribers
from tests.fakes import RecordingConnection
from tests.pubsub.test_pubsub import PubSubTestCase

PATIENT = {"since": ("e", 2)}


def kept(offset: int, *frames: bytes, epoch: str = "e") -> wire.Retained:
    """What the exchange says of topic k, which keeps three frames."""
    return wire.Retained(b"k", 3, offset, frames, epoch)


class FollowTests(PubSubTestCase):
    """PubSub.follow."""

    def follow(self, **how: Any) -> list[Any]:
        """What a follower of k hears: frames with their numbers, and the answer."""
        heard: list[Any] = []
        self.subscriber = self.pubsub.follow(
            b"k",
            lambda frame, offset: heard.append((frame, offset)),
            answer=lambda *answer: heard.append(answer),
            **how,
        )
        return heard

    def test_without_questions_it_hears_at_once(self) -> None:
        heard: list[Any] = []
        subscriber = self.pubsub.follow(b"k", lambda *frame: heard.append(frame))
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"k",))])
        self.pubsub.publish(b"k", b"plain")
        self.hear(kept(2, b"1", b"2"))
        self.assertEqual(heard, [(b"plain", 0), (b"1", 1), (b"2", 2)])
        subscriber.stop()
        subscriber.stop()
        self.hear(kept(3, b"3"))
        self.assertEqual(heard[3:], [])
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"k",))])

    def test_one_that_stands_for_a_client_is_counted_in_receipts(self) -> None:
        self.pubsub.follow(b"k", lambda *frame: None)
        client = self.pubsub.follow(b"k", lambda *frame: None, for_client=True)
        self.assertEqual(self.pubsub.publish(b"k", b"plain"), (1, 1))
        self.assertEqual(self.pubsub.publish_retained(b"k", b"kept", 1), (1, 1))
        client.stop()
        client.stop()
        self.assertEqual(self.pubsub.publish(b"k", b"plain"), (1, 0))
        self.assertEqual(self.pubsub.publish_retained(b"k", b"kept", 1), (1, 0))

    def test_what_was_missed(self) -> None:
        heard = self.follow(since=("e", 2))
        self.assertEqual(
            self.flushed(), [wire.NodeSubscriptions("here", (b"k",)), wire.Query(b"k")]
        )
        self.assertEqual(heard, [])
        self.hear(kept(4, b"2", b"3", b"4"))
        self.hear(kept(5, b"5"))
        self.assertEqual(heard, [(True, "e", 4), (b"3", 3), (b"4", 4), (b"5", 5)])

    def test_the_second_answer_changes_nothing(self) -> None:
        """The exchange answers to the interest and to the question."""
        heard = self.follow(since=("e", 4))
        self.hear(kept(4, b"3", b"4"), kept(4, b"3", b"4"))
        self.assertEqual(heard, [(True, "e", 4)])

    def test_what_was_missed_is_too_much(self) -> None:
        heard = self.follow(since=("e", 1))
        self.hear(kept(5, b"4", b"5"))
        self.assertEqual(heard, [(False, "e", 5), (b"4", 4), (b"5", 5)])

    def test_another_numbering(self) -> None:
        heard = self.follow(since=("before", 4), replay=False)
        self.hear(kept(4, b"3", b"4"))
        self.assertEqual(heard, [(False, "e", 4)])

    def test_a_topic_that_keeps_nothing(self) -> None:
        heard = self.follow(since=("e", 4))
        self.pubsub.publish(b"k", b"meanwhile")
        self.assertEqual(heard, [])
        self.hear(wire.Retained(b"k", 0, 0, ()))
        self.pubsub.publish(b"k", b"later")
        self.assertEqual(heard, [(False, "", 0), (b"meanwhile", 0), (b"later", 0)])

    def test_only_what_is_new(self) -> None:
        heard = self.follow(replay=False)
        self.hear(kept(2, b"1", b"2"))
        self.hear(kept(3, b"3"))
        self.assertEqual(heard, [(False, "e", 2), (b"3", 3)])

    def test_a_copy_that_is_here_answers_at_once(self) -> None:
        self.subscribed(b"k")
        self.hear(kept(4, b"3", b"4"))
        self.flushed()
        heard = self.follow(since=("e", 3))
        self.assertEqual(heard, [(True, "e", 4), (b"4", 4)])
        self.assertEqual(self.flushed(), [])

    def test_one_that_has_heard_more_through_another_node_waits_for_it(self) -> None:
        self.pubsub.follow(b"k", lambda *frame: None)
        self.hear(kept(3, b"2", b"3"))
        self.flushed()
        heard, unknown = self.follow(since=("e", 5)), self.follow(since=("e", 9))
        self.assertEqual(self.flushed(), [wire.Query(b"k")])
        self.hear(kept(4, b"4"))
        self.assertEqual(heard, [])
        self.hear(kept(5, b"5"))
        self.assertEqual(heard, [(True, "e", 5)])
        self.hear(kept(6, b"6"))
        self.assertEqual((heard[1:], unknown), ([(b"6", 6)], []))
        self.hear(kept(6, b"4", b"5", b"6"))  # the answer: that is all there is
        self.assertEqual(unknown[0], (False, "e", 6))
        self.follow(since=("before", 9))
        self.assertEqual(self.flushed(), [])

    def test_who_stops_while_waiting_is_forgotten(self) -> None:
        heard = self.follow(since=("e", 3))
        self.subscriber.stop()
        self.assertEqual(self.pubsub.subscriptions.special, {})
        self.hear(kept(4, b"3", b"4"))
        self.assertEqual(heard, [])

    def test_who_comes_and_goes_asks_once(self) -> None:
        """Each question is answered with all that is kept."""
        for _ in range(100):
            self.follow(since=("e", 3))
            self.subscriber.stop()
        self.follow(since=("e", 3))
        self.assertEqual(
            self.flushed(), [wire.NodeSubscriptions("here", (b"k",)), wire.Query(b"k")]
        )

    def test_questions_do_not_pile_up_while_the_bus_is_down(self) -> None:
        self.bus.down()
        for _ in range(100):
            self.follow(since=("e", 3))
            self.subscriber.stop()
        self.assertEqual(len(self.pubsub.subscriptions._queries), 1)
        self.bus.up("second", "a", "b")
        self.assertNotIn(wire.Query(b"k"), [*self.bus.take(), *self.flushed()])

    def test_a_question_is_asked_again_when_the_bus_comes_back(self) -> None:
        heard = self.follow(since=("e", 3))
        self.flushed()
        self.bus.down()
        self.bus.up("second", "a", "b")
        self.assertIn(wire.Query(b"k"), [*self.bus.take(), *self.flushed()])
        self.hear(kept(4, b"4"))
        self.assertEqual(heard, [(True, "e", 4), (b"4", 4)])

    def test_nobody_waits_with_too_many_frames(self) -> None:
        self.patch(pending_subscribers, "WAITING_FRAMES", 2)
        heard = self.follow(since=("e", 3))
        for frame in (b"x", b"y", b"z"):
            self.pubsub.publish(b"k", frame)
        self.pubsub.publish(b"k", b"next")
        self.assertEqual(
            heard, [(False, "", 0), *((frame, 0) for frame in (b"x", b"y", b"z", b"next"))]
        )

    def test_a_follower_that_fails_hurts_no_other(self) -> None:
        heard: list[bytes] = []
        self.pubsub.follow(b"k", lambda frame, offset: 1 // 0)
        self.pubsub.follow(b"k", lambda frame, offset: heard.append(frame))
        self.pubsub.publish(b"k", b"x")
        self.assertEqual(heard, [b"x"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_follower_stopped_by_another_hears_no_more(self) -> None:
        heard: list[bytes] = []
        self.pubsub.follow(b"k", lambda frame, offset: second.stop())
        second = self.pubsub.follow(b"k", lambda frame, offset: heard.append(frame))
        self.pubsub.publish(b"k", b"x")
        self.assertEqual(heard, [])

    def test_its_epoch_is_that_of_the_numbers(self) -> None:
        subscriber = self.pubsub.follow(
            b"k", lambda frame, offset: epochs.append((subscriber.epoch, offset))
        )
        epochs: list[Any] = []
        self.pubsub.publish(b"k", b"plain")
        self.hear(kept(1, b"1"), kept(7, b"7", epoch="f"))
        self.assertEqual(epochs, [("", 0), ("e", 1), ("f", 7)])

    def test_frames_that_were_missed_are_not_numbered_as_if_they_were_here(self) -> None:
        self.subscribed(b"k")
        self.hear(kept(2, b"1", b"2"), kept(7, b"6", b"7"))
        heard = self.follow(since=("e", 4))
        self.assertEqual(heard, [(False, "e", 7), (b"6", 6), (b"7", 7)])


class SinceTests(PubSubTestCase):
    """PubSub.subscribe_since: connections."""

    def setUp(self) -> None:
        super().setUp()
        self.connection = RecordingConnection()
        self.told: list[Any] = []

    def subscribe(self, since: tuple[str, int] | None) -> None:
        def begin(history: pending_subscribers.History) -> tuple[bytes, ...]:
            self.told.append((history.recovered, history.epoch, history.offset))
            return history.frames

        self.pubsub.subscribe_since(self.connection, b"k", since, begin)

    def test_missed_frames_come_first(self) -> None:
        self.subscribe(("e", 2))
        self.pubsub.publish(b"k", b"plain")
        self.assertEqual(self.connection.out, [])
        self.hear(kept(3, b"2", b"3"))
        self.hear(kept(4, b"4"))
        self.assertEqual(self.connection.out, [b"3", b"plain", b"4"])
        self.assertEqual(self.told, [(True, "e", 3)])

    def test_subscribing_again_starts_there(self) -> None:
        self.pubsub.subscribe(self.connection, b"k")
        self.hear(kept(2, b"1", b"2"))
        self.subscribe(("e", 1))
        self.assertEqual(self.connection.out, [b"1", b"2", b"2"])

    def test_who_is_gone_is_not_let_in(self) -> None:
        self.subscribe(("e", 2))
        self.pubsub.drop(self.connection)
        self.hear(kept(3, b"3"))
        self.assertEqual(self.connection.out, [])
        self.assertEqual(self.pubsub.subscriptions.special, {})
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"k",))])

    def test_who_unsubscribes_is_not_let_in(self) -> None:
        self.subscribe(("e", 2))
        self.pubsub.unsubscribe(self.connection, b"k")
        self.hear(kept(3, b"3"))
        self.assertEqual((self.told, self.connection.out), ([], []))

    def test_nobody_hears_twice_however_many_topics_are_kept_here(self) -> None:
        """As when each of a node's clients has a topic of its own."""
        connection = self.subscribed(b"k")
        self.hear(kept(2, b"1", b"2"))
        topics = [b"t%d" % number for number in range(MAX_TOPICS)]
        self.subscribed(*topics)
        for topic in topics:
            self.hear(wire.Retained(topic, 1, 1, (b"x",), "e"))
        self.subscribe(("e", 1))
        self.hear(kept(2, b"1", b"2"))
        self.assertEqual((connection.out, self.connection.out), ([b"1", b"2"], [b"2"]))

    def test_of_two_subscriptions_the_later_counts(self) -> None:
        def plain() -> None:
            self.pubsub.subscribe(self.connection, b"k")

        def skipping() -> None:
            self.pubsub.subscribe_skipping(self.connection, b"k", lambda: None)

        for later in (plain, skipping):
            self.subscribe(("e", 2))
            later()
            self.hear(kept(3, b"2", b"3"))
            self.assertEqual((self.told, self.connection.out), ([], [b"2", b"3"]))
            self.connection.out.clear()
            self.pubsub.drop(self.connection, (b"k",))
            self.assertEqual(self.pubsub.subscriptions.special, {})


class NotToMyselfTests(PubSubTestCase):
    """Publishing to all but one."""

    def test_plain(self) -> None:
        one, two = self.subscribed(b"t"), self.subscribed(b"t")
        self.flushed()
        self.assertEqual(self.pubsub.publish_except(one, b"t", b"x"), (3, 1))
        self.assertEqual((one.out, two.out), ([], [b"x"]))
        self.assertEqual(self.flushed(), [("a", 1, [b"t", b"x"]), ("b", 1, [b"t", b"x"])])

    def test_retained(self) -> None:
        one, two = self.subscribed(b"k"), self.subscribed(b"k")
        self.assertEqual(self.pubsub.publish_retained(b"k", b"x", 3, skip=one), (1, 1))
        self.flushed()
        self.hear(kept(1, b"x"))  # somebody else's
        self.hear(replace(kept(2, b"x"), number=1))
        self.assertEqual((one.out, two.out), ([b"x"], [b"x", b"x"]))
