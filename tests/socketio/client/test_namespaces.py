"""Clients connect to namespaces, and disconnect."""

import asyncio
from typing import Any

from cluster.socketio import (
    ConnectionRefused,
    Namespace,
    Socket,
)
from cluster.socketio.engine.registry import sessions
from cluster.socketio.sockets import held_packets
from cluster.testing import asynchronous
from tests.socketio.nodes import turns, until
from tests.socketio.one_node import NodeTestCase

CONNECT, DISCONNECT, EVENT, CONNECT_ERROR = 0, 1, 2, 4


class ConnectTests(NodeTestCase):
    @asynchronous
    async def test_a_client_is_accepted_with_the_id_of_its_socket(self) -> None:
        server = await self.server()
        client = server.client()
        socket = await client.connect(auth={"token": 1})
        self.assertEqual(client.take(), [(CONNECT, "/", {"sid": socket.id}, None)])
        (found,) = self.chat(server).sockets
        self.assertEqual((found.id, found.auth, found.user), (socket.id, {"token": 1}, "anna"))
        self.assertTrue(found.connected)

    @asynchronous
    async def test_several_namespaces(self) -> None:
        server = await self.server()
        client = server.client()
        first = await client.connect()
        second = await client.connect("/all")
        third = await client.connect("/bare")
        self.assertEqual(len({first.id, second.id, third.id}), 3)
        self.assertEqual(await second.call("any", 1), [["any", 1]])

    @asynchronous
    async def test_refused(self) -> None:
        server = await self.server()
        for auth, content in (
            ({"refuse": "full", "data": [1]}, {"message": "full", "data": [1]}),
            ({"do": "denied"}, {"message": "not you"}),
            ({"do": "false"}, {"message": "Connection rejected by server"}),
            ({"do": "error"}, {"message": "Internal server error"}),
        ):
            client = server.client()
            socket = await client.connect(auth=auth)
            self.assertEqual(socket.answer, (CONNECT_ERROR, "/", content, None))
            client.receive('2["echo"]')
            self.assertEqual(client.closed, "parse error")
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        await turns()
        self.assertEqual(self.chat(server).seen, [])
        self.assertEqual(server.made.local["/"].all, {})

    @asynchronous
    async def test_an_unknown_namespace(self) -> None:
        server = await self.server()
        client = server.client()
        socket = await client.connect("/none")
        error = {"message": "Invalid namespace"}
        self.assertEqual(socket.answer, (CONNECT_ERROR, "/none", error, None))

    @asynchronous
    async def test_events_before_the_client_is_connected_follow_the_answer(self) -> None:
        server = await self.server()
        client = server.client()
        client.receive('0{"do":"wait"}')
        await turns()
        server.of("/").emit("all", 2)
        self.assertEqual(client.take(), [])
        self.chat(server).proceed.set()
        await until(lambda: len(client.sent) == 3)
        kinds = [(kind, data) for kind, _, data, _ in client.take()]
        socket = self.chat(server).sockets[0]
        expected = [(CONNECT, {"sid": socket.id}), (EVENT, ["early", 1]), (EVENT, ["all", 2])]
        self.assertEqual(kinds, expected)

    @asynchronous
    async def test_a_client_that_has_missed_events_before_it_is_connected_is_closed(self) -> None:
        for limit, value in (("MAX_HELD", 3), ("high_water", 20)):
            self.patch(held_packets if limit == "MAX_HELD" else sessions, limit, value)
            server = await self.server()
            client = server.client()
            dropped = sessions.dropped["slow_consumer"]
            client.receive('0{"do":"wait"}')
            await turns()
            for _ in range(3):  # besides the one of on_connect
                server.of("/").emit("all", 2)
            self.assertGreater(sessions.dropped["slow_consumer"], dropped)
            self.chat(server).proceed.set()
            await until(lambda client=client: client.closed is not None)
            self.assertEqual(client.closed, "transport close")
            self.assertEqual([kind for kind, *_ in client.take()], [CONNECT])

    @asynchronous
    async def test_a_client_that_leaves_during_on_connect(self) -> None:
        server = await self.server()
        client = server.client()
        client.receive('0{"do":"wait"}')
        await turns()
        client.close("transport close")
        self.chat(server).proceed.set()
        await until(lambda: self.chat(server).seen)
        self.assertEqual(self.chat(server).seen, [("disconnect", "transport close", [])])
        self.assertEqual(server.made.local["/"].all, {})

    @asynchronous
    async def test_a_second_connect_to_a_namespace_is_invalid(self) -> None:
        server = await self.server()
        client = server.client()
        await client.connect()
        client.receive("0")
        self.assertEqual(client.closed, "parse error")

    @asynchronous
    async def test_too_many_namespaces(self) -> None:
        server = await self.server(max_namespaces=1)
        client = server.client()
        await client.connect()
        socket = await client.connect("/all")
        self.assertEqual(socket.answer[2], {"message": "Too many namespaces"})
        self.assertEqual(server.dropped["socketio_namespaces"], 1)

    @asynchronous
    async def test_checks_run_in_order_before_on_connect(self) -> None:
        calls: list[Any] = []

        async def first(socket: Socket, auth: Any) -> None:
            calls.append(("first", auth))

        def second(socket: Socket) -> None:
            calls.append("second")
            if socket.auth == {"no": 1}:
                raise ConnectionRefused("checked")

        class Checked(Namespace):
            checks = (second,)

            async def on_connect(self, socket: Socket) -> None:
                calls.append("connect")

        server = await self.server(Checked, checks=[first])
        await server.client().connect(auth={"yes": 1})
        self.assertEqual(calls, [("first", {"yes": 1}), "second", "connect"])
        calls.clear()
        refused = await server.client().connect(auth={"no": 1})
        self.assertEqual(refused.answer[2], {"message": "checked"})
        self.assertEqual(calls, [("first", {"no": 1}), "second"])


class DisconnectTests(NodeTestCase):
    @asynchronous
    async def test_by_the_client(self) -> None:
        server = await self.server()
        client = server.client()
        await client.connect(auth={"room": "r"})
        client.receive("1")
        await until(lambda: self.chat(server).seen)
        expected = [("disconnect", "client namespace disconnect", ["r"])]
        self.assertEqual(self.chat(server).seen, expected)
        self.assertIsNone(client.closed)
        self.assertEqual(server.made.local["/"].rooms, {})

    @asynchronous
    async def test_by_the_server(self) -> None:
        server = await self.server()
        client = server.client()
        await client.connect()
        await client.connect("/all")
        client.take()
        self.chat(server).sockets[0].disconnect()
        self.assertEqual(client.take(), [(DISCONNECT, "/", None, None)])
        client.receive('2["echo"]')  # it was on its way
        self.assertIsNone(client.closed)
        self.chat(server).sockets[0].emit("late")
        self.assertEqual(client.take(), [])
        await client.connect()
        self.chat(server).sockets[1].disconnect(close=True, reason="bye")
        self.assertEqual(client.closed, "forced close")
        await until(lambda: len(self.chat(server).seen) == 2)
        reasons = [each[1] for each in self.chat(server).seen]
        self.assertEqual(reasons, ["server namespace disconnect", "bye"])

    @asynchronous
    async def test_the_session_ends(self) -> None:
        server = await self.server()
        client = server.client()
        await client.connect()
        await client.connect("/all")
        client.close("ping timeout")
        await until(lambda: self.chat(server).seen)
        self.assertEqual(self.chat(server).seen, [("disconnect", "ping timeout", [])])
        self.assertEqual(server.made.local["/all"].all, {})

    @asynchronous
    async def test_the_server_ends_the_session_for_good(self) -> None:
        server = await self.server()
        client = server.client()
        await client.connect()
        await client.connect("/all")
        client.take()
        client.on_closing()
        namespaces = [(kind, namespace) for kind, namespace, _, _ in client.take()]
        self.assertEqual(namespaces, [(DISCONNECT, "/"), (DISCONNECT, "/all")])

    @asynchronous
    async def test_a_client_that_connects_to_no_namespace(self) -> None:
        server = await self.server(connect_timeout=0.01)
        late, connected = server.client(), server.client()
        await connected.connect()
        await until(lambda: late.closed)
        self.assertEqual((late.closed, connected.closed), ("forced close", None))

    @asynchronous
    async def test_a_client_that_is_gone_is_not_kept(self) -> None:
        server = await self.server()
        client, connected = server.client(), server.client()
        await connected.connect()
        client.close("transport close")
        self.assertEqual(server._unconnected, {})

    @asynchronous
    async def test_a_client_that_connects_and_disconnects_endlessly(self) -> None:
        proceed = asyncio.Event()

        class Slow(Namespace):
            async def on_disconnect(self, socket: Socket) -> None:
                await proceed.wait()

        server = await self.server({"/": Slow})
        server.max_handlers = 2
        client = server.client()
        for _ in range(2):
            await client.connect()
            client.receive("1")
        self.assertEqual(client.paused, ["handlers"])
        proceed.set()
        await until(lambda: not client.paused)
