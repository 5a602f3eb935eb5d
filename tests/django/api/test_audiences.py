"""Audiences: topics, receipts, permission, repeated messages, heartbeats."""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.django.site import load_site

load_site()

from django.contrib.auth.models import Group, User  # noqa: E402 - models want settings first
from django.core.exceptions import PermissionDenied  # noqa: E402
from django.db import transaction  # noqa: E402
from twisted.trial.unittest import TestCase  # noqa: E402

from cluster import Receipt, publish_to  # noqa: E402
from cluster.django.api import audiences, topics  # noqa: E402
from cluster.django.api.payloads import as_message  # noqa: E402
from cluster.django.contrib.websocket_redis import (  # noqa: E402
    HEARTBEAT_S,
    Allowed,
    AudienceClient,
    Heartbeats,
    allowed_channels,
    requested_by,
    topics_of,
    without_function,
)
from cluster.net.websocket.frames import binary_frame, frame_payload, text_frame  # noqa: E402
from django_project.audiences.permission import allowed  # noqa: E402
from tests.django.fakes import RecordingNode  # noqa: E402


class Saved:
    """A session that has a key."""

    session_key: str | None = "k" * 32


class TopicTests(TestCase):
    def test_users_and_groups_as_such_or_by_name(self) -> None:
        ada, group = User(username="ada"), Group(name="engineers")
        self.assertEqual("audience/news/user/ada", audiences.user_topic("news", ada))
        self.assertEqual("audience/news/user/ada", audiences.user_topic("news", "ada"))
        self.assertEqual("audience/news/group/engineers", audiences.group_topic("news", group))
        self.assertEqual(
            "audience/news/group/engineers", audiences.group_topic("news", "engineers")
        )

    def test_no_name_makes_one_audience_look_like_another(self) -> None:
        tricky = ["a", "a/b", "a%2Fb", "a b", "é", "*", "broadcast", "a/user/b"]
        made = [audiences.broadcast_topic(name) for name in tricky]
        made += [audiences.user_topic(one, two) for one in tricky for two in tricky]
        made += [audiences.group_topic(one, two) for one in tricky for two in tricky]
        self.assertEqual(len(made), len(set(made)))

    def test_slashes_around_a_facility_mean_nothing(self) -> None:
        self.assertEqual(audiences.broadcast_topic("news"), audiences.broadcast_topic("/news/"))
        for empty in ("", "/"):
            self.assertRaises(ValueError, audiences.broadcast_topic, empty)

    def test_a_session_s_key_is_not_in_its_topic(self) -> None:
        topic = audiences.session_topic("news", Saved())
        self.assertEqual(topic, audiences.session_topic("news", "k" * 32))
        self.assertNotEqual(topic, audiences.session_topic("news", "l" * 32))
        self.assertNotIn("kkk", topic)

    def test_a_session_that_was_never_saved_has_no_topic(self) -> None:
        session = Saved()
        session.session_key = None
        self.assertRaises(ValueError, audiences.session_topic, "news", session)


class PublishToTests(TestCase):
    def setUp(self) -> None:
        self.published: list[tuple[str, str | bytes, int]] = []
        self.counts: dict[str, tuple[int, int]] = {}
        node = RecordingNode()
        self.patch(topics, "node", node)
        self.patch(node.pubsub, "publish", self.publish)
        self.patch(node.pubsub, "publish_retained", self.publish)

    def publish(
        self, topic: bytes, frame: bytes, depth: int = 0, lifetime: int = 0
    ) -> tuple[int, int]:
        self.published.append((topic.decode(), as_message(frame), lifetime))
        return self.counts.get(topic.decode(), (1, 1))

    def topics(self) -> list[str]:
        return [topic for topic, _, _ in self.published]

    def test_all_kinds_at_once(self) -> None:
        publish_to(
            "hi",
            facility="news",
            users=["ada", User(username="alan")],
            groups=["engineers"],
            sessions=[Saved()],
            broadcast=True,
        )
        self.assertEqual(
            [
                "audience/news/broadcast",
                "audience/news/user/ada",
                "audience/news/user/alan",
                "audience/news/group/engineers",
                audiences.session_topic("news", "k" * 32),
            ],
            self.topics(),
        )
        self.assertEqual({"hi"}, {message for _, message, _ in self.published})

    def test_a_user_who_is_named_twice_receives_it_once(self) -> None:
        publish_to("hi", facility="news", users=["ada", User(username="ada")])
        self.assertEqual(["audience/news/user/ada"], self.topics())

    def test_the_receipt_counts_all_audiences(self) -> None:
        self.counts = {"audience/news/broadcast": (2, 5), "audience/news/user/ada": (3, 1)}
        receipt = publish_to("hi", facility="news", users=["ada"], broadcast=True)
        self.assertEqual(Receipt(3, 6), receipt)

    def test_pending_before_the_commit(self) -> None:
        self.counts = {"audience/news/broadcast": (2, 5), "audience/news/user/ada": (3, 1)}
        with transaction.atomic():
            receipt = publish_to("hi", facility="news", users=["ada"], broadcast=True)
            self.assertEqual(Receipt(pending=True), receipt)
            self.assertEqual([], self.published)
        self.assertEqual(Receipt(3, 6), receipt)

    def test_json(self) -> None:
        publish_to(json={"order": 1}, facility="news", broadcast=True)
        self.assertEqual(['{"order":1}'], [message for _, message, _ in self.published])
        with self.assertRaises(TypeError):
            publish_to("hi", json=1, facility="news", broadcast=True)
        with self.assertRaises(TypeError):
            publish_to(facility="news", broadcast=True)

    def test_an_empty_list_is_an_audience(self) -> None:
        self.assertEqual(Receipt(0, 0), publish_to("hi", facility="news", users=[]))
        self.assertRaises(ValueError, publish_to, "hi", facility="news")
        self.assertEqual([], self.published)

    def test_one_in_place_of_a_list(self) -> None:
        for kind in ("users", "groups", "sessions"):
            for one in ("ada", b"ada", User(username="ada"), Saved(), 0):
                how = {"facility": "news", kind: one}
                error = self.assertRaises(TypeError, publish_to, "hi", **how)
                self.assertIn(f"{kind} must be a list", str(error))

    def test_what_is_no_receiver(self) -> None:
        for kind in ("users", "groups", "sessions"):
            for wrong in (None, 5, b"ada"):
                how = {"facility": "news", kind: [wrong]}
                error = self.assertRaises(TypeError, publish_to, "hi", **how)
                self.assertIn(f"{wrong!r} is not a name", str(error))
        self.assertRaises(TypeError, publish_to, "hi", facility=None, broadcast=True)
        self.assertEqual([], self.published)

    def test_a_message_that_waits(self) -> None:
        publish_to("hi", facility="news", broadcast=True, expire=60)
        publish_to("hi", facility="news", broadcast=True)
        self.assertEqual([60_000, 0], [lifetime for _, _, lifetime in self.published])


class PermissionTests(TestCase):
    def test_what_a_url_asks_for(self) -> None:
        requested = requested_by(
            ["subscribe-broadcast", " Publish-User ", "echo", "v", "subscribe-all"]
        )
        self.assertEqual({"subscribe-broadcast", "publish-user"}, requested.channels)
        self.assertTrue(requested.echo)
        self.assertFalse(requested_by(["subscribe-user"]).echo)

    def test_what_is_not_granted_is_left_out(self) -> None:
        asked = {"subscribe-user", "publish-user"}
        self.assertEqual({"subscribe-user"}, allowed_channels(asked, ["subscribe-user", "other"]))

    def test_nothing_granted_is_a_refusal(self) -> None:
        for answer in (None, set(), {"subscribe-group"}):
            self.assertRaises(PermissionDenied, allowed_channels, {"publish-user"}, answer)

    def test_a_url_that_requests_nothing_is_accepted(self) -> None:
        self.assertEqual(frozenset(), allowed_channels(set(), None))

    def test_without_a_function_publishing_is_not_allowed(self) -> None:
        asked = {"subscribe-user", "publish-user", "publish-broadcast"}
        self.assertEqual({"subscribe-user"}, without_function(None, asked))

    def test_topics_of_the_channels(self) -> None:
        own = {"broadcast": ["b"], "user": ["u"], "group": ["g1", "g2"], "session": []}
        channels = {"subscribe-group", "subscribe-session", "publish-user", "publish-broadcast"}
        self.assertEqual(["g1", "g2"], topics_of(channels, "subscribe", own))
        self.assertEqual(["b", "u"], topics_of(channels, "publish", own))

    def test_the_demo_s_own_rule(self) -> None:
        class Request:
            def __init__(self, **user: Any) -> None:
                self.user = type("Someone", (), user)

        asked = {"subscribe-user", "publish-user"}
        guest: Any = Request(is_authenticated=False)
        known: Any = Request(is_authenticated=True)
        self.assertEqual({"subscribe-user"}, allowed(guest, asked))
        self.assertEqual(asked, allowed(known, asked))


class RecordingSubscriber:
    def __init__(self) -> None:
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class RecordingClient:
    """A WebSocket as a listener uses it."""

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.published: list[tuple[str, str | bytes]] = []
        self.subscribed: list[str] = []

    def send_frame(self, frame: bytes) -> None:
        payload, is_binary = frame_payload(frame)
        self.sent.append(payload if is_binary else payload.decode())

    def publish(self, topic: str, message: str | bytes) -> None:
        self.published.append((topic, message))

    def subscribe(self, topic: str) -> None:
        self.subscribed.append(topic)


class ListenerTests(TestCase):
    def setUp(self) -> None:
        self.node = RecordingNode()
        self.patch(topics, "node", self.node)
        self.takes: dict[bytes, Callable[[bytes, int], None]] = {}
        self.callback_subscribers: list[RecordingSubscriber] = []

        def follow(
            topic: bytes, take: Callable[[bytes, int], None], *, for_client: bool
        ) -> RecordingSubscriber:
            self.assertTrue(for_client)
            self.takes[topic] = take
            self.callback_subscribers.append(RecordingSubscriber())
            return self.callback_subscribers[-1]

        self.node.pubsub.follow = follow
        self.client = RecordingClient()

    def audience_client(
        self, *, echo: bool = False, heartbeat: str | None = None
    ) -> AudienceClient:
        client = AudienceClient(self.client, Allowed(("b", "u"), ("b", "g"), echo), heartbeat)
        client.begin()
        return client

    def deliver(self, *messages: str, topic: bytes = b"b") -> None:
        for message in messages:
            self.takes[topic](text_frame(message.encode()), 0)

    def test_a_message_goes_to_all_audiences_published_to(self) -> None:
        self.audience_client().message(b"hello", False)
        self.assertEqual([("b", "hello"), ("g", "hello")], self.client.published)

    def test_binary_stays_binary(self) -> None:
        client = self.audience_client()
        client.message(b"\x00", True)
        self.assertEqual([("b", b"\x00"), ("g", b"\x00")], self.client.published)
        self.takes[b"b"](binary_frame(b"\x00"), 0)
        self.takes[b"b"](binary_frame(b"\x01"), 0)
        self.assertEqual([b"\x01"], self.client.sent)

    def test_a_client_s_own_message_does_not_come_back(self) -> None:
        self.audience_client().message(b"mine", False)
        self.deliver("mine", "other")
        self.assertEqual(["other"], self.client.sent)

    def test_repetitions_are_left_out_whatever_audience_they_are_for(self) -> None:
        self.audience_client()
        self.deliver("a", "a", "b")
        self.deliver("b", "a", topic=b"u")
        self.assertEqual(["a", "b", "a"], self.client.sent)

    def test_a_client_s_older_message_is_sent_after_another_one(self) -> None:
        self.audience_client().message(b"mine", False)
        self.deliver("other", "mine")
        self.assertEqual(["other", "mine"], self.client.sent)

    def test_text_and_binary_of_the_same_bytes_are_two_messages(self) -> None:
        self.audience_client().message(b"x", True)
        self.deliver("x")
        self.assertEqual(["x"], self.client.sent)

    def test_with_echo_messages_take_the_direct_way(self) -> None:
        self.audience_client(echo=True)
        self.assertEqual(["b", "u"], self.client.subscribed)
        self.assertEqual({}, self.takes)

    def test_a_heartbeat_is_not_a_message(self) -> None:
        client = self.audience_client(heartbeat="--heartbeat--")
        client.message(b"mine", False)
        client.message(b"--heartbeat--", False)
        self.assertEqual(["mine", "mine"], [message for _, message in self.client.published])
        self.deliver("mine")  # the heartbeat did not replace it as the state
        self.assertEqual([], self.client.sent)
        client.message(b"--heartbeat--", True)
        self.assertEqual(4, len(self.client.published))

    def test_at_the_end_nothing_is_followed(self) -> None:
        self.audience_client().end()
        self.assertEqual(
            [True, True], [subscriber.stopped for subscriber in self.callback_subscribers]
        )


class HeartbeatTests(TestCase):
    """With a loop whose only clock is the test's."""

    def setUp(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.heartbeats = Heartbeats()
        test = self

        class Loop:
            def call_later(self, delay: float, call: Callable[[], None]) -> Any:
                timer = (delay, call)
                test.calls.append(timer)

                class Timer:
                    def cancel(self) -> None:
                        test.calls.remove(timer)

                return Timer()

        self.patch(asyncio, "get_running_loop", Loop)

    def beat(self) -> None:
        ((delay, call),) = self.calls
        self.assertEqual(HEARTBEAT_S, delay)
        self.calls.clear()
        call()

    def test_one_timer_for_all(self) -> None:
        clients = [RecordingClient() for _ in range(3)]
        for client in clients:
            self.heartbeats.add(client, "beat")
        self.beat()
        self.heartbeats.remove(clients[0])
        self.beat()
        self.assertEqual([1, 2, 2], [len(client.sent) for client in clients])
        self.assertEqual(["beat", "beat"], clients[1].sent)

    def test_no_timer_without_clients(self) -> None:
        client = RecordingClient()
        self.heartbeats.remove(client)
        self.heartbeats.add(client, "beat")
        self.heartbeats.remove(client)
        self.assertEqual([], self.calls)
        self.heartbeats.add(client, "beat")
        self.beat()
        self.assertEqual(["beat"], client.sent)
