"""What a connection does with topics: history, its own messages."""

import asyncio
from typing import Any

from django.test import override_settings
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.broker_state.retained_topic import History
from cluster.core.exceptions import Disconnected
from cluster.django.api import history_settings
from cluster.django.api.receipt import Receipt
from cluster.django.handlers.topic_subscriptions import frames_to_replay
from cluster.django.handlers.websocket import WebSocket
from cluster.net.websocket.autobahn_protocol import OPEN
from cluster.net.websocket.frames import frame_payload, text_frame
from cluster.pubsub.pubsub import PubSub
from tests.django.fakes import RecordingBudget
from tests.django.site import load_site
from tests.fakes import RecordingBus, RecordingConnection

load_site()


class ServerConnection(RecordingConnection):
    """A connection that records failures, and topics of which messages are lost."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[BaseException] = []
        self.on_drained: Any = None
        self.on_frames_lost: Any = None
        self.state = OPEN
        self.budget = RecordingBudget()

    def frames_lost(self, topic: bytes) -> None:
        (self.on_frames_lost or super().frames_lost)(topic)

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure.value)

    @property
    def texts(self) -> list[str]:
        return [bytes(frame_payload(frame)[0]).decode() for frame in self.out]


class Client(WebSocket):
    """The WebSocket of a connection that records."""

    def __init__(self, pubsub: PubSub) -> None:
        self.connection = ServerConnection()
        super().__init__(
            self.connection,
            pubsub,
            (64, 1 << 20, 1 << 16),
            path="/",
            query={},
            headers={},
            client="127.0.0.1",
            subprotocol=None,
        )


class SubscriberTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.bus = RecordingBus()
        self.pubsub = PubSub(self.bus, [], lambda: None, Clock())
        self.bus.start(self.pubsub)
        self.bus.up("e")
        self.ws, self.other = Client(self.pubsub), Client(self.pubsub)

    def kept(self, offset: int, *messages: bytes, depth: int = 3, number: int = 0) -> None:
        """The exchange answers with what topic t retains."""
        frames = tuple(map(text_frame, messages))
        epochs = "e" if depth else ""
        self.pubsub.bus_message(wire.Retained(b"t", depth, offset, frames, epochs, number=number))


class LostMessagesTests(SubscriberTestCase):
    """Messages that do not reach this node."""

    def lose(self, *topics: bytes) -> None:
        self.pubsub.subscriptions.frames_lost(topics or (b"t",))

    def test_the_connection_decides(self) -> None:
        self.ws.subscribe("t")
        self.other.subscribe("u")
        self.lose()
        self.assertEqual((self.ws.connection.lost, self.other.connection.lost), ([b"t"], []))

    def test_a_function_is_called_instead(self) -> None:
        gaps: list[str] = []
        self.ws.subscribe("t", on_gap=lambda: gaps.append("t"))
        self.ws.subscribe("u", on_gap=lambda: gaps.append("u"))
        self.lose(b"t")
        self.lose(b"u")
        self.assertEqual((gaps, self.ws.connection.lost), (["t", "u"], []))
        self.ws.unsubscribe("u")
        self.ws.subscribe("t")
        self.lose(b"t", b"u")
        self.assertEqual((gaps, self.ws.connection.lost), (["t", "u"], [b"t"]))

    def test_a_function_in_place_of_refresh(self) -> None:
        gaps: list[str] = []
        self.ws.subscribe("t", refresh=lambda: ["newest"])
        self.ws.subscribe("t", on_gap=lambda: gaps.append("t"))
        self.lose()
        self.assertEqual((gaps, self.ws.connection.lost), (["t"], []))
        self.assertEqual(self.ws.connection.texts, [])

    def test_with_refresh_the_newest_state_is_sent(self) -> None:
        self.ws.subscribe("t", refresh=lambda: ["newest"])
        self.lose()
        self.assertEqual(self.ws.connection.texts, ["newest"])
        self.ws.connection.blocked = True
        self.lose()
        self.assertEqual(self.ws.connection.texts, ["newest"])
        self.ws.connection.blocked = False
        self.ws.connection.on_drained()
        self.assertEqual(self.ws.connection.texts, ["newest", "newest"])

    def test_an_error_of_the_function_closes_the_connection(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        self.ws.subscribe("t", on_gap=fail)
        self.lose()
        (error,) = self.ws.connection.failures
        self.assertIsInstance(error, ZeroDivisionError)


class HistoryTests(SubscriberTestCase):
    def test_what_is_kept_comes_first(self) -> None:
        self.ws.subscribe("t")
        self.kept(2, b"1", b"2")
        self.other.subscribe("t")
        self.kept(3, b"3")
        self.assertEqual(self.ws.connection.texts, ["1", "2", "3"])
        self.assertEqual(self.other.connection.texts, ["1", "2", "3"])

    def test_where_it_began(self) -> None:
        async def run() -> None:
            waiting = asyncio.ensure_future(subscription_of(self.ws.subscribe("t")))
            await asyncio.sleep(0)
            self.kept(2, b"1", b"2")
            self.kept(3, b"3")
            self.assertEqual((await waiting).position, "e:2")
            self.assertEqual((await self.other.subscribe("t")).position, "e:3")
            self.kept(4, b"4")
            again = await self.ws.subscribe("t")
            self.assertEqual((again.recovered, again.position), (False, "e:4"))
            for ws in (self.ws, self.other):
                self.assertEqual(ws.connection.texts, ["1", "2", "3", "4"])
                ws.connection_closed(1000)
            self.assertFalse(self.pubsub.subscriptions.all_topics_wanted())

        asyncio.run(run())

    def test_where_it_began_when_the_client_leaves_meanwhile(self) -> None:
        async def run() -> None:
            waiting = asyncio.ensure_future(subscription_of(self.ws.subscribe("t")))
            await asyncio.sleep(0)
            self.ws.connection_closed(1000)
            self.assertEqual((await waiting).position, "")
            self.assertFalse(self.pubsub.subscriptions.all_topics_wanted())

        asyncio.run(run())

    def test_only_what_was_missed(self) -> None:
        async def run() -> None:
            subscription = self.ws.subscribe("t", since="e:2")
            waiting = asyncio.ensure_future(subscription_of(subscription))
            await asyncio.sleep(0)
            self.kept(4, b"2", b"3", b"4")
            self.assertIs(await waiting, subscription)
            self.assertEqual((subscription.recovered, subscription.position), (True, "e:4"))
            self.assertEqual(self.ws.connection.texts, ["3", "4"])
            self.assertIs(await subscription, subscription)

        asyncio.run(run())

    def test_a_history_that_is_incomplete(self) -> None:
        subscription = self.ws.subscribe("t", since="before:2")
        self.kept(4, b"3", b"4")
        self.assertEqual((subscription.recovered, subscription.position), (False, "e:4"))
        self.assertEqual(self.ws.connection.texts, ["3", "4"])

    def test_only_what_is_new(self) -> None:
        self.ws.subscribe("t", replay=False)
        self.kept(2, b"1", b"2")
        self.kept(3, b"3")
        self.assertEqual(self.ws.connection.texts, ["3"])

    def test_missed_messages_are_sent_without_replay_too(self) -> None:
        self.ws.subscribe("t", replay=False, since="e:1")
        self.kept(2, b"1", b"2")
        self.assertEqual(self.ws.connection.texts, ["2"])

    def test_in_one_piece(self) -> None:
        self.ws.subscribe("t", replay=lambda messages: ["+".join(map(str, messages))])
        self.kept(2, b"1", b"2")
        self.kept(3, b"3")
        self.assertEqual(self.ws.connection.texts, ["1+2", "3"])

    def test_clients_share_the_frames_of_messages_that_are_sent_unchanged(self) -> None:
        frames = tuple(text_frame(bytes(200) + b"%d" % number) for number in range(3))
        history = History(True, "e", 3, frames)
        sent = frames_to_replay(history, lambda messages: [messages[2], "new", messages[0]])
        self.assertIs(sent[0], frames[2])
        self.assertEqual(sent[1], text_frame(b"new"))
        self.assertIs(sent[2], frames[0])

    def test_a_topic_that_keeps_nothing(self) -> None:
        subscription = self.ws.subscribe("t", replay=lambda messages: [str(messages)])
        self.kept(0, depth=0)
        self.assertEqual((subscription.recovered, subscription.position), (False, ""))
        self.assertEqual(self.ws.connection.texts, ["[]"])

    def test_no_position(self) -> None:
        """Clients send positions back, so nonsense is no bug of the handler."""
        for nonsense in ("", "yesterday", "e", "e:", "e:-1", ":2", "e:2:3"):
            ws = Client(self.pubsub)
            subscription = ws.subscribe("t", since=nonsense)
            self.kept(4, b"3", b"4")
            self.assertEqual((subscription.recovered, subscription.position), (False, "e:4"))
            self.assertEqual(ws.connection.texts, ["3", "4"])

    def test_a_place_that_is_no_text(self) -> None:
        self.assertRaises(TypeError, self.ws.subscribe, "t", since=2)
        self.assertEqual(self.pubsub.subscriptions.special, {})

    def test_nothing_waits_for_a_closed_connection(self) -> None:
        async def run() -> None:
            subscription = self.ws.subscribe("t", since="e:2")
            waiting = asyncio.ensure_future(subscription_of(subscription))
            await asyncio.sleep(0)
            self.ws.connection_closed(1006)
            self.ws.connection_closed(1000)
            self.assertIs(await waiting, subscription)
            self.kept(4, b"4")
            self.assertEqual(self.ws.connection.out, [])
            late = self.ws.subscribe("t", since="e:2")
            self.assertEqual((late.recovered, late.position), (False, ""))
            with self.assertRaises(Disconnected):
                await late

        asyncio.run(run())

    def test_nothing_is_left_of_what_is_answered(self) -> None:
        for _ in range(3):
            self.ws.subscribe("t", since="e:2")
            self.kept(4, b"4")
        self.assertFalse(self.ws._lifetime._endings)

    def test_awaiting_a_subscription_that_was_replaced_ends(self) -> None:
        """By a client that comes and goes, it would also be kept until that leaves."""

        async def run() -> None:
            for end in (
                lambda: self.ws.unsubscribe("t"),
                lambda: self.ws.subscribe("t"),
                lambda: self.ws.subscribe("t", refresh=list),
                lambda: self.ws.subscribe("t", since="e:3"),
            ):
                subscription = self.ws.subscribe("t", since="e:2")
                waiting = asyncio.ensure_future(subscription_of(subscription))
                await asyncio.sleep(0)
                end()
                await asyncio.wait_for(waiting, 5)
                self.assertEqual(subscription.position, "")
                self.ws.unsubscribe("t")
                self.assertFalse(self.ws._lifetime._endings)

        asyncio.run(run())


async def subscription_of(subscription: Any) -> Any:
    """``await`` as a coroutine, for a task."""
    return await subscription


class NotToMyselfTests(SubscriberTestCase):
    def setUp(self) -> None:
        super().setUp()
        changed = override_settings(C10K={"TOPICS": {"t": {"history": 3}}})
        changed.enable()
        self.addCleanup(changed.disable)
        self.addCleanup(history_settings.forget)
        history_settings.forget()

    def test_a_message_that_is_kept(self) -> None:
        for client in (self.ws, self.other):
            client.subscribe("t")
        self.assertEqual(self.ws.publish("t", "x", echo=False), Receipt(1, 1))
        self.pubsub.flush()
        sent = [item for item in self.bus.take() if isinstance(item, wire.Retain)]
        self.assertEqual(sent, [wire.Retain(b"t", 3, text_frame(b"x"), number=1)])
        self.kept(2, b"x", b"x", number=1)  # somebody else said the same a moment before
        self.assertEqual(
            (self.ws.connection.texts, self.other.connection.texts), (["x"], ["x", "x"])
        )

    def test_one_that_is_not(self) -> None:
        for client in (self.ws, self.other):
            client.subscribe("u")
        self.assertEqual(self.ws.publish("u", "x", echo=False), Receipt(1, 1))
        self.assertEqual(self.ws.publish("u", "y"), Receipt(1, 2))
        self.assertEqual(
            (self.ws.connection.texts, self.other.connection.texts), (["y"], ["x", "y"])
        )
