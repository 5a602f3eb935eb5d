"""WebSocket and HTTP on one port: the first request of a connection selects the protocol.

If the request asks to upgrade to WebSocket (RFC 6455, section 4.1), a WebSocket protocol receives
the bytes that have arrived. Otherwise the HTTP protocol receives them. From then on the transport
calls the selected protocol directly.
"""

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from cluster.net.loop.turn_budget import TurnBudget

MAX_HEADER = 16 << 10
"""Bytes that the header of a request may have; twisted.web has the same limit."""

# The value is a list of protocols (RFC 9110, section 7.8).
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*websocket", re.IGNORECASE)


class ProtocolDetector(Protocol):
    """The protocol of a connection until the header of its first request is complete."""

    factory: "ProtocolDetectorFactory"
    transport: Any

    def __init__(self) -> None:
        self._received = b""
        self._timeout: Any = None
        self._is_waiting = False  # for a later turn

    def connectionMade(self) -> None:
        self.factory.waiting += 1
        self._timeout = self.factory.clock.callLater(self.factory.handshake_timeout, self._too_slow)

    def dataReceived(self, data: bytes) -> None:
        self._received = received = self._received + data
        end = received.find(b"\r\n\r\n")
        if self._is_waiting or (end < 0 and len(received) <= MAX_HEADER):
            return
        if self.factory.budget.is_spent():
            self._is_waiting = True
            self.transport.pauseProducing()
            self.factory.budget.later(self._continue)
        else:
            self._select(received, end)

    def _continue(self) -> None:
        """Process the request in a later turn, unless the client has left."""
        if self._is_waiting:
            self.transport.resumeProducing()
            self._select(self._received, self._received.find(b"\r\n\r\n"))

    def _select(self, received: bytes, end: int) -> None:
        self._leave()
        is_complete = 0 <= end <= MAX_HEADER
        if (
            is_complete
            and received.find(b"EIO=", 0, end) >= 0  # Engine.IO
            and self.factory.hand_over(self.transport, received)
        ):
            return
        if is_complete and _UPGRADE.search(received, 0, end):
            protocol = self.factory.build_websocket(self.transport.getPeer())
        else:  # includes a header that is too long, which the HTTP protocol refuses
            protocol = self.factory.build_http(self.transport.getPeer())
        if protocol is None:
            self.transport.abortConnection()
        else:
            switch_protocol(self.transport, protocol, received)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._leave()

    def _leave(self) -> None:
        self._received = b""
        self._is_waiting = False
        if self._timeout is not None:
            if self._timeout.active():
                self._timeout.cancel()
            self._timeout = None
            self.factory.waiting -= 1

    def _too_slow(self) -> None:
        self.factory.too_slow += 1
        self.transport.abortConnection()


@implementer(IProtocolNegotiationFactory)
class ProtocolDetectorFactory(ServerFactory):
    """Makes a detector for each connection.

    Args:
        clock: The reactor.
        build_websocket: Called with the client's address; returns a protocol, or None to
            disconnect the client.
        build_http: The same for HTTP.
        handshake_timeout: Seconds that a client has for the header of its first request.
    """

    noisy = False
    protocol: Any = ProtocolDetector

    def logPrefix(self) -> str:
        """The name of the ports in Twisted's log."""
        return "HTTP and WebSocket"

    def __init__(
        self,
        clock: Any,
        build_websocket: Callable[[Any], Any],
        build_http: Callable[[Any], Any],
        handshake_timeout: float,
    ) -> None:
        self.clock = clock
        self.budget = TurnBudget(clock)
        """Bounds how many first requests are processed in a turn. The node replaces it with that of
        its event loop."""
        self.build_websocket = build_websocket
        self.build_http = build_http
        self.handshake_timeout = handshake_timeout
        self.hand_over: Callable[[Any, bytes], bool] = lambda transport, received: False
        """Called with a transport and the bytes that have arrived when the first request may belong
        to a session of another process; returns whether the connection was handed over to it."""
        self.waiting = 0
        """Connections whose first request is incomplete."""
        self.too_slow = 0
        """Connections that were closed because their first request did not arrive in time."""

    def acceptableProtocols(self) -> list[bytes]:
        """The protocols for ALPN (RFC 7301). Without this, Twisted refuses TLS clients that use
        ALPN."""
        return [b"http/1.1"]


def switch_protocol(transport: Any, protocol: Any, received: bytes) -> None:
    """Connect a transport to another protocol, and pass it the bytes that have arrived."""
    # A TLS connection is the protocol of the socket and the transport of our protocol. The
    # attribute that holds the protocol it calls has another name.
    if isinstance(transport, ProtocolWrapper):
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
    protocol.dataReceived(received)
