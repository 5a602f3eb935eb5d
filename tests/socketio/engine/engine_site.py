"""The parts of a node with a server that echoes messages, on transports in memory and a clock."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import path, set_urlconf
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.client_expiry import ClientExpiry
from cluster.django.conf import DEFAULTS
from cluster.django.handshake.dispatcher import Dispatcher
from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.websocket.connection_factory import ConnectionFactory
from cluster.net.websocket.frames import frame_payload
from cluster.node.config import HttpLimits
from cluster.node.http import DjangoSite
from cluster.socketio.engine.client import EngineClient
from cluster.socketio.engine.options import EngineOptions
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.engine.registry import sessions
from cluster.socketio.engine.requests import SocketIORequests
from cluster.socketio.engine.server import EngineServer
from tests.django.fakes import RecordingPubSub
from tests.django.site import load_site

INTERVAL, TIMEOUT = 0.3, 0.2
"""Seconds, as in the protocol's conformance suite."""

KEY = "dGhlIHNhbXBsZSBub25jZQ=="

OPTIONS = EngineOptions(ping_interval=INTERVAL, ping_timeout=TIMEOUT)


class Echo:
    """The application: echoes each message, and records what happens."""

    def __init__(self) -> None:
        self.clients: list[EngineClient] = []
        self.events: list[Any] = []

    def opened(self, client: EngineClient) -> None:
        self.clients.append(client)
        self.events.append("open")
        client.on_message = lambda payload, is_binary: self.received(client, payload, is_binary)
        client.on_close = lambda reason: self.events.append(("closed", reason))
        client.on_closing = lambda: client.send(OutPacket(b"41"))

    def received(self, client: EngineClient, payload: bytes, is_binary: bool) -> None:
        self.events.append(payload if is_binary else payload.decode())
        if payload == b"bug":
            raise KeyError("bug")
        client.send(binary(payload) if is_binary else text(payload.decode()))


def text(message: str) -> OutPacket:
    return OutPacket(b"4" + message.encode())


class Binary(OutPacket):
    """A message that is binary as a whole, which Socket.IO does not send."""

    __slots__ = ()

    @property
    def frames(self) -> tuple[bytes, ...]:
        return super().frames[1:]

    @property
    def packets(self) -> tuple[tuple[bytes, bool], ...]:
        return super().packets[1:]


def binary(data: bytes) -> OutPacket:
    return Binary(b"", (data,))


def allow(request: HttpRequest) -> HttpResponse | None:
    match request.GET.get("auth"):
        case "yes":
            return None
        case "bug":
            raise KeyError("secret")
        case "pay":
            return HttpResponse("pay first", status=402)
    raise PermissionDenied("not you")


application = Echo()


def opened(client: EngineClient) -> None:
    application.opened(client)


server = EngineServer(opened, OPTIONS, name="tests.Echo")
guarded = EngineServer(opened, OPTIONS, allow=allow)
only_polling = EngineServer(opened, EngineOptions(transports=("polling",)))

urlpatterns = [
    path("engine.io/", server.view()),
    path("guarded/", guarded.view()),
    path("polling/", only_polling.view()),
    path("plain/", lambda request: HttpResponse("a page")),
]


class Response:
    """A response over HTTP; ``status`` is 0 while there is none."""

    def __init__(self, written: bytes) -> None:
        head, _, self.body = written.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1]) if head else 0
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }

    @property
    def error(self) -> Any:
        """The code of an error, after a check of its message."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)["code"]


class Socket:
    """A client's WebSocket."""

    def __init__(self, case: "EngineTestCase", protocol: Any, transport: StringTransport) -> None:
        self._case = case
        self.protocol = protocol
        self.transport: Any = transport

    @property
    def refusal(self) -> Response:
        return Response(self.transport.value())

    @property
    def is_open(self) -> bool:
        return bool(self.transport.value().startswith(b"HTTP/1.1 101"))

    @property
    def messages(self) -> list[str | bytes]:
        """All messages so far; a Close is (code, reason)."""
        rest = self.transport.value().partition(b"\r\n\r\n")[2]
        found: list[Any] = []
        while rest:
            size = rest[1]
            start = 2
            if size == 126:
                size, start = int.from_bytes(rest[2:4], "big"), 4
            elif size == 127:
                size, start = int.from_bytes(rest[2:10], "big"), 10
            frame, rest = rest[: start + size], rest[start + size :]
            payload = frame[start:]
            if frame[0] == 0x88:
                found.append((int.from_bytes(payload[:2], "big"), payload[2:].decode()))
            else:
                data, is_binary = frame_payload(frame)
                found.append(data if is_binary else data.decode())
        return found

    async def send(self, *messages: str | bytes) -> None:
        """Send messages, each in a frame."""
        for message in messages:
            data = message.encode() if isinstance(message, str) else message
            first = 0x81 if isinstance(message, str) else 0x82
            size = bytes([0x80 | len(data)])
            if len(data) > 125:
                size = bytes([0xFE]) + len(data).to_bytes(2, "big")
            self.protocol.dataReceived(bytes([first]) + size + bytes(4) + data)
        await self._case.settle()

    async def lose(self) -> None:
        """The client is gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))
        await self._case.settle()


class Exchange:
    """A request of a client, and its connection."""

    def __init__(self, case: "EngineTestCase", transport: Any) -> None:
        self._case = case
        self.transport = transport

    @property
    def response(self) -> Response:
        return Response(self.transport.value())

    @property
    def is_waiting(self) -> bool:
        return not self.transport.value()

    async def lose(self) -> None:
        """The client is gone."""
        self._case.lose(self.transport)
        await self._case.settle()


class EngineTestCase(SynchronousTestCase):
    settings: dict[str, Any] = {}  # noqa: RUF012  (never changed)

    def setUp(self) -> None:
        load_site()
        set_urlconf(__name__)
        self.addCleanup(set_urlconf, None)
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.app = Echo()
        globals()["application"] = self.app
        self.is_serving = True
        settings = {**DEFAULTS, **self.settings}
        end_of_turn = EndOfTurn(self.clock)
        end_of_turn.budget.now = self.clock.seconds
        self.budget = end_of_turn.budget
        expiry = ClientExpiry(self.clock, settings)
        sockets = SocketLimits(settings["MAX_CONNECTIONS"], settings["MAX_CONNECTIONS_PER_CLIENT"])
        pubsub: Any = RecordingPubSub()
        self.dispatcher = Dispatcher(
            pubsub, settings, lambda: self.is_serving, expiry, sockets=sockets
        )
        self.factory = ConnectionFactory(
            end_of_turn, None, high_water=settings["SEND_QUEUE_HIGH_WATER"]
        )
        self.factory.on_request = self.dispatcher.request
        self.factory.on_open = self.dispatcher.opened
        self.factory.on_close = self.dispatcher.closed
        self.factory.on_abandoned = self.dispatcher.abandoned
        self.factory.on_error = self.dispatcher.failed
        for counter in (sessions.opened, sessions.refused, sessions.closed, sessions.dropped):
            counter.clear()
        sessions.upgraded = 0
        sessions.attach(end_of_turn, settings, self.dispatcher.rate)
        self.requests = SocketIORequests(
            settings, lambda: self.is_serving, self.dispatcher.occupancy, expiry
        )
        self.site = DjangoSite(
            self.clock, None, self.factory.buildProtocol, threads=1, queue=1, limits=HttpLimits()
        )
        self.site.on_request = self.requests.take
        self.site.budget = self.budget
        self.views: list[Any] = []
        self.patch(self.site.views, "serve", self.view)
        self._protocols: list[Any] = []

    def view(self, request: Any) -> None:
        """Stands for all of Django's views."""
        self.views.append(request.uri)
        request.answer(200, "OK", [("Content-Length", "7")], b"a view\n")

    def run_async(self, test: Callable[[], Awaitable[None]]) -> None:
        """Run a test, and check that nothing is left of its sessions."""

        async def whole() -> None:
            await test()
            for protocol in self._protocols:
                if protocol.transport is not None:
                    protocol.connectionLost(Failure(ConnectionLost()))
            await self.settle()
            for client in list(sessions.clients.values()):
                client.close()
            await self.settle()
            self.assertEqual((sessions.clients, sessions.polling), ({}, 0))
            self.assertEqual(self.dispatcher.occupancy.taken, 0)
            self.clock.advance(100)
            left = [str(call.func) for call in self.clock.getDelayedCalls()]
            self.assertEqual([each for each in left if "Channel" not in each], [])

        asyncio.run(whole())

    async def settle(self) -> None:
        """Let everything happen that is due now."""
        turns = 8
        while turns:
            await asyncio.sleep(0)
            self.clock.advance(0)
            turns = 8 if self.requests._tasks or self.dispatcher.deciding else turns - 1

    async def wait(self, seconds: float) -> None:
        """Advance the clock."""
        self.clock.advance(seconds)
        await self.settle()

    def lose(self, transport: Any) -> None:
        protocol, transport.protocol = transport.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionLost()))

    async def ask(
        self,
        query: str = "EIO=4&transport=polling",
        *headers: str,
        method: str = "GET",
        body: bytes | None = None,
        path: str = "/engine.io/",
        host: str = "localhost",
        address: str = "127.0.0.1",
    ) -> Exchange:
        """Send a request on a new connection."""
        transport: Any = StringTransport(peerAddress=IPv4Address("TCP", address, 40000))
        transport.protocol = self.site.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        self.addCleanup(self.lose, transport)
        lines = [f"{method} {path}?{query} HTTP/1.1", f"Host: {host}", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        data = "\r\n".join((*lines, "", "")).encode("latin-1")
        transport.protocol.dataReceived(data + (body or b""))
        await self.settle()
        return Exchange(self, transport)

    async def get(self, sid: str, *headers: str, **how: Any) -> Exchange:
        return await self.ask(f"EIO=4&transport=polling&sid={sid}", *headers, **how)

    async def post(self, sid: str, body: bytes | str, *headers: str, **how: Any) -> Exchange:
        data = body.encode() if isinstance(body, str) else body
        query = f"EIO=4&transport=polling&sid={sid}"
        return await self.ask(query, *headers, method="POST", body=data, **how)

    async def open(self, path: str = "/engine.io/", query: str = "", **how: Any) -> str:
        """Begin a session over polling; returns its id."""
        exchange = await self.ask(f"EIO=4&transport=polling{query}", path=path, **how)
        self.assertEqual(exchange.response.status, 200, exchange.response.body)
        sid: str = json.loads(exchange.response.body[1:])["sid"]
        return sid

    async def socket(
        self, query: str = "EIO=4&transport=websocket", *headers: str, path: str = "/engine.io/"
    ) -> Socket:
        """Open a WebSocket."""
        transport = StringTransport()
        protocol: Any = self.factory.buildProtocol(None)
        protocol.makeConnection(transport)
        self._protocols.append(protocol)
        lines = (
            f"GET {path}?{query} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Version: 13",
            *headers,
        )
        protocol.dataReceived("\r\n".join((*lines, "", "")).encode("latin-1"))
        await self.settle()
        return Socket(self, protocol, transport)

    async def upgrade(self, sid: str) -> Socket:
        """Open a WebSocket with the id of a session."""
        return await self.socket(f"EIO=4&transport=websocket&sid={sid}")
