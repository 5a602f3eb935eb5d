"""Rooms, calls and requests across nodes."""

import asyncio
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.django.api import topics
from cluster.socketio import AcknowledgementTimeout, Namespace, Socket
from cluster.socketio.bus import envelopes
from cluster.testing import asynchronous
from tests.django.site import load_site
from tests.socketio.nodes import Connected, Nodes, turns, until

EVENT = (2, 5)


class Chat(Namespace):
    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.server_events: list[Any] = []

    async def on_connect(self, socket: Socket) -> None:
        self.sockets.append(socket)

    async def on_enter(self, socket: Socket, room: str) -> None:
        socket.enter_room(room)

    async def server_side_on_hello(self, *args: Any) -> Any:
        self.server_events.append(args)
        return ["hello", *args]

    def server_side_on_fail(self) -> None:
        raise LookupError("a bug")


class ClusterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.patch(topics, "_listeners", [])

    async def start(self, count: int = 3) -> None:
        """Nodes with one client each; those of the first two are in the room "r"."""
        nodes = Nodes()
        self.servers = [await nodes.start({"/": Chat, "/other": Chat}) for _ in range(count)]
        self.clients: list[Connected] = [await server.client().connect() for server in self.servers]
        for client in self.clients[:2]:
            await client.call("enter", "r")
        await turns()
        self.received()

    def space(self, number: int) -> Chat:
        found = self.servers[number].of("/")
        assert isinstance(found, Chat)
        return found

    def received(self) -> list[Any]:
        """The events of each client since the last call."""
        return [client.client.events() for client in self.clients]

    def acknowledge_all(self, *answers: Any) -> None:
        for client, answer in zip(self.clients, answers, strict=True):
            for kind, _, _, number in client.client.take():
                if kind in EVENT and number is not None:
                    client.acknowledge(number, *answer)


class EmitTests(ClusterTestCase):
    @asynchronous
    async def test_all(self) -> None:
        await self.start()
        receipt = self.space(0).emit("e", 1, b"data")
        self.assertEqual((receipt.nodes, receipt.connections_here), (3, 1))
        await turns()
        self.assertEqual(self.received(), [[["e", 1, b"data"]]] * 3)

    @asynchronous
    async def test_a_room_on_some_nodes(self) -> None:
        await self.start()
        receipt = self.space(2).to("r").emit("e", "ä")
        self.assertEqual((receipt.nodes, receipt.connections_here), (2, 0))
        await turns()
        self.assertEqual(self.received(), [[["e", "ä"]], [["e", "ä"]], []])
        self.space(0).sockets[0].to("r").emit("e")
        await turns()
        self.assertEqual(self.received(), [[], [["e"]], []])

    @asynchronous
    async def test_several_rooms_and_exceptions(self) -> None:
        await self.start()
        ids = [client.id for client in self.clients]
        self.space(1).to(["r", ids[2]]).except_(ids[0]).emit("e")
        await turns()
        self.assertEqual(self.received(), [[], [["e"]], [["e"]]])
        self.space(2).except_("r").emit("f")
        await turns()
        self.assertEqual(self.received(), [[], [], [["f"]]])

    @asynchronous
    async def test_one_socket_of_another_node(self) -> None:
        await self.start()
        receipt = self.space(0).to(self.clients[2].id).emit("e")
        self.assertEqual(receipt.nodes, 1)
        await turns()
        self.assertEqual(self.received(), [[], [], [["e"]]])

    @asynchronous
    async def test_namespaces_are_apart(self) -> None:
        await self.start()
        other = self.servers[0].of("/other")
        receipt = other.emit("e")
        self.assertEqual(receipt.nodes, 0)
        other.to("r").emit("e")
        await turns()
        self.assertEqual(self.received(), [[], [], []])

    @asynchronous
    async def test_order(self) -> None:
        await self.start()
        for number in range(100):
            self.space(0).to("r").emit("n", number)
        await turns()
        numbers = [event[1] for event in self.received()[1]]
        self.assertEqual(numbers, list(range(100)))

    @asynchronous
    async def test_the_public_topic_of_a_room(self) -> None:
        await self.start()
        from cluster.net.websocket.frames import binary_frame, text_frame

        for frame in (text_frame("tëxt".encode()), binary_frame(b"\xff")):
            self.servers[2].made.pubsub.publish(b"socketio/r", frame)
        await turns()
        expected = [["message", "tëxt"], ["message", b"\xff"]]
        self.assertEqual(self.received(), [expected, expected, []])
        for client in self.clients[:2]:
            client.client.close("transport close")
        await turns()
        counts = self.servers[2].made.pubsub.publish(b"socketio/r", text_frame(b"x"))
        self.assertEqual(counts, (0, 0))

    @asynchronous
    async def test_malformed_envelopes_are_counted(self) -> None:
        from cluster.net.websocket.frames import binary_frame, text_frame

        await self.start()
        link = self.servers[0].made
        pubsub = self.servers[1].made.pubsub
        good = envelopes.encode_envelope(envelopes.Envelope(envelopes.EMIT, "/"))
        for frame in (text_frame(b"x"), binary_frame(b"xx"), binary_frame(good)):
            pubsub.publish(b"c10k/sio/main", frame)
        await turns()
        self.assertEqual(link.pubsub.dropped["malformed"], 3)
        unknown = envelopes.Envelope(envelopes.EMIT, "/unknown", parts=[b"42[]"])
        pubsub.publish(b"c10k/sio/main", binary_frame(envelopes.encode_envelope(unknown)))
        await turns()
        self.assertEqual(link.pubsub.dropped["malformed"], 3)


class CallTests(ClusterTestCase):
    @asynchronous
    async def test_all_sockets_acknowledge(self) -> None:
        await self.start()
        call = asyncio.ensure_future(self.space(0).timeout(5).call("question", b"?"))
        await turns()
        self.acknowledge_all((1,), (), ("a", {"b": 2}))
        self.assertCountEqual(await call, [1, None, ("a", {"b": 2})])

    @asynchronous
    async def test_a_room(self) -> None:
        await self.start()
        call = asyncio.ensure_future(self.space(2).to("r").call("question"))
        await turns()
        self.acknowledge_all((1,), (2,), ())
        self.assertCountEqual(await call, [1, 2])
        self.assertEqual(await self.space(2).to("nobody").call("question"), [])

    @asynchronous
    async def test_one_socket_of_another_node(self) -> None:
        await self.start()
        call = asyncio.ensure_future(self.space(0).socket(self.clients[2].id).call("question"))
        await turns()
        self.acknowledge_all((), (), ("here",))
        self.assertEqual(await call, "here")
        gone = self.clients[2].id[:-1] + "_"
        with self.assertRaises(AcknowledgementTimeout):
            await self.space(0).socket(gone).call("question", timeout=5)

    @asynchronous
    async def test_timeout_with_some_answers(self) -> None:
        await self.start()
        call = asyncio.ensure_future(self.space(0).timeout(0.01).call("question"))
        await turns()
        self.clients[1].acknowledge(self.clients[1].client.take()[0][3], "one")
        with self.assertRaises(AcknowledgementTimeout) as raised:
            await call
        self.assertEqual(raised.exception.responses, ["one"])

    @asynchronous
    async def test_a_client_leaves_meanwhile(self) -> None:
        await self.start(2)
        call = asyncio.ensure_future(self.space(0).call("question"))
        await turns()
        self.clients[1].client.close("transport close")
        self.acknowledge_all((1,), ())
        with self.assertRaises(AcknowledgementTimeout) as raised:
            await call
        self.assertEqual(raised.exception.responses, [1])


class RequestTests(ClusterTestCase):
    @asynchronous
    async def test_fetch_sockets(self) -> None:
        await self.start()
        self.space(1).sockets[0].data["name"] = "anna"
        self.space(2).sockets[0].data["not json"] = object()
        found = {each.id: each for each in await self.space(0).fetch_sockets()}
        ids = [client.id for client in self.clients]
        self.assertEqual(set(found), set(ids))
        self.assertEqual(found[ids[1]].rooms, {"r", ids[1]})
        self.assertEqual((found[ids[1]].data, found[ids[1]].user_key), ({"name": "anna"}, "7"))
        self.assertEqual((found[ids[2]].data, found[ids[2]].address), ({}, "127.0.0.1"))
        self.assertEqual(len(await self.space(2).to("r").fetch_sockets()), 2)
        self.assertEqual(len(await self.space(2).local.fetch_sockets()), 1)
        found[ids[1]].emit("e")
        await turns()
        self.assertEqual(self.received(), [[], [["e"]], []])

    @asynchronous
    async def test_a_node_whose_last_member_leaves_meanwhile_answers(self) -> None:
        await self.start()
        asking = asyncio.ensure_future(self.space(2).to("r").fetch_sockets())
        await asyncio.sleep(0)
        self.space(1).sockets[0].leave_room("r")  # before the question has arrived
        (found,) = await asking
        self.assertEqual(found.id, self.clients[0].id)

    @asynchronous
    async def test_a_call_does_not_wait_for_a_node_whose_last_member_leaves(self) -> None:
        await self.start()
        call = asyncio.ensure_future(self.space(2).to("r").call("question"))
        await asyncio.sleep(0)
        self.space(1).sockets[0].leave_room("r")
        await turns()
        self.acknowledge_all((1,), (), ())
        self.assertEqual(await call, [1])

    @asynchronous
    async def test_rooms_of_remote_sockets(self) -> None:
        await self.start()
        (remote,) = await self.space(0).to(self.clients[2].id).fetch_sockets()
        remote.enter_room(["r", "s"])
        remote.leave_room("s")
        await turns()
        self.assertEqual(self.space(2).sockets[0].rooms, {"r", remote.id})
        self.space(0).sockets_join("all")
        self.space(0).to("r").sockets_leave("r")
        await turns()
        rooms = [self.space(number).sockets[0].rooms for number in range(3)]
        self.assertEqual(rooms, [{"all", client.id} for client in self.clients])

    @asynchronous
    async def test_disconnect_sockets(self) -> None:
        await self.start()
        (remote,) = await self.space(0).to(self.clients[2].id).fetch_sockets()
        remote.disconnect(close=True)
        await until(lambda: self.clients[2].client.closed)
        self.space(2).to("r").disconnect_sockets()
        await until(lambda: not self.space(0).sockets[0].connected)
        await until(lambda: not self.space(1).sockets[0].connected)
        self.assertIsNone(self.clients[0].client.closed)

    @asynchronous
    async def test_server_side_emit(self) -> None:
        await self.start()
        self.assertEqual(await self.space(0).server_side_emit("hello", 1), [])
        await turns()
        events = [self.space(number).server_events for number in range(3)]
        self.assertEqual(events, [[], [(1,)], [(1,)]])
        answers = await self.space(0).server_side_emit("hello", b"2", answers=True)
        self.assertEqual(answers, [["hello", b"2"]] * 2)
        with self.assertRaises(AcknowledgementTimeout):
            await self.space(0).server_side_emit("fail", answers=True, timeout=0.01)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)

    @asynchronous
    async def test_a_room_is_in_force_when_its_event_is_acknowledged(self) -> None:
        await self.start()
        client = self.clients[2]
        await client.call("enter", "new")
        receipt = self.space(0).to("new").emit("e")
        self.assertEqual(receipt.nodes, 1)

    @asynchronous
    async def test_a_client_is_connected_when_events_reach_it(self) -> None:
        await self.start(2)
        nodes = [len(self.servers)]
        del nodes
        for server in self.servers:
            await server.client().connect("/other")
        receipt = self.servers[0].of("/other").emit("e")
        self.assertEqual(receipt.nodes, 2)
