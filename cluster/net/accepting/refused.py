"""Answers connections for which there is no room: 503, without parsing a request.

A few refused clients may send the header of their request first, because a client that is
disconnected while it sends may not read the answer. Further ones receive the answer at once. In
both cases the connection is closed after it.
"""

from typing import Any

from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

RETRY_AFTER_S = 5

_BODY = b"The server has too many connections; try again later.\n"

RESPONSE = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n" % (RETRY_AFTER_S, len(_BODY))
) + _BODY

DEFERRED_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\n\r\nretry: %d\n\n" % (RETRY_AFTER_S * 1000)
)
"""The answer to an EventSource, which would not connect again after a 503."""

WAIT_S = 2.0
"""Seconds for which a refused client may send its request."""

MAX_WAITING = 20
"""Refused clients that may send their request at the same time. Their sockets use the reserve of
descriptors, of which they may take only a part (listening_sockets.RESERVED_DESCRIPTORS)."""


class RefusedConnection(Protocol):
    """Waits for the first bytes of a refused client, and answers 503."""

    factory: "RefusedConnections"
    transport: Any
    _timeout: Any = None
    _is_answered = False

    def connectionMade(self) -> None:
        self.factory.waiting += 1
        self._timeout = self.factory.clock.callLater(WAIT_S, self._answer, RESPONSE)

    def dataReceived(self, data: bytes) -> None:
        if not self._is_answered:
            self._answer(DEFERRED_STREAM if b"text/event-stream" in data else RESPONSE)

    def _answer(self, response: bytes) -> None:
        self._is_answered = True
        if self._timeout.active():
            self._timeout.cancel()
        # A TLS client that does not complete its handshake would keep loseConnection waiting.
        self._timeout = self.factory.clock.callLater(WAIT_S, self.transport.abortConnection)
        self.transport.write(response)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.waiting -= 1
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()


@implementer(IProtocolNegotiationFactory)
class RefusedConnections(ServerFactory):
    """Makes a RefusedConnection for each client. Ask ``has_room`` first.

    Args:
        clock: The reactor.
    """

    noisy = False
    protocol: Any = RefusedConnection

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.waiting = 0
        """Refused clients that have not been answered yet."""

    def has_room(self) -> bool:
        """Whether one more client may wait for its answer."""
        return self.waiting < MAX_WAITING

    def acceptableProtocols(self) -> list[bytes]:
        """The protocols for ALPN, as for clients that are not refused."""
        return [b"http/1.1"]
