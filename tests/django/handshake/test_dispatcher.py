"""Dispatcher: which clients it accepts, and that a handler and its connection end together."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from django.test import override_settings
from django.urls import path, re_path, set_urlconf
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import Disconnected
from cluster.django.client_expiry import ClientExpiry
from cluster.django.conf import DEFAULTS
from cluster.django.handlers.handler_decorator import websocket
from cluster.django.handshake.dispatcher import Dispatcher
from cluster.django.handshake.proxies import Proxies
from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.connection_factory import ConnectionFactory
from tests.django.fakes import RecordingPubSub
from tests.django.site import load_site
from tests.fakes import RecordingTransport
from tests.net.websocket import wire

behave: Callable[..., Awaitable[None]]
"""What the handler does in the current test."""


@websocket(subprotocols=["best", "good"])
async def anything(ws: Any, **captured: str) -> None:
    """Does what the test sets."""
    await behave(ws, **captured)


@websocket
async def takes_nothing(ws: Any) -> None:
    """Takes no arguments, although its URL captures one."""


urlpatterns = [
    path("ws", anything),
    path("ws/<str:room>/", anything),
    re_path("^wrong/(?P<extra>.*)$", takes_nothing),
]


def close(code: int, reason: bytes = b"") -> bytes:
    payload = code.to_bytes(2, "big") + reason
    return bytes([0x88, len(payload)]) + payload


class DispatcherTestCase(SynchronousTestCase):
    urls = __name__

    def setUp(self) -> None:
        load_site()
        set_urlconf(self.urls)
        self.addCleanup(set_urlconf, None)
        self.clock = Clock()
        self.pubsub = RecordingPubSub()
        self.up = True
        self.events: list[Any] = []
        self.prepare()

    def prepare(self, *proxies: str, per_client: int | None = None, **settings: Any) -> None:
        settings = {**DEFAULTS, **settings}
        self.expiry = ClientExpiry(self.clock, settings)
        self.dispatcher = Dispatcher(
            self.pubsub,
            settings,
            lambda: self.up,
            self.expiry,
            Proxies(proxies),
            SocketLimits(per_client=per_client),
        )
        self.connection_factory = ConnectionFactory(EndOfTurn(self.clock), None)
        self.connection_factory.on_request = self.dispatcher.request
        self.connection_factory.on_open = self.dispatcher.opened
        self.connection_factory.on_close = self.dispatcher.closed
        self.connection_factory.on_abandoned = self.dispatcher.abandoned

    def handle(self, handler: Callable[..., Awaitable[None]]) -> None:
        global behave
        behave = handler

    def connect(self, data: bytes) -> tuple[ServerConnection, RecordingTransport]:
        connection = self.connection_factory.buildProtocol(None)
        transport = RecordingTransport()
        connection.makeConnection(transport)
        connection.dataReceived(data)
        return connection, transport

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
            self.clock.advance(0)

    def lose(self, connection: ServerConnection) -> None:
        connection.connectionLost(Failure(ConnectionLost()))

    def assert_nothing_left(self) -> None:
        self.assertEqual(self.dispatcher._tasks, {})
        self.assertEqual(self.connection_factory.connections, set())


class HandshakeTests(DispatcherTestCase):
    def status(self, *headers: bytes, path: bytes = b"/ws", host: bytes = b"localhost") -> int:
        data = wire.request(*headers).replace(b"/ws", path, 1)
        data = data.replace(b"localhost:8000", host, 1)

        async def run() -> bytes:
            connection, transport = self.connect(data)
            await self.settle()
            self.lose(connection)
            await self.settle()
            return transport.written

        self.handle(self.nothing)
        self.answer = asyncio.run(run())
        self.assert_nothing_left()
        return int(self.answer.split(b" ")[1])

    async def nothing(self, ws: Any, **captured: str) -> None:
        self.events.append((ws.path, ws.query, captured, ws.subprotocol, ws.headers["host"]))

    def test_what_a_handler_receives(self) -> None:
        self.assertEqual(self.status(path=b"/ws/na%C3%AFve/?a=1&a=2&b="), 101)
        self.assertEqual(
            self.events,
            [("/ws/naïve/", {"a": ["1", "2"]}, {"room": "naïve"}, None, "localhost")],
        )

    def test_subprotocols(self) -> None:
        self.status(b"Sec-WebSocket-Protocol: other, good, best")
        self.status(b"Sec-WebSocket-Protocol: other")
        self.assertEqual([event[3] for event in self.events], ["best", None])

    def test_hosts(self) -> None:
        for host in (b"evil.example", b"", b"localhost.evil.example", b"a b", b"localhost:x"):
            self.assertEqual(self.status(host=host), 400, host)
        for host in (b"localhost", b"LOCALHOST:99", b"127.0.0.1", b"[::1]:8000", b"a.localhost"):
            self.assertEqual(self.status(host=host), 101, host)

    def test_hosts_with_debug(self) -> None:
        with override_settings(DEBUG=True, ALLOWED_HOSTS=[]):
            self.assertEqual(self.status(host=b"localhost:8000"), 101)
            self.assertEqual(self.status(host=b"evil.example"), 400)

    def test_origins(self) -> None:
        self.assertEqual(self.status(b"Origin: http://localhost"), 101)
        for origin in (b"http://evil.example", b"null", b"https://localhost"):
            self.assertEqual(self.status(b"Origin: " + origin), 403)
        self.assertEqual(self.connection_factory.handshakes_refused, {"403": 3})
        self.prepare(ALLOWED_ORIGINS=["https://app.example"])
        self.assertEqual(self.status(b"Origin: https://app.example"), 101)

    def test_tls_at_a_trusted_proxy(self) -> None:
        headers = (b"Origin: https://localhost", b"X-Forwarded-Proto: HTTPS")
        self.assertEqual(self.status(*headers), 403)
        self.prepare("127.0.0.1")
        self.assertEqual(self.status(*headers), 101)
        self.assertEqual(self.status(headers[0]), 403)

    def test_paths_without_a_handler(self) -> None:
        for path_ in (b"/", b"/ws/", b"/ws/a%00/", b"/ws/%ff/"):
            self.assertEqual(self.status(path=path_), 404, path_)

    def test_while_the_node_stops(self) -> None:
        self.up = False
        self.assertEqual(self.status(), 503)


class LifeTests(DispatcherTestCase):
    """From open to close."""

    async def open(self, more: bytes = b"", path: bytes = b"/ws") -> tuple[ServerConnection, Any]:
        connection, transport = self.connect(wire.request().replace(b"/ws", path, 1) + more)
        await self.settle()
        self.assertTrue(transport.written.startswith(b"HTTP/1.1 101 "), transport.written)
        transport.written = transport.written.partition(b"\r\n\r\n")[2]
        return connection, transport

    def run_async(self, test: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await test()
            await self.settle()

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            asyncio.run(run())
        self.assert_nothing_left()

    async def echo(self, ws: Any) -> None:
        try:
            async for message in ws:
                await ws.send(message)
        finally:
            self.events.append(("end", ws.close_code))

    async def sleep(self, ws: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise

    def test_a_handler_that_ends_closes_1000(self) -> None:
        async def say(ws: Any) -> None:
            await ws.send("bye")

        async def test() -> None:
            connection, transport = await self.open()
            self.assertEqual(transport.written, b"\x81\x03bye" + close(1000))
            connection.dataReceived(wire.close(1000))
            self.lose(connection)

        self.handle(say)
        self.run_async(test)
        self.assertEqual(self.dispatcher.disconnects, {"1000": 1})
        self.assertEqual(self.dispatcher.opened_total, 1)

    def test_a_client_cannot_fill_the_metrics_with_codes(self) -> None:
        for code in range(4000, 4500):
            self.dispatcher.count_end(code)
        self.dispatcher.count_end(1000)
        self.dispatcher.count_end(4000)
        self.assertEqual(self.dispatcher.disconnects["4000"], 2)
        self.assertEqual(self.dispatcher.disconnects["1000"], 1)
        self.assertLess(len(self.dispatcher.disconnects), 100)
        self.assertEqual(sum(self.dispatcher.disconnects.values()), 502)

    def test_a_client_that_leaves(self) -> None:
        async def test() -> None:
            connection, transport = await self.open(wire.text("a"))
            self.assertEqual(transport.written, b"\x81\x01a")
            self.lose(connection)

        self.handle(self.echo)
        self.run_async(test)
        self.assertEqual(self.events, [("end", 1006)])
        self.assertEqual(self.dispatcher.disconnects, {"1006": 1})

    def test_a_handler_that_waits_for_something_else_is_cancelled(self) -> None:
        async def test() -> None:
            connection, _ = await self.open()
            self.lose(connection)

        self.handle(self.sleep)
        self.run_async(test)
        self.assertEqual(self.events, ["cancelled"])

    def test_it_is_cancelled_even_if_a_task_of_it_waits_for_the_client(self) -> None:
        async def both(ws: Any) -> None:
            reader = asyncio.create_task(ws.recv())
            try:
                await self.sleep(ws)
            finally:
                self.events.append(type(reader.exception()))

        async def test() -> None:
            connection, _ = await self.open()
            self.lose(connection)

        self.handle(both)
        self.run_async(test)
        self.assertEqual(self.events, ["cancelled", Disconnected])

    def test_a_client_that_leaves_before_the_handler_begins(self) -> None:
        async def test() -> None:
            connection, _ = self.connect(wire.request())
            self.lose(connection)

        self.handle(self.sleep)
        self.run_async(test)
        self.assertEqual(self.events, [])

    def test_an_error_is_logged_and_closes_1011(self) -> None:
        async def fail(ws: Any) -> None:
            raise KeyError("secret")

        async def test() -> None:
            connection, transport = await self.open()
            self.assertEqual(transport.written, close(1011, b"internal error"))
            self.lose(connection)

        self.handle(fail)
        self.run_async(test)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_control_characters_of_a_path_are_quoted_in_the_log(self) -> None:
        lines: list[str] = []

        def record(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(record)
        self.addCleanup(globalLogPublisher.removeObserver, record)

        async def fail(ws: Any, room: str) -> None:
            raise KeyError(room)

        async def test() -> None:
            connection, _ = await self.open(path=b"/ws/a%1b%0ab/")
            self.lose(connection)

        self.handle(fail)
        self.run_async(test)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertIn(r"a WebSocket handler of '/ws/a\x1b\nb/' failed", lines)

    def test_a_handler_with_the_wrong_arguments(self) -> None:
        async def test() -> None:
            connection, transport = await self.open(path=b"/wrong/x")
            self.assertEqual(transport.written, close(1011, b"internal error"))
            self.lose(connection)

        self.run_async(test)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_a_handler_that_is_cancelled_closes_1001(self) -> None:
        async def test() -> None:
            connection, transport = await self.open()
            self.dispatcher._tasks[connection].cancel()
            await self.settle()
            self.assertEqual(transport.written, close(1001))
            self.lose(connection)

        self.handle(self.sleep)
        self.run_async(test)

    def test_opened_while_the_bus_is_full(self) -> None:
        async def test() -> None:
            self.pubsub.full = True
            connection, transport = await self.open(wire.text("a"))
            self.assertEqual(transport.written, b"")
            connection.resume("bus")
            await self.settle()
            self.assertEqual(transport.written, b"\x81\x01a")
            self.lose(connection)

        self.handle(self.echo)
        self.run_async(test)

    def test_reading_stops_when_the_handler_does_not_receive(self) -> None:
        async def test() -> None:
            self.prepare(RECEIVE_QUEUE_MESSAGES=2)
            release = asyncio.Event()

            async def later(ws: Any) -> None:
                await release.wait()
                await self.echo(ws)

            self.handle(later)
            connection, transport = await self.open(
                wire.text("a") + wire.text("b") + wire.text("c")
            )
            self.assertFalse(transport.reading)
            release.set()
            await self.settle()
            self.assertTrue(transport.reading)
            self.assertEqual(transport.written, b"\x81\x01a\x81\x01b\x81\x01c")
            self.lose(connection)

        self.run_async(test)
