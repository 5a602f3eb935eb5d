"""A server on one node, with handlers of each kind."""

import asyncio
from typing import Any

from django.core.exceptions import PermissionDenied
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.api import topics
from cluster.socketio import (
    ConnectionRefused,
    Namespace,
    Socket,
    SocketIO,
    event,
)
from tests.django.site import load_site
from tests.socketio.nodes import Nodes, NodeServer


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
