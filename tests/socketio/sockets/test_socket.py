"""What handlers do with a socket."""

import asyncio

from cluster.socketio import (
    AcknowledgementTimeout,
    Socket,
)
from cluster.testing import asynchronous
from tests.socketio.nodes import RecordingClient, turns, until
from tests.socketio.one_node import Chat, NodeTestCase

EVENT = 2


class ClientTests(NodeTestCase):
    @asynchronous
    async def test_the_sockets_of_a_client_share_its_id(self) -> None:
        server = await self.server({"/": Chat, "/other": Chat})
        client = server.client()
        client.sid = "the session"
        await client.connect()
        await client.connect("/other")
        (one,), (other,) = (server.of(path).sockets for path in ("/", "/other"))
        self.assertEqual((one.client_id, other.client_id), ("the session", "the session"))
        self.assertNotEqual(one.id, other.id)
        self.assertNotIn("the session", (one.id, other.id))


class CallTests(NodeTestCase):
    async def connected(self) -> tuple[RecordingClient, Socket]:
        server = await self.server()
        client = server.client()
        self.client_side = await client.connect()
        client.take()
        return client, self.chat(server).sockets[0]

    @asynchronous
    async def test_call(self) -> None:
        client, socket = await self.connected()
        for arguments, result in (((), None), ((1,), 1), ((1, 2), (1, 2))):
            task = asyncio.ensure_future(socket.call("question", "?"))
            await until(lambda: client.sent)
            kind, _, data, number = client.take()[0]
            self.assertEqual((kind, data), (EVENT, ["question", "?"]))
            self.client_side.acknowledge(number, *arguments)
            self.assertEqual(await task, result)

    @asynchronous
    async def test_timeout(self) -> None:
        client, socket = await self.connected()
        with self.assertRaises(AcknowledgementTimeout):
            await socket.timeout(0.001).call("question")
        with self.assertRaises(AcknowledgementTimeout):
            await socket.call("question", timeout=0.001)
        number = client.take()[-1][3]
        self.client_side.acknowledge(number)  # too late: ignored
        self.assertIsNone(client.closed)

    @asynchronous
    async def test_too_many(self) -> None:
        server = await self.server(max_acknowledgements=1)
        client = server.client()
        await client.connect()
        socket = self.chat(server).sockets[0]
        first = asyncio.ensure_future(socket.call("question"))
        await turns()
        with self.assertRaisesRegex(RuntimeError, "too many"):
            await socket.call("question")
        self.assertEqual(server.dropped["socketio_acknowledgements"], 1)
        first.cancel()

    @asynchronous
    async def test_volatile(self) -> None:
        client, socket = await self.connected()
        socket.volatile.emit("a")
        client.writable = False
        socket.volatile.emit("b")
        self.assertEqual(client.events(), [["a"]])


class RoomTests(NodeTestCase):
    @asynchronous
    async def test_too_many_rooms(self) -> None:
        server = await self.server(max_rooms=1)
        await server.client().connect()
        socket = self.chat(server).sockets[0]
        socket.enter_room("a")
        socket.enter_room("a")
        with self.assertRaisesRegex(RuntimeError, "1 rooms at most"):
            socket.enter_room("b")
        self.assertEqual(server.dropped["socketio_rooms"], 1)

    @asynchronous
    async def test_wrong_rooms(self) -> None:
        server = await self.server()
        await server.client().connect()
        await server.client().connect()
        one, two = self.chat(server).sockets
        with self.assertRaises(TypeError):
            one.enter_room(5)  # type: ignore[arg-type]
        for room in ("", "x" * 1001, two.id):
            with self.assertRaises(ValueError):
                one.enter_room(room)
        with self.assertRaises(TypeError):
            one.to(None)  # type: ignore[arg-type]

    @asynchronous
    async def test_wrong_events(self) -> None:
        server = await self.server()
        await server.client().connect()
        (socket,) = self.chat(server).sockets
        with self.assertRaises(ValueError):
            socket.emit("disconnect")
        with self.assertRaises(TypeError):
            socket.emit(5)  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            socket.emit("x", object())
        with self.assertRaises(ValueError):
            socket.emit("x", float("nan"))
