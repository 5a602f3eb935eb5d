"""Pipes the bytes between a client and the process that has its session.

Each side is read only as fast as the other one takes the bytes. When one side closes, the other one
receives what has arrived, and is closed.
"""

import socket
from collections.abc import Callable
from typing import IO, Any

from twisted.internet import unix
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from cluster.net.protocol_detection import switch_protocol

PIECE = 65536
"""Bytes of a body that are sent at a time."""

LINGER_S = 30.0
"""Seconds that a client has to read the last bytes."""


class Tunnel:
    """One client and its connection to the other process. Call ``start`` once.

    Args:
        client: The client's transport, without a producer.
        other: The connection to the other process.
        reactor: The reactor.
        on_end: Called when both sides are closed.
    """

    _realPortNumber = 0  # Twisted's transports show it

    def __init__(
        self, client: Any, other: socket.socket, reactor: Any, on_end: Callable[["Tunnel"], None]
    ) -> None:
        self._client: Any = client
        self._reactor = reactor
        self._on_end = on_end
        self._linger: Any = None
        end = _End(self._other_received, self._other_lost)
        self._other: Any = unix.Server(other, end, None, self, 0, reactor)
        end.makeConnection(self._other)

    def start(self, beginning: bytes, body: IO[bytes] | None = None, rest: bytes = b"") -> None:
        """Send what the client has sent until now, then connect both sides.

        Args:
            beginning: What the other process receives first.
            body: What follows it; closed at the end.
            rest: What follows that.
        """
        switch_protocol(self._client, _End(self._client_received, self._client_lost), b"")
        self._other.write(beginning)
        if body is None:
            self._connect(rest)
        else:
            self._client.pauseProducing()
            self._other.registerProducer(_Body(body, self._other, rest, self._connect), False)

    def _connect(self, rest: bytes) -> None:
        if self._client is None or self._other is None:
            return  # one of them left meanwhile
        if rest:
            self._other.write(rest)
        self._other.registerProducer(self._client, True)
        self._client.registerProducer(self._other, True)
        self._client.resumeProducing()

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close both sides; the arguments are those of a WebSocket's close, and have no effect."""
        self._close_other()
        self._close_client()

    def _client_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other.write(data)

    def _other_received(self, data: bytes) -> None:
        if self._client is not None:
            self._client.write(data)

    def _client_lost(self) -> None:
        self._client = None
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._close_other()
        self._check_end()

    def _other_lost(self) -> None:
        self._other = None
        self._close_client()
        self._check_end()

    def _close_other(self) -> None:
        if self._other is not None:
            self._other.unregisterProducer()
            self._other.loseConnection()

    def _close_client(self) -> None:
        if self._client is not None and self._linger is None:
            self._linger = self._reactor.callLater(LINGER_S, self._linger_over)
            self._client.unregisterProducer()
            self._client.loseConnection()

    def _linger_over(self) -> None:
        self._linger = None
        self._client.abortConnection()

    def _check_end(self) -> None:
        if self._client is None and self._other is None:
            self._on_end(self)


class _End(Protocol):
    """The protocol of one side."""

    def __init__(self, received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self.dataReceived = received  # type: ignore[method-assign, assignment]
        self._lost = lost

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost()


@implementer(IPullProducer)
class _Body:
    """Sends a body in pieces, each when the piece before is sent."""

    def __init__(
        self, body: IO[bytes], transport: Any, rest: bytes, done: Callable[[bytes], None]
    ) -> None:
        self._body = body
        self._transport = transport
        self._rest = rest
        self._done = done

    def resumeProducing(self) -> None:
        piece = self._body.read(PIECE)
        if piece:
            self._transport.write(piece)
            return
        self._body.close()
        self._transport.unregisterProducer()
        self._done(self._rest)

    def stopProducing(self) -> None:
        """Called when the connection is lost."""
        self._body.close()
