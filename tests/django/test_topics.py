"""publish, listen and barrier, from anywhere in a node."""

import asyncio
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.barrier import EVERY_NODE
from cluster.core.exceptions import BarrierRefused, NotRunning
from cluster.django import topics
from cluster.net.frames import binary_frame, text_frame
from tests.django.fakes import RecordingNode


class TopicsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(topics, "node", None)
        self.patch(topics, "_listeners", [])
        self.node = RecordingNode()
        self.pubsub = self.node.pubsub


class NotRunningTests(TopicsTestCase):
    def test_publish(self) -> None:
        error = self.assertRaises(NotRunning, topics.publish, "a", "b")
        self.assertIn("twistd c10k", str(error))

    def test_barrier(self) -> None:
        with self.assertRaises(NotRunning):
            asyncio.run(topics.barrier("a", 1))


class PublishTests(TopicsTestCase):
    def setUp(self) -> None:
        super().setUp()
        topics.attach(self.node)

    def test_text_and_binary(self) -> None:
        self.assertEqual(topics.publish("naïve", "é"), (2, 5))
        self.assertEqual(topics.publish(b"\xff", b"\xfe"), (2, 5))
        self.assertEqual(
            self.pubsub.published,
            [
                ("naïve".encode(), text_frame("é".encode())),
                (b"\xff", binary_frame(b"\xfe")),
            ],
        )

    def test_here(self) -> None:
        self.assertEqual(topics.publish("a", "b", here=True), (2, 5))
        self.assertEqual(self.pubsub.published, [(b"a", text_frame(b"b"), "here")])

    def test_retained(self) -> None:
        self.assertIsNone(topics.publish("a", "b", retain=15))
        self.assertEqual(self.pubsub.published, [(b"a", text_frame(b"b"), 15)])

    def test_from_another_thread(self) -> None:
        self.node.elsewhere = True
        self.assertIsNone(topics.publish("a", "b"))
        self.assertIsNone(topics.publish("a", b"c", here=True))
        self.assertIsNone(topics.publish("a", "d", retain=1))
        self.assertEqual(self.pubsub.published, [])
        for function, *args in self.node.handed_over:
            function(*args)
        self.assertEqual(
            self.pubsub.published,
            [
                (b"a", text_frame(b"b")),
                (b"a", binary_frame(b"c"), "here"),
                (b"a", text_frame(b"d"), 1),
            ],
        )


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

    def test_another_node_gets_all_of_them(self) -> None:
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
        task = asyncio.create_task(topics.barrier("reset", EVERY_NODE))
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
            released()  # on its way when we left: nobody is there to be told
            refused("full")

        asyncio.run(run())
