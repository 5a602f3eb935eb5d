"""Clients that come back: to any node, with all that they have missed or as new ones."""

import asyncio
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.broker_state.exchange import Exchange
from cluster.django.api import topics
from cluster.socketio import Namespace, Socket
from cluster.socketio.engine.registry import sessions
from cluster.socketio.recovery import event_log, node_recovery
from cluster.testing import asynchronous
from tests.django.site import load_site
from tests.socketio.nodes import Connected, Nodes, NodeServer, turns, until

CONNECT = 0


class Chat(Namespace):
    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.reasons: list[str] = []

    async def on_connect(self, socket: Socket, auth: Any) -> Any:
        self.sockets.append(socket)
        if auth == {"slow": True}:
            self.may_continue = asyncio.Event()
            await self.may_continue.wait()
        return auth != {"refuse": True}

    async def on_enter(self, socket: Socket, room: str) -> None:
        socket.enter_room(room)

    async def on_leave(self, socket: Socket, room: str) -> None:
        socket.leave_room(room)

    async def on_remember(self, socket: Socket, key: str, value: Any) -> None:
        socket.data[key] = value

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        self.reasons.append(reason)


class Session:
    """A client that connects again with its private id and offset, as socket.io-client does."""

    def __init__(self, server: NodeServer, **request: Any) -> None:
        self.request = request
        self.pid: str | None = None
        self.offset: str | None = None
        self.recovered: bool | None = None
        self.got: list[Any] = []
        self.offsets: list[str] = []
        self.server = server

    async def connect(self, server: NodeServer | None = None, auth: Any = None) -> "Session":
        self.server = server or self.server
        self.client = self.server.client(**self.request)
        sent = auth
        if self.pid is not None:
            sent = {"pid": self.pid, **({"offset": self.offset} if self.offset else {})}
            sent.update(auth or {})
        self.socket: Connected = await self.client.connect(auth=sent)
        await turns()
        self.look()
        return self

    def look(self) -> list[Any]:
        """The events since the last call, without their positions."""
        new = []
        for kind, _, data, _ in self.client.take():
            if kind == CONNECT:
                self.recovered = self.pid is not None and self.pid == data["pid"]
                self.pid, self.id = data["pid"], data["sid"]
            elif kind in (2, 5):
                *event, position = data
                self.offset = position
                self.offsets.append(position)
                new.append(event)
        self.got += new
        return new

    def lose_connection(self) -> None:
        self.look()
        self.client.close("transport close")

    def server_socket(self) -> Socket:
        found: Any = self.server.of("/")
        return next(each for each in reversed(found.sockets) if each.id == self.id)


class RecoveryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.patch(topics, "_listeners", [])

    async def start(self, count: int = 2, **options: Any) -> None:
        self.nodes = Nodes()
        options = {"recovery": 60, **options}
        self.servers = [await self.nodes.start(Chat, **options) for _ in range(count)]
        await turns()

    async def session(self, number: int = 0, *rooms: str, **request: Any) -> Session:
        found = await Session(self.servers[number], **request).connect()
        for room in rooms:
            await found.socket.call("enter", room)
        await turns()
        return found

    def space(self, number: int) -> Chat:
        found = self.servers[number].of("/")
        assert isinstance(found, Chat)
        return found

    async def waits(self, number: int) -> None:
        """A slow on_connect of a node waits."""
        await until(lambda: hasattr(self.space(number), "may_continue"))

    def kill(self, number: int) -> None:
        """The node's process is gone, and the broker has noticed it."""
        name = f"n{number}"
        self.nodes.nodes[name].bus.receiver = None
        del self.nodes.nodes[name]
        for other, answer in self.nodes.exchange.leave(name, ended=True):
            self.nodes.soon(other, answer)


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


class NewSessionTests(RecoveryTestCase):
    async def comes_back(self, session: Session, number: int = 1, **auth: Any) -> None:
        """It is a new session, which receives what is emitted from now on."""
        before = session.pid, session.id
        await session.connect(self.servers[number], auth or None)
        self.assertFalse(session.recovered)
        self.assertNotIn(session.pid, before)
        self.assertNotIn(session.id, before)
        self.assertFalse(session.server_socket().recovered)
        self.assertEqual(session.server_socket().rooms, {session.id})
        self.space(0).emit("new")
        await turns()
        self.assertEqual(session.look(), [["new"]])

    @asynchronous
    async def test_another_user(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        session.lose_connection()
        session.client = self.servers[1].client()
        self.patch(Socket, "user_key", property(lambda self: "8"))
        await self.comes_back(session)

    @asynchronous
    async def test_the_client_left(self) -> None:
        await self.start()
        for leave in (
            lambda session: session.client.receive("1"),
            lambda session: session.server_socket().disconnect(),
            lambda session: (session.client.on_closing(), session.client.close()),
            lambda session: session.client.close("parse error"),
        ):
            session = await self.session(0, "r")
            leave(session)
            await turns()
            await self.comes_back(session)

    @asynchronous
    async def test_too_late(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        session.lose_connection()
        await turns()
        for server in self.servers:
            records = server.made.recovery.records  # type: ignore[union-attr]
            self.assertEqual(len(records), 1)
            self.patch(records, "_now", lambda: asyncio.get_running_loop().time() + 60)
        await self.comes_back(session)

    @asynchronous
    async def test_the_log_does_not_reach_back(self) -> None:
        await self.start(recovery_events=10)
        session = await self.session(0, "r")
        session.lose_connection()
        for number in range(11):
            self.space(0).emit("n", number)
        await turns()
        await self.comes_back(session)

    @asynchronous
    async def test_invalid_offsets(self) -> None:
        await self.start()
        for offset in ("hello", "x:1", "test:99999999", 5, ["a"], "y" * 1000):
            session = await self.session(0, "r")
            session.lose_connection()
            session.offset = offset  # type: ignore[assignment]
            await self.comes_back(session)

    @asynchronous
    async def test_unknown_sessions(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        for pid in ("unknown", "x" * 1000, 7, None):
            session.lose_connection()
            session.pid = pid  # type: ignore[assignment]
            await self.comes_back(session)

    @asynchronous
    async def test_another_broker(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        self.space(0).to("r").emit("last")
        await turns()
        session.lose_connection()
        session.offset = "gone:7"
        await self.comes_back(session)

    @asynchronous
    async def test_frames_are_lost(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        pubsub: Any = self.servers[0].made.pubsub
        topic = self.servers[0].made.recovery.logs["/"]._topic  # type: ignore[union-attr]
        pubsub.subscriptions._frames_lost(topic)
        await turns()
        self.assertEqual(session.client.closed, "transport close")
        self.assertEqual(self.servers[0].dropped["socketio_log_gap"], 1)
        await self.comes_back(session)

    @asynchronous
    async def test_refused(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        session.lose_connection()
        await turns()
        again = self.servers[1].client()
        again.receive("0" + json.dumps({"pid": session.pid, "refuse": True}))
        await until(lambda: again.sent)
        self.assertEqual(again.sent[0][0], 4)
        await turns()
        await self.comes_back(session)


class OrderTests(RecoveryTestCase):
    @asynchronous
    async def test_all_nodes_deliver_in_one_order(self) -> None:
        await self.start(3)
        sessions = [await self.session(number, "r") for number in range(3)]
        for number in range(20):
            self.space(number % 3).to("r").emit("n", number)
            if number % 4 == 0:
                await asyncio.sleep(0)
        await turns()
        first, *others = [session.look() for session in sessions]
        self.assertEqual(len(first), 20)
        self.assertEqual(others, [first, first])

    @asynchronous
    async def test_another_broker_with_the_same_events(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        other = await self.session(1, "r")
        for number in range(3):
            self.space(0).to("r").emit("n", number)
        await turns()
        session.lose_connection()
        await turns()
        self.nodes.exchange = Exchange("second")
        for node in self.nodes.nodes.values():
            node.pubsub.bus_down()
        for node in self.nodes.nodes.values():
            node.bus.start(node.pubsub)
        await turns()
        self.space(1).to("r").emit("n", 3)
        await turns()
        await session.connect(self.servers[1])
        self.assertTrue(session.recovered)
        self.assertEqual(session.got, other.look())
        self.assertEqual([number for _, number in session.got], [0, 1, 2, 3])
        self.assertTrue(str(session.offset).startswith("second"))

    @asynchronous
    async def test_the_log_is_out_of_reach(self) -> None:
        self.patch(event_log, "READY_TIMEOUT_S", 0.01)
        await self.start(1)
        bus = self.nodes.nodes["n0"].bus
        bus.send = lambda message: None  # type: ignore[method-assign]
        client = self.servers[0].client()
        client.receive("0")
        await until(lambda: client.closed)
        self.assertEqual(client.sent, [])
        del bus.send
        await self.session(0, "r")
