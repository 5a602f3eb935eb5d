"""The position of a feed's client in its topics."""

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.django.api.positions import NO_POSITION
from cluster.django.feeds.feed_subscriptions import FeedSubscriptions
from cluster.net.websocket.frames import text_frame


class RecordingSubscriber:
    """The callback of one topic; the test calls it."""

    def __init__(self, take: Any, answer: Any) -> None:
        self.take = take
        self.answer = answer
        self.epoch = ""
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class FeedSubscriptionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.callback_subscribers: dict[bytes, RecordingSubscriber] = {}
        self.asked: list[tuple[bytes, Any]] = []
        self.soon: deque[Callable[[], None]] = deque()
        self.sent: list[str] = []
        self.urgent: list[bool] = []
        self.at_once: Callable[[RecordingSubscriber], None] = lambda subscriber: None
        self.subscriptions = FeedSubscriptions(self, self, self.soon.append)

    # The PubSub.

    def follow(
        self, topic: bytes, take: Any, *, since: Any, answer: Any, for_client: bool
    ) -> RecordingSubscriber:
        self.assertTrue(for_client)
        self.asked.append((topic, since))
        subscriber = self.callback_subscribers[topic] = RecordingSubscriber(take, answer)
        self.at_once(subscriber)
        return subscriber

    # The client.

    def send_answer(self, topic: str, recovered: bool, answer: bytes, at_once: bool) -> None:
        recovered = json.loads(answer)["recovered"]
        self.sent.append(f"{topic} {recovered} at {self.subscriptions.feed_position}")
        self.urgent.append(at_once)

    def send_message(self, topic: str, frame: bytes, position: str | None) -> None:
        self.sent.append(f"{topic} at {self.subscriptions.feed_position}")

    # The test.

    def sent_messages(self) -> list[str]:
        while self.soon:
            self.soon.popleft()()
        sent, self.sent = self.sent, []
        return sent

    def test_topics_without_history(self) -> None:
        self.subscriptions.begin(["a", "b"], {})
        self.assertEqual(self.asked, [(b"a", None), (b"b", None)])
        self.assertEqual(self.subscriptions.waiting, {"a", "b"})
        self.callback_subscribers[b"a"].answer(False, "", 0)
        self.assertEqual(self.sent_messages(), ["a False at "])
        self.assertEqual(self.subscriptions.waiting, {"b"})
        self.callback_subscribers[b"a"].take(text_frame(b"x"), 0)
        self.assertEqual(self.sent_messages(), ["a at "])

    def test_the_position_is_never_ahead_of_the_sent_messages(self) -> None:
        self.subscriptions.begin(["a"], {"a": "e:3"})
        self.assertEqual(self.asked, [(b"a", ("e", 3))])
        self.assertEqual(self.subscriptions.feed_position, "a=e:3")
        subscriber = self.callback_subscribers[b"a"]
        subscriber.epoch = "e"
        subscriber.answer(True, "e", 5)
        subscriber.take(text_frame(b"4"), 4)
        subscriber.take(text_frame(b"5"), 5)
        self.assertEqual(self.sent_messages(), ["a True at a=e:3", "a at a=e:4", "a at a=e:5"])

    def test_nothing_was_missed(self) -> None:
        self.subscriptions.begin(["a"], {"a": "e:5"})
        self.callback_subscribers[b"a"].answer(True, "e", 5)
        self.assertEqual(self.sent_messages(), ["a True at a=e:5"])

    def test_a_history_that_is_known_at_once(self) -> None:
        def at_once(subscriber: RecordingSubscriber) -> None:
            subscriber.answer(False, "f", 9)
            subscriber.take(text_frame(b"8"), 8)
            subscriber.take(text_frame(b"9"), 9)

        self.at_once = at_once
        self.subscriptions.begin(["a"], {"a": "e:5"})
        self.assertEqual(self.sent_messages(), ["a False at a=f:7", "a at a=f:8", "a at a=f:9"])

    def test_a_new_epoch_while_subscribed(self) -> None:
        self.subscriptions.begin(["a"], {})
        subscriber = self.callback_subscribers[b"a"]
        subscriber.answer(False, "", 0)
        subscriber.take(text_frame(b"x"), 0)
        subscriber.epoch = "e"
        subscriber.take(text_frame(b"x"), 1)
        subscriber.epoch = "f"
        subscriber.take(text_frame(b"x"), 40)
        self.assertEqual(self.sent_messages()[1:], ["a at ", "a at a=e:1", "a at a=f:40"])

    def test_messages_are_lost_while_subscribed(self) -> None:
        self.subscriptions.begin(["a", "b"], {"a": "e:5"})
        for topic, answer in ((b"a", (True, "e", 5)), (b"b", (False, "", 0))):
            self.callback_subscribers[topic].answer(*answer)
        self.assertEqual(self.sent_messages(), ["a True at a=e:5", "b False at a=e:5"])
        subscriber = self.callback_subscribers[b"a"]
        subscriber.epoch = "e"
        subscriber.answer(False, "e", 9)
        subscriber.take(text_frame(b"9"), 9)
        self.assertEqual(self.sent_messages(), ["a False at a=e:8", "a at a=e:9"])
        self.callback_subscribers[b"b"].answer(False, "", 0)
        self.assertEqual(self.sent_messages(), ["b False at a=e:9"])
        self.assertEqual(self.urgent, [False, False, True, True])

    def test_an_invalid_position(self) -> None:
        self.subscriptions.begin(["a"], {"a": "e:1\nid: 7"})
        self.assertEqual(self.asked, [(b"a", NO_POSITION)])
        self.assertEqual(self.subscriptions.feed_position, "")

    def test_a_topic_that_has_no_history_any_more(self) -> None:
        self.subscriptions.begin(["a"], {"a": "e:5"})
        self.callback_subscribers[b"a"].answer(False, "", 0)
        self.assertEqual(self.sent_messages(), ["a False at "])

    def test_subscribing_again(self) -> None:
        self.subscriptions.begin(["a"], {})
        first = self.callback_subscribers[b"a"]
        first.answer(False, "e", 5)
        self.subscriptions.add("a", "e:2")
        self.assertTrue(first.stopped)
        self.callback_subscribers[b"a"].answer(True, "e", 5)
        self.assertEqual(self.sent_messages(), ["a True at a=e:5"])

    def test_stopped(self) -> None:
        self.subscriptions.begin(["a", "b"], {"a": "e:5"})
        self.callback_subscribers[b"a"].answer(True, "e", 5)
        self.subscriptions.stop()
        self.assertEqual(self.sent_messages(), [])
        self.assertTrue(
            self.callback_subscribers[b"a"].stopped and self.callback_subscribers[b"b"].stopped
        )
        self.subscriptions.add("c")
        self.assertNotIn(b"c", self.callback_subscribers)

    def test_a_client_that_is_closed_by_the_history(self) -> None:
        def at_once(subscriber: RecordingSubscriber) -> None:
            self.subscriptions.stop()

        self.at_once = at_once
        self.subscriptions.begin(["a", "b"], {})
        self.assertEqual(list(self.callback_subscribers), [b"a"])
        self.assertTrue(self.callback_subscribers[b"a"].stopped)
