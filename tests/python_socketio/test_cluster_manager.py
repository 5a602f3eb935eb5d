"""ClusterManager and ClusterEmitter on the node of a test; two servers stand for two nodes.

A client is a recording in place of the Engine.IO connection, so that a test sees what it is sent.
"""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import socketio
from django.db import transaction
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.api import backends, publishing, topics
from cluster.django.api.publication import Done, Publication
from cluster.python_socketio import ClusterEmitter, ClusterManager, cluster_manager
from cluster.testing import asynchronous
from cluster.testing.memory_node import MemoryNode
from tests.django.site import load_database, load_site


class RecordingServer:
    """A server of one node; ``sent`` has what its clients received: (client, event, arguments)."""

    def __init__(self, **how: Any) -> None:
        self.manager = ClusterManager(**how)
        self.sio = socketio.AsyncServer(async_mode="asgi", client_manager=self.manager)
        self.sent: list[tuple[Any, ...]] = []
        self.acks: list[tuple[str, int]] = []
        self.closed: list[str] = []
        self.sio._send_eio_packet = self._send_eio
        self.sio._send_packet = self._send
        self.sio.eio.disconnect = self._close

    async def _send_eio(self, eio_sid: str, packet: Any) -> None:
        if isinstance(packet.data, bytes):  # of the packet before
            self.sent.append((eio_sid, packet.data))
        else:
            await self._send(eio_sid, self.sio.packet_class(encoded_packet=packet.data))

    async def _send(self, eio_sid: str, packet: Any) -> None:
        if packet.data is not None:
            self.sent.append((eio_sid, *packet.data))
        if packet.id is not None:
            self.acks.append((eio_sid, packet.id))

    async def _close(self, eio_sid: str) -> None:
        self.closed.append(eio_sid)

    async def connect(self, name: str, namespace: str = "/") -> str:
        """Connect a client; returns its sid."""
        self.manager.initialize()
        sid: str = await self.manager.connect(name, namespace)
        return sid


class ManagerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.patch(topics, "_listeners", [])

    async def servers(self, **how: Any) -> tuple[RecordingServer, RecordingServer]:
        MemoryNode.current()
        await MemoryNode.current().is_up
        servers = RecordingServer(**how), RecordingServer(**how)
        for server in servers:
            server.manager.initialize()
        return servers

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0)

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


class ManagerTests(ManagerTestCase):
    @asynchronous
    async def test_emits_reach_the_clients_of_all_servers_once(self) -> None:
        one, two = await self.servers()
        await one.connect("a")
        await two.connect("b")
        await two.connect("c", "/other")
        await one.sio.emit("news", {"n": 1})
        await two.sio.emit("more", ("x", None))
        await self.settle()
        self.assertEqual(one.sent, [("a", "news", {"n": 1}), ("a", "more", "x", None)])
        self.assertCountEqual(two.sent, [("b", "news", {"n": 1}), ("b", "more", "x", None)])

    @asynchronous
    async def test_binary_data(self) -> None:
        one, two = await self.servers()
        await two.connect("b")
        await one.sio.emit("image", {"png": b"\0\xff"})
        await self.until(lambda: len(two.sent) == 2)
        self.assertEqual(two.sent[1], ("b", b"\0\xff"))

    @asynchronous
    async def test_order(self) -> None:
        one, two = await self.servers()
        await two.connect("b")
        for number in range(100):
            await one.sio.emit("n", number)
        await self.until(lambda: len(two.sent) == 100)
        self.assertEqual([each[2] for each in two.sent], list(range(100)))

    @asynchronous
    async def test_rooms_and_skipped_clients(self) -> None:
        one, two = await self.servers()
        a, b, c = await one.connect("a"), await two.connect("b"), await two.connect("c")
        await one.sio.enter_room(a, "blue")
        await one.sio.enter_room(b, "blue")  # a client of the other server
        await one.sio.enter_room(c, "blue")
        await self.settle()
        await one.sio.emit("x", room="blue", skip_sid=c)
        await one.sio.emit("y", to=c)
        await self.settle()
        self.assertEqual(one.sent, [("a", "x")])
        self.assertEqual(two.sent, [("b", "x"), ("c", "y")])
        await one.sio.leave_room(b, "blue")
        await self.settle()
        await one.sio.close_room("blue")
        await self.settle()
        await two.sio.emit("z", room="blue")
        await self.settle()
        self.assertEqual((len(one.sent), len(two.sent)), (1, 2))

    @asynchronous
    async def test_acknowledgements_of_clients_of_other_servers(self) -> None:
        one, two = await self.servers()
        b = await two.connect("b")
        answers: list[Any] = []

        async def answered(*args: Any) -> None:
            answers.append(args)

        await one.sio.emit("ask", "x", to=b, callback=answered)
        await self.until(lambda: two.acks)
        ((_, number),) = two.acks
        await two.manager.trigger_callback(b, number, ["yes", 7])
        await self.until(lambda: answers)
        self.assertEqual(answers, [("yes", 7)])

    @asynchronous
    async def test_an_acknowledgement_reaches_a_server_without_clients(self) -> None:
        await MemoryNode.current().is_up
        one, two = RecordingServer(), RecordingServer()
        b = await two.connect("b")
        calling = asyncio.ensure_future(one.sio.call("ask", "x", to=b))
        await self.until(lambda: two.acks)
        await two.manager.trigger_callback(b, two.acks[0][1], ["yes"])
        self.assertEqual(await calling, "yes")

    @asynchronous
    async def test_a_client_of_another_server_is_disconnected(self) -> None:
        one, two = await self.servers()
        b = await two.connect("b")
        await one.sio.disconnect(b)
        await self.until(lambda: not two.manager.is_connected(b, "/"))

    @asynchronous
    async def test_channels_are_apart(self) -> None:
        one, _ = await self.servers()
        other = RecordingServer(channel="other")
        await other.connect("b")
        await one.sio.emit("news")
        await self.settle()
        self.assertEqual(other.sent, [])

    @asynchronous
    async def test_a_message_that_is_too_large(self) -> None:
        one, _ = await self.servers(max_size=100)
        with self.assertRaises(ValueError):
            await one.sio.emit("news", "x" * 100)

    @asynchronous
    async def test_from_another_thread_every_server_is_reached_in_the_loop(self) -> None:
        one, two = await self.servers()
        await one.connect("a")
        await two.connect("b")
        threads: set[int] = set()
        send = one._send

        async def recorded(eio_sid: str, packet: Any) -> None:
            threads.add(threading.get_ident())
            await send(eio_sid, packet)

        one.sio._send_packet = one._send = recorded  # type: ignore[method-assign]

        def in_thread() -> None:
            asyncio.run(one.sio.emit("news", 1))
            with self.assertRaises(RuntimeError):
                asyncio.run(one.sio.emit("news", 1, to="b", callback=print))

        await asyncio.to_thread(in_thread)
        await self.until(lambda: one.sent and two.sent)
        self.assertEqual((one.sent, two.sent), ([("a", "news", 1)], [("b", "news", 1)]))
        self.assertEqual(threads, {threading.get_ident()})


class LossTests(ManagerTestCase):
    @asynchronous
    async def test_what_waits_is_bounded(self) -> None:
        self.patch(cluster_manager, "MAX_WAITING", 3)
        one, two = await self.servers()
        await two.connect("b")
        for number in range(5):
            await one.sio.emit("n", number)
        await self.settle()
        self.assertEqual([each[2] for each in two.sent], [0, 1, 2])
        dropped = topics.running_node().pubsub.dropped
        self.assertEqual(dropped, {"socketio_queue_full": 2})

    @asynchronous
    async def test_characters_that_wait_are_bounded(self) -> None:
        self.patch(cluster_manager, "MAX_WAITING_BYTES", 1000)
        one, two = await self.servers()
        await two.connect("b")
        for number in range(3):
            await one.sio.emit("n", str(number) * 400)
        await self.settle()
        self.assertEqual([each[2][0] for each in two.sent], ["0"])
        await one.sio.emit("n", "again")
        await self.until(lambda: len(two.sent) == 2)

    @asynchronous
    async def test_an_emit_waits_while_the_bus_is_full(self) -> None:
        one, two = await self.servers()
        await two.connect("b")
        node: Any = topics.running_node()
        node.pubsub.remote_nodes.full = True
        emitting = asyncio.ensure_future(one.sio.emit("news", 1))
        await self.settle()
        self.assertEqual(two.sent, [])
        node.pubsub.remote_nodes.full = False
        await emitting
        await self.until(lambda: two.sent)

    @asynchronous
    async def test_but_not_indefinitely(self) -> None:
        self.patch(publishing, "FULL_PAUSES", 1)
        one, two = await self.servers()
        await two.connect("b")
        node: Any = topics.running_node()
        node.pubsub.remote_nodes.full = True
        await one.sio.emit("news", 1)
        await self.until(lambda: two.sent)

    @asynchronous
    async def test_invalid_messages_are_counted_and_others_follow(self) -> None:
        one, two = await self.servers()
        await two.connect("b")
        two.manager._take("0" * 32 + "{}")
        await one.sio.emit("news")
        await self.until(lambda: two.sent)
        self.assertEqual(topics.running_node().pubsub.dropped, {"malformed": 1})

    @asynchronous
    async def test_a_server_without_clients_keeps_nothing(self) -> None:
        await MemoryNode.current().is_up
        one, two = RecordingServer(), RecordingServer()
        await one.sio.emit("news")
        self.assertEqual(len(two.manager._waiting), 0)


class SlowClientTests(ManagerTestCase):
    @asynchronous
    async def test_a_client_that_does_not_read_is_closed(self) -> None:
        one, two = await self.servers(max_queued=3)
        await one.connect("a")
        await two.connect("slow")
        await two.connect("b")
        queue: asyncio.Queue[int] = asyncio.Queue()
        for number in range(3):
            queue.put_nowait(number)
        closed: list[Any] = []

        async def record(event: dict[str, Any]) -> None:
            closed.append(event)

        async def close(**how: bool) -> None:
            closed.append(how)

        two.sio.eio.sockets["slow"] = SimpleNamespace(queue=queue, close=close)
        two.sio.environ["slow"] = {"asgi.send": record}
        await one.sio.emit("news", 1)
        await self.until(lambda: len(closed) == 2)
        self.assertEqual((one.sent, two.sent), ([("a", "news", 1)], [("b", "news", 1)]))
        self.assertEqual((closed[0]["type"], closed[0]["code"]), ("websocket.close", 1013))
        self.assertEqual(closed[1], {"wait": False, "abort": True})
        self.assertTrue(queue.empty())
        self.assertEqual(topics.running_node().pubsub.dropped, {"slow_consumer": 4})


class EmitterTests(ManagerTestCase):
    @asynchronous
    async def test_it_reaches_all_servers(self) -> None:
        one, two = await self.servers()
        a, b = await one.connect("a"), await two.connect("b")
        emitter = ClusterEmitter()
        emitter.emit("news", {"n": 1}, namespace="/")
        emitter.enter_room(b, "/", "blue")
        emitter.emit("x", None, room="blue")
        emitter.disconnect(a, "/")
        await self.until(lambda: len(two.sent) == 2 and not one.manager.is_connected(a, "/"))
        self.assertEqual(one.sent[0], ("a", "news", {"n": 1}))
        self.assertEqual([each[:2] for each in two.sent], [("b", "news"), ("b", "x")])
        emitter.close_room("blue")
        emitter.leave_room(b, "/", "blue")
        with self.assertRaises(RuntimeError):
            emitter.emit("ask", None, to=b, callback=print)
        with self.assertRaises(TypeError):
            emitter.emit("news", object())
        with self.assertRaises(ValueError):
            ClusterEmitter(max_size=10).emit("news", "x")

    @asynchronous
    async def test_a_write_only_manager(self) -> None:
        _, two = await self.servers()
        await two.connect("b")
        await ClusterManager(write_only=True).emit("news", 1)
        await self.until(lambda: two.sent)
        self.assertEqual(two.sent, [("b", "news", 1)])


class RecordingBackend:
    """Records the topics of publications in place of a node."""

    def __init__(self) -> None:
        self.published: list[bytes] = []

    def check(self) -> None:
        """It is there."""

    def publish(self, publication: Publication) -> tuple[int, int]:
        self.published.append(publication.topic)
        return 0, 0

    def publish_later(self, publication: Publication, done: Done) -> None:
        done(self.publish(publication))


class TransactionTests(SynchronousTestCase):
    def test_messages_are_sent_after_the_commit(self) -> None:
        load_database()
        self.patch(topics, "node", None)
        with backends.installed(RecordingBackend()) as backend:
            with transaction.atomic():
                ClusterEmitter().emit("news", 1)
                ClusterEmitter("now", immediate=True).emit("news", 1)
                self.assertEqual(backend.published, [b"c10k/socketio/now"])
            self.assertEqual(backend.published[1:], [b"c10k/socketio/socketio"])
