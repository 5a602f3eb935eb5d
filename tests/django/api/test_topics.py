"""listen, members and barrier."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.utils.translation import gettext_lazy
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.broker_state.barrier import EVERY_NODE
from cluster.core.exceptions import BarrierRefused, NotRunning
from cluster.django.api import payloads, topics
from cluster.django.api.topic_messages import topic_messages
from cluster.net.websocket.frames import binary_frame, text_frame
from tests.django.fakes import RecordingNode
from tests.django.site import load_site


class TopicsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(topics, "node", None)
        self.patch(topics, "_listeners", [])
        self.node = RecordingNode()
        self.pubsub = self.node.pubsub


class NotRunningTests(TopicsTestCase):
    def test_barrier(self) -> None:
        with self.assertRaises(NotRunning):
            asyncio.run(topics.abarrier("a", 1))

    def test_members(self) -> None:
        error = self.assertRaises(NotRunning, topics.members, "a")
        self.assertIn("twistd c10k", str(error))

    def test_in_the_loop_of_an_asynchronous_view(self) -> None:
        """It is another thread's: no release or message would ever reach it."""
        self.patch(topics, "_attached", topics._attached)
        topics.attach(self.node)

        async def view() -> list[str]:
            errors = []
            for call in (topics.abarrier("a", 1), topic_messages("a").__aenter__()):
                try:
                    await call
                except NotRunning as error:
                    errors.append(str(error))
            return errors

        with ThreadPoolExecutor(1) as views:
            errors = views.submit(asyncio.run, view()).result()
        self.assertEqual(2, len(errors))
        for error in errors:
            self.assertIn("an asynchronous view has a loop", error)
        self.assertIs(self.node, topics.node_of_this_loop())


class NamesAndMessagesTests(SynchronousTestCase):
    def test_a_topic_is_text_or_bytes(self) -> None:
        self.assertEqual([payloads.as_topic("é"), payloads.as_topic(b"a")], ["é".encode(), b"a"])
        given: tuple[Any, ...] = (5, None, ["a"])
        for wrong in given:
            error = self.assertRaises(TypeError, payloads.as_topic, wrong)
            self.assertIn(f"a topic is str or bytes, not {type(wrong).__name__}", str(error))

    def test_a_message_is_text_or_bytes(self) -> None:
        load_site()
        self.assertEqual(payloads.as_frame("é"), text_frame("é".encode()))
        self.assertEqual(payloads.as_frame(b"a"), binary_frame(b"a"))
        given: tuple[Any, ...] = (5, None, {"a": 1}, {}, [], gettext_lazy("a"))
        for wrong in given:
            error = self.assertRaises(TypeError, payloads.as_frame, wrong)
            self.assertIn(f"a message is str or bytes, not {type(wrong).__name__}", str(error))


class ListenTests(TopicsTestCase):
    def test_before_and_after_the_node_is_there(self) -> None:
        got: list[Any] = []
        topics.listen("early", got.append)
        topics.attach(self.node)
        topics.listen(b"late", got.append)
        self.assertEqual([topic for topic, _ in self.pubsub.listeners], [b"early", b"late"])
        early, late = (listener for _, listener in self.pubsub.listeners)
        early(text_frame("é".encode() * 100))
        late(binary_frame(b"\xff"))
        self.assertEqual(got, ["é" * 100, b"\xff"])

    def test_another_node_receives_all_of_them(self) -> None:
        topics.listen("early", print)
        topics.attach(self.node)
        topics.listen("late", print)
        other = RecordingNode()
        topics.attach(other)
        self.assertEqual([topic for topic, _ in other.pubsub.listeners], [b"early", b"late"])


class BarrierTests(TopicsTestCase):
    def setUp(self) -> None:
        super().setUp()
        topics.attach(self.node)
        self.barriers = self.pubsub.barriers

    async def arrive(self) -> "asyncio.Task[None]":
        task = asyncio.create_task(topics.abarrier("reset", EVERY_NODE))
        await asyncio.sleep(0)
        self.assertEqual(list(self.barriers.parties.values()), [("reset", EVERY_NODE)])
        return task

    def test_released_and_left(self) -> None:
        async def run() -> None:
            task = await self.arrive()
            self.barriers.release()
            await task
            self.assertEqual(self.barriers.parties, {})

        asyncio.run(run())

    def test_refused(self) -> None:
        async def run() -> None:
            task = await self.arrive()
            self.barriers.refuse(1, "released already")
            with self.assertRaises(BarrierRefused) as raised:
                await task
            self.assertEqual(str(raised.exception), "reset: released already")
            self.assertEqual(self.barriers.parties, {})

        asyncio.run(run())

    def test_cancelled(self) -> None:
        async def run() -> None:
            task = await self.arrive()
            released, refused = self.barriers.waiting[1]
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertEqual(self.barriers.parties, {})
            released()  # on its way when we left: nothing waits for it
            refused("full")

        asyncio.run(run())
