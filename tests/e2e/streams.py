"""Server-sent events and long polls for tests: HTTP clients that need little memory.

stream = await open_stream(cluster.base_url + "feed/")
await stream.messages_until(3)          the data of each message
await stream.closed
"""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.e2e.processes import PATIENCE_S, reactor


class Stream(Protocol):
    """One endless response: its ``messages``, the ``last_id``, and other ``events``."""

    def __init__(self, request: bytes) -> None:
        self.status = 0
        self.head = ""
        self.messages: list[bytes] = []
        self.events: list[tuple[str, Any]] = []
        self.last_id = ""
        self.opened: Deferred[Stream] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self._request = request
        self._received = b""
        self._event = b""
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def until(self, condition: Callable[[], bool]) -> "Deferred[None]":
        """Fires when the condition is true; it is checked when bytes have arrived."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self._look()

        def too_late(failure: Any, seconds: float) -> Any:
            heard = f"{self.head}\n{self.messages}\n{self.events}"
            state = "closed" if self.closed.called else "open"
            raise AssertionError(f"still not so after {seconds} s, the stream is {state}:\n{heard}")

        return waiting.addTimeout(PATIENCE_S, reactor, onTimeoutCancel=too_late)

    async def messages_until(self, count: int) -> list[bytes]:
        """Fires with the messages when there are at least ``count``."""
        await self.until(lambda: len(self.messages) >= count)
        return self.messages

    async def answers_until(self, count: int) -> None:
        """Fires when ``count`` subscriptions have been answered."""
        await self.until(lambda: len(self.events) >= count)

    def hang_up(self) -> None:
        """Abort the connection; ``leave`` closes it with FIN."""
        transport: Any = self.transport
        transport.abortConnection()

    def leave(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if not self.status:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            self.head, self._received = head.decode("latin-1"), rest
            self.status = int(self.head.split()[1])
            self.opened.callback(self)
        while True:
            size, end, rest = self._received.partition(b"\r\n")
            if not end or len(rest) < (length := int(size, 16)) + 2:
                break
            self._received = rest[length + 2 :]
            self._lines(rest[:length])
        self._look()

    def _lines(self, chunk: bytes) -> None:
        # Our server's chunks are whole events, so a line is never split.
        for line in chunk.split(b"\n"):
            if line.startswith(b"data: "):
                if self._event:
                    self.events.append((self._event.decode(), json.loads(line[6:])))
                else:
                    self.messages.append(line[6:])
            elif line.startswith(b"event: "):
                self._event = line[7:]
            elif line.startswith(b"id: "):
                self.last_id = line[4:].decode()
            elif not line:
                self._event = b""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.opened.called:
            self.opened.errback(reason)
        self.closed.callback(None)
        self._look()

    def _look(self) -> None:
        for condition, waiting in tuple(self._waiting):
            if condition():
                self._waiting.remove((condition, waiting))
                waiting.callback(None)


async def open_stream(url: str, *headers: str) -> Stream:
    """Open a stream; fires when its response has begun, with any status."""
    parts = urlsplit(url)
    lines = [
        f"GET {parts.path}{'?' + parts.query if parts.query else ''} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Accept: text/event-stream",
        *headers,
    ]
    stream = Stream("\r\n".join([*lines, "", ""]).encode())
    endpoint: Any = TCP4ClientEndpoint(reactor, parts.hostname, parts.port, timeout=PATIENCE_S)
    await endpoint.connect(Factory.forProtocol(lambda: stream))
    return await stream.opened


async def poll(url: str, wait: int) -> Any:
    """Make one long poll; returns the answer."""
    agent = Agent(reactor, connectTimeout=PATIENCE_S)
    headers = Headers({b"Prefer": [b"wait=%d" % wait]})
    response: Any = await agent.request(b"GET", url.encode(), headers)
    body: Any = await readBody(response).addTimeout(PATIENCE_S, reactor)
    assert response.code == 200, body
    return json.loads(body)
