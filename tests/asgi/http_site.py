"""The HTTP part of a node with async views, on transports in memory and an asyncio loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from django.test import override_settings
from django.urls import set_urlconf
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.asgi.async_views import AsyncRequests
from cluster.django.conf import DEFAULTS
from cluster.node.config import HttpLimits
from cluster.node.http import DjangoSite
from cluster.testing.loop_reactor import LoopReactor
from tests.django.site import load_site

GET = "GET {} HTTP/1.1\r\nHost: testserver\r\n{}\r\n"


class Transport(StringTransport):
    """A transport whose client reads when the test resumes it; ``wait_for`` waits for output."""

    aborted = False
    on_write: Callable[[], None] = staticmethod(lambda: None)

    def write(self, data: bytes) -> None:
        super().write(data)
        self.on_write()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    async def wait_for(self, text: bytes) -> bytes:
        """Wait until the output contains the text; returns all output."""
        while text not in self.value():
            written = asyncio.Event()
            self.on_write = written.set  # type: ignore[method-assign]
            await asyncio.wait_for(written.wait(), 60)
        return self.value()


class HttpSiteTestCase(SynchronousTestCase):
    """``run_test`` runs a coroutine with ``site``; the URLconf is that of ``urls``."""

    urls = ""
    middleware: tuple[str, ...] = ()
    settings: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    limits = HttpLimits(max_body=200_000)

    def setUp(self) -> None:
        load_site()
        settings = override_settings(
            ROOT_URLCONF=self.urls,
            MIDDLEWARE=list(self.middleware),
            ALLOWED_HOSTS=["testserver"],
        )
        settings.enable()
        self.addCleanup(settings.disable)
        set_urlconf(None)
        self.in_threads: list[str] = []

    def run_test(self, test: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            reactor = LoopReactor(asyncio.get_running_loop())
            self.site = DjangoSite(
                reactor,
                self._application,
                lambda address: None,
                threads=2,
                queue=1,
                limits=self.limits,
            )
            self.requests = AsyncRequests(reactor, {**DEFAULTS, **self.settings}, self.site.budget)
            self.site.on_view = self.requests.take
            try:
                await test()
                self.requests.cancel()
                await self.until(lambda: not self.requests.active)
            finally:
                self.requests.threads.stop()
                self.site.pool.stop()
                for channel in list(self.site.channels):
                    channel.connectionLost(Failure(ConnectionLost()))

        asyncio.run(run())

    def _application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.in_threads.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "6")])
        return [b"thread"]

    def connect(self) -> Transport:
        transport: Any = Transport()
        transport.protocol = self.site.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        return transport  # type: ignore[no-any-return]

    def send(self, *pieces: bytes) -> Transport:
        transport = self.connect()
        for piece in pieces:
            transport.protocol.dataReceived(piece)
        return transport

    def get(self, path: str, headers: str = "") -> Transport:
        return self.send(GET.format(path, headers).encode())

    async def answer(self, transport: Transport) -> tuple[bytes, bytes]:
        """The header and the body of a complete response, whose connection then ends."""
        await self.until(lambda: bool(transport.value()) and not transport.protocol.requests)
        head, _, body = transport.value().partition(b"\r\n\r\n")
        return head, body

    def leave(self, transport: Transport) -> None:
        """The client disconnects."""
        transport.protocol.connectionLost(Failure(ConnectionLost()))

    @staticmethod
    async def until(condition: Callable[[], bool]) -> None:
        """Wait, with turns of the loop, until something is so."""
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.001)
