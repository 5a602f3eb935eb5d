"""Namespaces, their handlers and rooms, on one node."""

import asyncio
from typing import Any

from django.core.exceptions import PermissionDenied
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.api import topics
from cluster.socketio import (
    AcknowledgementTimeout,
    ConnectionRefused,
    Namespace,
    Socket,
    SocketIO,
    event,
)
from cluster.socketio.engine.registry import sessions
from cluster.socketio.sockets import held_packets
from cluster.testing import asynchronous
from tests.django.site import load_site
from tests.socketio.nodes import Nodes, NodeServer, RecordingClient, turns, until

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR = range(5)


class Chat(Namespace):
    """Handlers of each kind."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.sockets: list[Socket] = []
        self.proceed = asyncio.Event()

    async def on_connect(self, socket: Socket, auth: Any) -> Any:
        self.sockets.append(socket)
        match auth:
            case {"refuse": message, "data": data}:
                raise ConnectionRefused(message, data)
            case {"do": "denied"}:
                raise PermissionDenied("not you")
            case {"do": "false"}:
                return False
            case {"do": "error"}:
                raise LookupError("a bug")
            case {"do": "wait"}:
                socket.emit("early", 1)
                await self.proceed.wait()
            case {"room": room}:
                await socket.enter_room(room)
        return None

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        self.seen.append(("disconnect", reason, sorted(socket.rooms - {socket.id})))

    async def on_echo(self, socket: Socket, *args: Any) -> Any:
        return args

    def on_plain(self, socket: Socket, value: Any) -> Any:
        socket.emit("from a thread", value)
        return [value]

    async def on_nothing(self, socket: Socket) -> None:
        self.seen.append("nothing")

    async def on_enter(self, socket: Socket, room: str) -> list[str]:
        socket.enter_room(room)
        return sorted(socket.rooms - {socket.id})

    async def on_leave(self, socket: Socket, room: str) -> None:
        socket.leave_room(room)

    async def on_say(self, socket: Socket, room: str, text: str) -> None:
        socket.to(room).emit("said", text)

    async def on_wait(self, socket: Socket) -> str:
        await self.proceed.wait()
        return "waited"

    async def on_fail(self, socket: Socket) -> None:
        raise LookupError("a bug")

    @event("chat message")
    async def any_name(self, socket: Socket, text: str) -> str:
        return text.upper()

    async def on_ask(self, socket: Socket, question: str) -> Any:
        return await socket.call("question", question, timeout=5)


class CatchAll(Namespace):
    async def on_any(self, socket: Socket, event: str, *args: Any) -> Any:
        return [event, *args]


class Bare(Namespace):
    """No handlers."""


class NodeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.patch(topics, "_listeners", [])

    async def server(self, *args: Any, **options: Any) -> NodeServer:
        """One node with the namespaces above."""
        self.nodes = Nodes()
        namespaces = args[0] if args else {"/": Chat, "/all": CatchAll, "/bare": Bare}
        server = await self.nodes.start(namespaces, **options)
        self.patch(topics, "node", server.made.node)
        return server

    def chat(self, server: SocketIO) -> Chat:
        found = server.of("/")
        assert isinstance(found, Chat)
        return found


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


class EventTests(NodeTestCase):
    @asynchronous
    async def test_acknowledgements(self) -> None:
        server = await self.server()
        socket = await server.client().connect()
        self.assertEqual(await socket.call("echo", 1, {"a": [2]}), [1, {"a": [2]}])
        self.assertEqual(await socket.call("nothing"), [])
        self.assertEqual(await socket.call("chat message", "hi"), ["HI"])

    @asynchronous
    async def test_binary_data_at_any_depth(self) -> None:
        server = await self.server()
        client = server.client()
        await client.connect()
        client.take()
        holder = '{"_placeholder":true,"num":'
        client.receive(f'52-7["echo",{{"a":[{holder}1}}]}},{holder}0}}]', b"one", b"two")
        await until(lambda: client.sent)
        self.assertEqual(client.take(), [(6, "/", [{"a": [b"two"]}, b"one"], 7)])

    @asynchronous
    async def test_a_plain_function_runs_in_a_thread(self) -> None:
        server = await self.server()
        client = server.client()
        socket = await client.connect()
        client.take()
        self.assertEqual(await socket.call("plain", 5), [[5]])
        self.assertEqual(client.events(), [["from a thread", 5]])

    @asynchronous
    async def test_an_event_without_a_handler(self) -> None:
        server = await self.server()
        client = server.client()
        socket = await client.connect()
        client.take()
        for name in ("unknown", "any", "server_side_on_x", 5):
            socket.emit(name)
        await turns()
        self.assertEqual((client.take(), client.closed), ([], None))

    @asynchronous
    async def test_a_wrong_number_of_arguments(self) -> None:
        server = await self.server()
        socket = await server.client().connect()
        socket.emit("nothing", 1)
        socket.emit("say", "room")
        await turns()
        self.assertEqual(self.chat(server).seen, [])
        self.assertEqual(server.dropped["socketio_arguments"], 2)

    @asynchronous
    async def test_an_error_is_logged_and_not_acknowledged(self) -> None:
        server = await self.server()
        client = server.client()
        socket = await client.connect()
        client.take()
        client.receive('21["fail"]')
        await turns()
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual((client.take(), client.closed), ([], None))
        self.assertEqual(await socket.call("echo"), [])

    @asynchronous
    async def test_handlers_of_a_client_are_bounded(self) -> None:
        server = await self.server()
        server.max_handlers = 2
        client = server.client()
        await client.connect()
        client.take()
        for number in range(5):
            client.receive(f'2{number}["wait"]')
        await turns()
        self.assertEqual(client.paused, ["handlers"])
        self.chat(server).proceed.set()
        await until(lambda: len(client.sent) == 5)
        self.assertCountEqual([each[3] for each in client.take()], [0, 1, 2, 3, 4])
        self.assertEqual(client.paused, [])

    @asynchronous
    async def test_many_handlers_that_do_not_wait_follow_one_that_did(self) -> None:
        server = await self.server()
        server.max_handlers = 1
        client = server.client()
        await client.connect()
        client.take()
        client.receive('20["wait"]')
        for number in range(1, 3000):
            client.receive(f'2{number}["echo",{number}]')
        self.chat(server).proceed.set()
        await until(lambda: len(client.sent) == 3000)
        numbers = [each[3] for each in client.take() if each[3]]
        self.assertEqual(numbers, list(range(1, 3000)))

    @asynchronous
    async def test_the_client_waits_while_the_bus_is_full(self) -> None:
        server = await self.server()
        client = server.client()
        socket = await client.connect()
        server.made.pubsub.remote_nodes.bus_full(True)
        socket.emit("nothing")
        self.assertEqual(client.paused, ["bus"])
        await until(lambda: self.chat(server).seen)

    @asynchronous
    async def test_a_handler_that_waits_for_its_client_does_not_count(self) -> None:
        server = await self.server()
        server.max_handlers = 1
        client = server.client()
        await client.connect()
        client.take()
        client.receive('20["ask","a"]')
        client.receive('21["ask","b"]')
        await until(lambda: len(client.sent) == 2)
        ids = [each[3] for each in client.take()]
        client.receive(f'3{ids[1]}["B"]')
        client.receive(f'3{ids[0]}["A"]')
        await until(lambda: len(client.sent) == 2)
        self.assertCountEqual(client.take(), [(ACK, "/", ["A"], 0), (ACK, "/", ["B"], 1)])

    @asynchronous
    async def test_invalid_packets_close_the_client(self) -> None:
        server = await self.server()
        for text in ("9", "2[]x", '2/all,["x"]', "4", "2{}", '2["connect"]'):
            client = server.client()
            await client.connect()
            client.receive(text)
            self.assertEqual(client.closed, "parse error", text)
        client = server.client()
        client.on_message(b"binary", True)
        self.assertEqual(client.closed, "parse error")


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


class RoomTests(NodeTestCase):
    async def three(self) -> tuple[NodeServer, list[Any]]:
        server = await self.server()
        sockets = [await server.client().connect() for _ in range(3)]
        for socket in sockets[:2]:
            self.assertEqual(await socket.call("enter", "r"), [["r"]])
        for socket in sockets:
            socket.client.take()
        return server, sockets

    def received(self, sockets: list[Any]) -> list[Any]:
        return [socket.client.events() for socket in sockets]

    @asynchronous
    async def test_to_a_room_from_a_socket(self) -> None:
        _, sockets = await self.three()
        sockets[0].emit("say", "r", "hello")
        await turns()
        self.assertEqual(self.received(sockets), [[], [["said", "hello"]], []])

    @asynchronous
    async def test_to_all_and_except(self) -> None:
        server, sockets = await self.three()
        chat = self.chat(server)
        chat.emit("e", 1)
        self.assertEqual(self.received(sockets), [[["e", 1]]] * 3)
        chat.except_("r").emit("e", 2)
        self.assertEqual(self.received(sockets), [[], [], [["e", 2]]])
        chat.to("r").except_(sockets[0].id).emit("e", 3)
        self.assertEqual(self.received(sockets), [[], [["e", 3]], []])
        chat.to(["r", sockets[0].id, sockets[2].id]).emit("e", 4)
        self.assertEqual(self.received(sockets), [[["e", 4]]] * 3)
        chat.sockets[0].broadcast.emit("e", 5)
        self.assertEqual(self.received(sockets), [[], [["e", 5]], [["e", 5]]])
        chat.sockets[0].except_("r").emit("e", 6)
        self.assertEqual(self.received(sockets), [[], [], [["e", 6]]])
        receipt = chat.to("nobody").emit("e", 7)
        self.assertEqual((receipt.nodes, receipt.connections_here), (0, 0))
        receipt = chat.to("r").emit("e", 8)
        self.assertEqual((receipt.nodes, receipt.connections_here), (1, 2))
        self.assertIs(await receipt, receipt)

    @asynchronous
    async def test_an_emit_is_encoded_once(self) -> None:
        server, sockets = await self.three()
        self.chat(server).emit("e", {"x": b"1"})
        packets = [socket.client.packets[-1] for socket in sockets]
        self.assertIs(packets[0], packets[1])
        self.assertEqual(self.received(sockets), [[["e", {"x": b"1"}]]] * 3)

    @asynchronous
    async def test_leave_and_close_room(self) -> None:
        server, sockets = await self.three()
        await sockets[0].call("leave", "r")
        self.chat(server).to("r").emit("e")
        self.assertEqual(self.received(sockets), [[], [["e"]], []])
        self.chat(server).close_room("r")
        self.assertEqual(self.chat(server).sockets[1].rooms, {sockets[1].id})
        self.assertEqual(server.made.local["/"].rooms, {})

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

    @asynchronous
    async def test_volatile_and_local(self) -> None:
        server, sockets = await self.three()
        sockets[0].client.writable = False
        receipt = self.chat(server).volatile.emit("e")
        self.assertEqual(receipt.connections_here, 2)
        self.chat(server).local.emit("f")
        expected = [[["f"]], [["e"], ["f"]], [["e"], ["f"]]]
        self.assertEqual(self.received(sockets), expected)
