"""Clients that come back, on nodes with recovery."""

import asyncio
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.django.api import topics
from cluster.socketio import Namespace, Socket
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
