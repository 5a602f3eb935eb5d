"""A small WebSocket client for tests, which can also send invalid data.

    client = await connect(reactor, "ws://127.0.0.1:8000/worker/")
    client.send("0 1")
    await client.next_message()        "sub" as str, binary messages as bytes
    await client.closed                Closed(code=1012, reason="…")

`send_raw` writes any bytes unchanged, such as an unmasked or an incomplete frame.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint

from tests.e2e.processes import PATIENCE_S


@dataclass(frozen=True, slots=True)
class Closed(Exception):
    """How a connection ended: the server's code and reason, or 1006 and why if it sent none."""

    code: int
    reason: str


class Client(WebSocketClientProtocol):
    """`closed` fires once with Closed; `next_message` raises it after the last message."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[Client] = Deferred()
        self.closed: Deferred[Closed] = Deferred()
        self.pings = 0
        self._ended: Closed | None = None
        self._messages: deque[str | bytes] = deque()
        self._waiting: deque[Deferred[str | bytes]] = deque()

    def send(self, message: str | bytes) -> None:
        payload = message.encode() if isinstance(message, str) else message
        self.sendMessage(payload, isBinary=isinstance(message, bytes))

    def send_raw(self, data: bytes) -> None:
        self.transport.write(data)

    def next_message(self) -> "Deferred[str | bytes]":
        waiting: Deferred[str | bytes] = Deferred()
        self._waiting.append(waiting)
        self._deliver()
        return waiting

    def unread(self) -> list[str | bytes]:
        """Return the messages that have arrived and have not been read."""
        return list(self._messages)

    def close(self, code: int = 1000) -> "Deferred[Closed]":
        self.sendClose(code)
        return self.closed

    def abort(self) -> None:
        self.transport.abortConnection()

    def onOpen(self) -> None:
        self.opened.callback(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._messages.append(payload if isBinary else payload.decode())
        self._deliver()

    def onPing(self, payload: bytes) -> None:
        self.pings += 1
        super().onPing(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self.closeHandshakeTimeoutCall is not None:  # the server closed without an answer
            self.closeHandshakeTimeoutCall.cancel()
            self.closeHandshakeTimeoutCall = None
        if self.remoteCloseCode is not None:
            self._ended = Closed(self.remoteCloseCode, self.remoteCloseReason or "")
        else:
            self._ended = Closed(1006, self.wasNotCleanReason or reason or "")
        if not self.opened.called:
            self.opened.errback(self._ended)
        self._deliver()
        self.closed.callback(self._ended)

    def _deliver(self) -> None:
        while self._waiting and self._messages:
            self._waiting.popleft().callback(self._messages.popleft())
        while self._waiting and self._ended is not None:
            self._waiting.popleft().errback(self._ended)


async def connect(
    reactor: Any,
    url: str,
    subprotocol: str | None = None,
    origin: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Client:
    """Open a connection; raises Closed with the reason if the handshake was refused."""
    protocols = [subprotocol] if subprotocol else []
    factory = WebSocketClientFactory(
        url, origin=origin, protocols=protocols, headers=dict(headers or {}), reactor=reactor
    )
    factory.protocol = Client
    # Autobahn's defaults are 5 s and 1 s. A handshake may wait in the kernel's queue until a killed
    # node is replaced, and everything takes longer on a busy machine.
    factory.setProtocolOptions(openHandshakeTimeout=PATIENCE_S, closeHandshakeTimeout=PATIENCE_S)
    factory.noisy = False
    endpoint: Any = TCP4ClientEndpoint(reactor, factory.host, factory.port, timeout=PATIENCE_S)
    client: Client = await endpoint.connect(factory)
    return await client.opened
