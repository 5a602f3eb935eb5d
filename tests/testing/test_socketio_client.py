"""connect_socketio: a Socket.IO client in memory, and publishing to its server."""

import asyncio
from typing import Any

from django.db import transaction
from django.test import override_settings
from django.urls import path
from twisted.trial.unittest import SynchronousTestCase

from cluster import Disconnected, publish
from cluster.django.api import topics
from cluster.socketio import ConnectionRefused, Emitter, Namespace, Socket, SocketIO, emit
from cluster.testing import asynchronous, connect_socketio
from tests.django.site import load_database, load_site


class Chat(Namespace):
    async def on_connect(self, socket: Socket, auth: Any) -> None:
        if auth and "refuse" in auth:
            raise ConnectionRefused("refused", auth["refuse"])
        await socket.enter_room("lobby")

    async def on_echo(self, socket: Socket, *args: Any) -> Any:
        return args

    async def on_who(self, socket: Socket) -> Any:
        return [socket.user.is_authenticated, socket.request.GET.get("x"), socket.transport]

    async def on_ask(self, socket: Socket) -> Any:
        return await socket.call("question", 1)

    async def on_kick(self, socket: Socket) -> None:
        socket.disconnect()

    async def on_fail(self, socket: Socket) -> None:
        raise LookupError("a bug")

    def on_plain(self, socket: Socket) -> str:
        with transaction.atomic():
            socket.emit("later", 1)
            self.emit("later", 2)
            socket.emit("now", immediate=True)
        return "plain"


class ServerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.patch(topics, "_listeners", [])
        self.server = SocketIO({"/": Chat, "/other": Chat})
        from tests.testing import urls

        self.patch(urls, "urlpatterns", [path("socket.io/", self.server)])
        settings = override_settings(ROOT_URLCONF="tests.testing.urls")
        settings.enable()
        self.addCleanup(settings.disable)


class SocketIOClientTests(ServerTestCase):
    @asynchronous
    async def test_events_and_acknowledgements(self) -> None:
        async with connect_socketio("/socket.io/?x=1") as client:
            self.assertEqual(await client.call("echo", 1, b"2"), (1, b"2"))
            self.assertIsNone(await client.call("echo"))
            self.assertEqual(await client.call("who"), [False, "1", "websocket"])
            client.answer("question", lambda number: number + 1)
            self.assertEqual(await client.call("ask"), 2)
            await client.nothing(within=0.01)

    @asynchronous
    async def test_refused(self) -> None:
        with self.assertRaises(ConnectionRefused) as raised:
            async with connect_socketio("/socket.io/", "/other", auth={"refuse": [1]}):
                pass
        self.assertEqual((raised.exception.message, raised.exception.data), ("refused", [1]))

    @asynchronous
    async def test_disconnected_by_the_server(self) -> None:
        async with connect_socketio("/socket.io/") as client:
            await client.emit("kick")
            await client.disconnected()
            with self.assertRaises(Disconnected):
                await client.emit("echo")

    @asynchronous
    async def test_the_error_of_a_handler(self) -> None:
        async with connect_socketio("/socket.io/") as client:
            with self.assertRaises(LookupError):
                await client.call("fail")
        with self.assertRaises(LookupError):
            async with connect_socketio("/socket.io/") as client:
                await client.emit("fail")
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)

    @asynchronous
    async def test_publish_and_emit(self) -> None:
        async with connect_socketio("/socket.io/") as client:
            receipt = await asyncio.to_thread(publish, "socketio/lobby", "hello")
            self.assertEqual((receipt.nodes, receipt.connections_here), (1, 1))
            self.assertEqual(await client.receive(), ["message", "hello"])
            for send in (emit, Emitter().emit, self.server.of("/").emit):
                sent = await asyncio.to_thread(send, "news", 1)
                self.assertEqual((sent.nodes, sent.pending), (1, False))
                self.assertEqual(await client.receive(), ["news", 1])
            emit("news", b"2", to="lobby", except_="nobody")
            self.assertEqual(await client.receive(), ["news", b"2"])
            emit("news", namespace="/other")
            emit("news", to="lobby", except_=client.id)
            await client.nothing(within=0.01)

    @asynchronous
    async def test_a_server_with_recovery(self) -> None:
        from tests.testing import urls

        server = SocketIO({"/": Chat}, recovery=60)
        self.patch(urls, "urlpatterns", [path("socket.io/", server)])
        async with connect_socketio("/socket.io/") as client:
            for send in (emit, Emitter().emit, server.of("/").to("lobby").emit):
                sent = await asyncio.to_thread(send, "news", 1)
                self.assertEqual((sent.nodes, sent.pending), (1, False))
                event, value, position = await client.receive()
                self.assertEqual((event, value), ("news", 1))
                self.assertRegex(position, r"^\w+:\d+$")
            self.assertEqual(await client.call("echo", 1), 1)
            sockets = await Emitter().fetch_sockets()
            self.assertEqual([each.id for each in sockets], [client.id])
            await asyncio.to_thread(Emitter().disconnect_sockets)
            await client.disconnected()

    @asynchronous
    async def test_wrong_names(self) -> None:
        for wrong in ({"namespace": "other"}, {"server": "a b"}, {"to": "", "except_": [""]}):
            with self.assertRaises(ValueError):
                emit("news", **wrong)  # type: ignore[arg-type]


class TransactionTests(ServerTestCase):
    def setUp(self) -> None:
        load_database()
        super().setUp()

    @asynchronous
    async def test_a_transaction_of_a_plain_handler(self) -> None:
        async with connect_socketio("/socket.io/") as client:
            self.assertEqual(await client.call("plain"), "plain")
            events = [await client.receive() for _ in range(3)]
            self.assertEqual(events, [["now"], ["later", 1], ["later", 2]])

    @asynchronous
    async def test_emit_in_a_transaction(self) -> None:
        def send(fails: bool) -> Any:
            try:
                with transaction.atomic():
                    receipt = emit("news", fails)
                    self.assertTrue(receipt.pending)
                    if fails:
                        raise LookupError
            except LookupError:
                pass
            return receipt

        async with connect_socketio("/socket.io/") as client:
            rolled_back = await asyncio.to_thread(send, True)
            sent = await asyncio.to_thread(send, False)
            self.assertEqual(await client.receive(), ["news", False])
            self.assertTrue(rolled_back.pending)
            self.assertEqual((sent.pending, sent.nodes), (False, 1))
