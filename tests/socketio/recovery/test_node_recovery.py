"""Clients that come back to any node, with all that they have missed."""

import asyncio
import json

from cluster.socketio.engine.registry import sessions
from cluster.socketio.recovery import node_recovery
from cluster.testing import asynchronous
from tests.socketio.nodes import turns, until
from tests.socketio.recovery.sessions import CONNECT, Chat, RecoveryTestCase, Session


class HostileTests(RecoveryTestCase):
    @asynchronous
    async def test_private_ids_that_nobody_has(self) -> None:
        await self.start()
        for pid in ("\ud800", "x" * 40, "x" * 41, "é", "\0", "", 1, None, ["x"]):
            client = self.servers[0].client()
            await client.connect(auth={"pid": pid, "offset": "\ud800:1"})
            self.assertEqual(client.take()[0][0], CONNECT)
            self.assertIsNone(client.closed)

    @asynchronous
    async def test_clients_that_leave_at_once_leave_no_task(self) -> None:
        await self.start()
        before = len(sessions.tasks)
        for auth in ('{"a":1}', '{"a":1,"pid":"x"}'):
            client = self.servers[0].client()
            client.receive(f"0{auth}")
            client.close("transport close")
        await turns(200)
        self.assertEqual(len(sessions.tasks), before)


class RecoveredTests(RecoveryTestCase):
    @asynchronous
    async def test_nothing_missed(self) -> None:
        await self.start(1)
        session = await self.session()
        first = session.pid, session.id
        session.lose_connection()
        await turns()
        await session.connect()
        self.assertEqual((session.recovered, session.pid, session.id), (True, *first))
        self.assertEqual(session.got, [])
        self.assertTrue(session.server_socket().recovered)
        self.assertEqual(self.space(0).reasons, ["transport close"])

    @asynchronous
    async def test_events_of_rooms_of_all_and_of_the_socket(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        other = await self.session(1, "r", "s")
        self.space(1).to("r").emit("before")
        await turns()
        self.assertEqual(session.look(), [["before"]])
        session.lose_connection()
        self.space(0).emit("all", 1)
        self.space(0).to("r").emit("room", b"data", {"x": "ä"})
        self.space(0).to("s").emit("another room")
        self.space(0).to(["s", "r"]).emit("both")
        self.space(0).to("r").except_("s").emit("but s")
        self.space(0).except_("r").emit("but r")
        self.space(0).to(session.id).emit("itself")
        await turns()
        await session.connect(self.servers[1])
        self.assertTrue(session.recovered)
        missed = [
            ["all", 1],
            ["room", b"data", {"x": "ä"}],
            ["both"],
            ["but s"],
            ["itself"],
        ]
        self.assertEqual(session.got[1:], missed)
        self.assertEqual(session.server_socket().rooms, {"r", session.id})
        self.assertEqual(
            other.look(), [["before"], missed[0], missed[1], ["another room"], missed[2]]
        )
        self.space(0).to("r").emit("live")
        self.space(0).to(session.id).emit("live, by its id")
        await turns()
        self.assertEqual(session.look(), [["live"], ["live, by its id"]])

    @asynchronous
    async def test_a_killed_node(self) -> None:
        await self.start(3)
        session = await self.session(0, "r", "left")
        await session.socket.call("leave", "left")
        await session.socket.call("remember", "name", "anna")
        await turns()
        self.kill(0)
        self.space(1).to("r").emit("missed")
        self.space(1).to("left").emit("not for it")
        await turns()
        await session.connect(self.servers[2])
        self.assertTrue(session.recovered)
        self.assertEqual(session.look() or session.got, [["missed"]])
        socket = session.server_socket()
        self.assertEqual((socket.data, socket.rooms), ({"name": "anna"}, {"r", session.id}))

    @asynchronous
    async def test_a_killed_node_that_the_broker_still_knows(self) -> None:
        self.patch(node_recovery, "ASK_TIMEOUT_S", 0.01)
        await self.start()
        session = await self.session(0, "r")
        self.nodes.nodes["n0"].bus.receiver = None
        self.space(1).to("r").emit("missed")
        await session.connect(self.servers[1])
        self.assertTrue(session.recovered)
        self.assertEqual(session.got, [["missed"]])

    @asynchronous
    async def test_still_connected(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        for server in (self.servers[1], self.servers[1], self.servers[0]):
            before = session.client
            await session.connect(server)
            self.assertTrue(session.recovered)
            self.assertEqual(before.closed, "transport close")
        self.space(1).to("r").emit("once")
        await turns()
        self.assertEqual(session.look(), [["once"]])

    @asynchronous
    async def test_a_node_that_began_later(self) -> None:
        await self.start(1)
        session = await self.session(0, "r")
        self.servers.append(await self.nodes.start(Chat, recovery=60))
        await turns()
        self.kill(0)
        self.space(1).to("r").emit("missed")
        await session.connect(self.servers[1])
        self.assertTrue(session.recovered)
        self.assertEqual(session.got, [["missed"]])

    @asynchronous
    async def test_rooms_that_changed(self) -> None:
        await self.start()
        session = await self.session(0, "a")
        self.space(0).to("a").emit("first")
        await turns()
        session.look()
        offset = session.offset
        self.space(0).to("a").emit("a", 1)
        self.space(0).to("b").emit("b", 1)
        await turns()
        await session.socket.call("leave", "a")
        await session.socket.call("enter", "b")
        self.space(0).to("a").emit("a", 2)
        self.space(0).to("b").emit("b", 2)
        await turns()
        session.lose_connection()
        session.got.clear()
        session.offset = offset  # the client has not received what was sent to it
        await session.connect(self.servers[1])
        self.assertTrue(session.recovered)
        self.assertEqual(session.got, [["a", 1], ["b", 2]])

    @asynchronous
    async def test_events_while_it_connects(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        session.lose_connection()
        self.space(0).to("r").emit("missed")
        await turns()
        connecting = asyncio.ensure_future(session.connect(self.servers[1], {"slow": True}))
        await self.waits(1)
        self.space(0).to("r").emit("meanwhile")
        await turns()
        self.space(1).may_continue.set()
        self.space(0).to("r").emit("then")
        await connecting
        await turns()
        session.look()
        self.assertTrue(session.recovered)
        self.assertEqual(session.got, [["missed"], ["meanwhile"], ["then"]])

    @asynchronous
    async def test_events_of_on_connect(self) -> None:
        await self.start()
        connecting = asyncio.ensure_future(Session(self.servers[0]).connect(auth={"slow": True}))
        await self.waits(0)
        self.space(0).sockets[0].emit("welcome")
        self.space(1).emit("all")
        await turns()
        self.space(0).may_continue.set()
        session = await connecting
        await turns()
        session.look()
        self.assertEqual(session.got, [["welcome"], ["all"]])

    @asynchronous
    async def test_lost_again_while_it_connects(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        session.lose_connection()
        self.space(0).to("r").emit("missed")
        sent = {"pid": session.pid, "slow": True}
        again = self.servers[1].client()
        again.receive("0" + json.dumps(sent))
        await self.waits(1)
        again.close("transport close")
        await turns()
        self.space(1).may_continue.set()
        await turns()
        await session.connect(self.servers[0])
        self.assertTrue(session.recovered)
        self.assertEqual(session.got, [["missed"]])

    @asynchronous
    async def test_a_long_log(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        session.lose_connection()
        for number in range(1050):
            self.space(0).to("r").emit("n", number)
        await turns()
        await session.connect(self.servers[1])
        await until(lambda: session.look() or len(session.got) == 1050)
        await until(lambda: session.look() == [] and len(session.got) == 1050)
        self.assertEqual([number for _, number in session.got], list(range(1050)))

    @asynchronous
    async def test_local_events(self) -> None:
        await self.start()
        session = await self.session(0)
        other = await self.session(1)
        session.lose_connection()
        self.space(0).local.emit("of its node")
        self.space(1).local.emit("of another node")
        await turns()
        await session.connect(self.servers[1])
        self.assertEqual(session.got, [["of its node"]])
        self.space(1).local.emit("of its new node")
        await turns()
        self.assertEqual(session.look(), [["of its new node"]])
        self.assertEqual(other.look(), [["of another node"], ["of its new node"]])

    @asynchronous
    async def test_volatile_events_have_the_position_of_the_last_event(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        self.space(0).to("r").emit("kept")
        await turns()
        self.space(1).to("r").volatile.emit("volatile", "text")
        await turns()
        self.assertEqual(session.look(), [["kept"], ["volatile", "text"]])
        session.lose_connection()
        self.space(1).to("r").volatile.emit("volatile", "missed")
        self.space(1).to("r").emit("missed")
        await turns()
        await session.connect()
        self.assertTrue(session.recovered)
        self.assertEqual(session.look() or session.got[2:], [["missed"]])

    @asynchronous
    async def test_calls(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        session.lose_connection()
        await session.connect(self.servers[1])
        calling = asyncio.ensure_future(self.space(0).socket(session.id).call("question"))
        await turns()
        kind, _, data, number = session.client.take()[0]
        self.assertEqual((kind, data), (2, ["question"]))
        session.socket.acknowledge(number, "answer")
        self.assertEqual(await calling, "answer")
        found = await self.space(0).to(session.id).fetch_sockets()
        self.assertEqual([each.rooms for each in found], [{"r", session.id}])
        self.space(0).to(session.id).disconnect_sockets()
        await turns()
        self.assertEqual(session.client.take()[0][0], 1)
