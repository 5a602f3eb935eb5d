"""topic_messages: a topic's messages for a coroutine, on a real node's topics."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from django.test import override_settings
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.exceptions import MessagesLost, NotRunning, TooSlow
from cluster.django.api import topics
from cluster.django.api.topic_messages import topic_messages
from cluster.net.websocket.frames import binary_frame, text_frame
from cluster.pubsub.pubsub import PubSub
from tests.django.fakes import RecordingNode
from tests.django.site import load_site
from tests.fakes import RecordingBus

load_site()


class TopicMessagesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bus = RecordingBus()
        self.pubsub = PubSub(self.bus, [], lambda: None, Clock())
        self.bus.start(self.pubsub)
        self.bus.up("e")
        node: Any = RecordingNode()
        node.pubsub = self.pubsub
        self.patch(topics, "node", node)

    def kept(self, depth: int, offset: int, *messages: bytes) -> None:
        """The exchange answers with what topic t retains."""
        frames = tuple(map(text_frame, messages))
        self.pubsub.bus_message(wire.Retained(b"t", depth, offset, frames, "e" if depth else ""))

    def run_with(
        self,
        test: Callable[[topic_messages], Coroutine[Any, Any, None]],
        kept: tuple[Any, ...] = (0, 0),
        **how: Any,
    ) -> None:
        """Enter, have the exchange answer, and return."""

        async def run() -> None:
            messages = topic_messages("t", **how)
            entering = asyncio.create_task(messages.__aenter__())
            while not self.pubsub.subscriptions.special:
                await asyncio.sleep(0)
            self.kept(*kept)
            self.assertIs(await entering, messages)
            try:
                await test(messages)
            finally:
                await messages.__aexit__()
            self.assertEqual(self.pubsub.subscriptions.special, {})

        asyncio.run(run())

    def test_what_comes(self) -> None:
        async def test(messages: topic_messages) -> None:
            next_one = asyncio.ensure_future(anext(messages))
            await asyncio.sleep(0)
            self.pubsub.publish(b"t", text_frame("é".encode()))
            self.pubsub.publish(b"t", binary_frame(b"\xff"))
            self.assertEqual([await next_one, await anext(messages)], ["é", b"\xff"])
            self.assertEqual((messages.recovered, messages.position), (False, ""))

        self.run_with(test)

    def test_what_was_missed(self) -> None:
        async def test(messages: topic_messages) -> None:
            self.assertEqual((messages.recovered, messages.position), (True, "e:2"))
            self.assertEqual([await anext(messages), await anext(messages)], ["3", "4"])
            self.assertEqual(messages.position, "e:4")

        self.run_with(test, (3, 4, b"2", b"3", b"4"), since="e:2")

    def test_a_history_that_is_incomplete(self) -> None:
        async def test(messages: topic_messages) -> None:
            self.assertFalse(messages.recovered)
            self.assertEqual([await anext(messages), messages.position], ["4", "e:4"])

        self.run_with(test, (1, 4, b"4"), since="e:2")

    def test_another_numbering_while_it_waits(self) -> None:
        async def test(messages: topic_messages) -> None:
            more = wire.Retained(b"t", 3, 41, (text_frame(b"new"),), "f")
            self.pubsub.bus_message(more)
            positions = [messages.position]
            for expected in ("3", "4", "new"):
                self.assertEqual(await anext(messages), expected)
                positions.append(messages.position)
            self.assertEqual(positions, ["e:2", "e:3", "e:4", "f:41"])

        self.run_with(test, (3, 4, b"2", b"3", b"4"), since="e:2")

    @override_settings(C10K={"TOPIC_QUEUE_MESSAGES": 2})
    def test_a_loop_that_is_too_slow(self) -> None:
        async def test(messages: topic_messages) -> None:
            for number in range(5):
                self.pubsub.publish(b"t", text_frame(b"%d" % number))
            self.assertEqual([await anext(messages), await anext(messages)], ["0", "1"])
            with self.assertRaises(TooSlow) as raised:
                await anext(messages)
            self.assertIn("3 messages of b't'", str(raised.exception))
            self.assertEqual(self.pubsub.dropped["slow_handler"], 3)

        self.run_with(test)

    def test_messages_that_are_lost(self) -> None:
        async def test(messages: topic_messages) -> None:
            self.pubsub.subscriptions.history_cache.uncertain.add(b"t")
            self.pubsub.bus_message(wire.Retained(b"t", 1, 9, (text_frame(b"9"),), "e"))
            self.assertEqual([await anext(messages), await anext(messages)], ["3", "4"])
            self.assertTrue(messages.recovered)
            with self.assertRaises(MessagesLost) as raised:
                await anext(messages)
            self.assertIn("messages of b't' did not reach this node", str(raised.exception))
            self.assertEqual((messages.recovered, messages.position), (False, "e:4"))
            self.assertEqual([await anext(messages), messages.position], ["9", "e:9"])

        self.run_with(test, (3, 4, b"2", b"3", b"4"), since="e:2")

    def test_losses_without_a_message_in_between_are_one(self) -> None:
        async def test(messages: topic_messages) -> None:
            for _ in range(3):
                self.pubsub.subscriptions.frames_lost([b"t"])
            self.pubsub.publish(b"t", text_frame(b"next"))
            with self.assertRaises(MessagesLost):
                await anext(messages)
            self.assertEqual(await anext(messages), "next")

        self.run_with(test)

    def test_cancelled_while_entering(self) -> None:
        async def run() -> None:
            entering = asyncio.create_task(topic_messages("t", since="e:1").__aenter__())
            await asyncio.sleep(0)
            entering.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await entering
            self.assertEqual(self.pubsub.subscriptions.special, {})

        asyncio.run(run())

    def test_no_position(self) -> None:
        async def test(messages: topic_messages) -> None:
            self.assertFalse(messages.recovered)
            self.assertEqual([await anext(messages), messages.position], ["4", "e:4"])

        self.run_with(test, (1, 4, b"4"), since="yesterday")

    def test_a_place_that_is_no_text(self) -> None:
        self.assertRaises(TypeError, topic_messages, "t", since=2)

    def test_in_a_process_that_is_no_node(self) -> None:
        self.patch(topics, "node", None)
        with self.assertRaises(NotRunning):
            asyncio.run(topic_messages("t").__aenter__())
