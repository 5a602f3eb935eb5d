"""Whom an event reaches, on one node."""

from typing import Any

from cluster.testing import asynchronous
from tests.socketio.nodes import NodeServer, turns
from tests.socketio.one_node import NodeTestCase


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
    async def test_volatile_and_local(self) -> None:
        server, sockets = await self.three()
        sockets[0].client.writable = False
        receipt = self.chat(server).volatile.emit("e")
        self.assertEqual(receipt.connections_here, 2)
        self.chat(server).local.emit("f")
        expected = [[["f"]], [["e"], ["f"]], [["e"], ["f"]]]
        self.assertEqual(self.received(sockets), expected)

    @asynchronous
    async def test_a_remote_socket_sends_to_others(self) -> None:
        server, sockets = await self.three()
        (remote,) = await self.chat(server).to(sockets[0].id).fetch_sockets()
        remote.emit("e", 1)
        self.assertEqual(self.received(sockets), [[["e", 1]], [], []])
        remote.to("r").emit("e", 2)
        self.assertEqual(self.received(sockets), [[], [["e", 2]], []])
        remote.in_("r").to(sockets[2].id).emit("e", 3)
        self.assertEqual(self.received(sockets), [[], [["e", 3]], [["e", 3]]])
        remote.except_("r").emit("e", 4)
        self.assertEqual(self.received(sockets), [[], [], [["e", 4]]])
        remote.broadcast.emit("e", 5)
        self.assertEqual(self.received(sockets), [[], [["e", 5]], [["e", 5]]])
        sockets[1].client.writable = False
        remote.volatile.to("r").emit("e", 6)
        remote.to(["r", sockets[2].id]).volatile.emit("e", 7)
        self.assertEqual(self.received(sockets), [[], [], [["e", 7]]])
