"""WebSocket and HTTP on one port: the first request of a connection decides which it is.

A request to upgrade to WebSocket (RFC 6455, section 4.1) goes to a WebSocket protocol, as the bytes
that arrived, so that nothing is parsed twice. All other requests go to the HTTP protocol. From then
on the transport calls the chosen protocol itself.
"""

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_HEADER = 16 << 10
"""Bytes of a request's header; twisted.web has the same limit."""

# The value is a list of protocols (RFC 9110, section 7.8).
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*websocket", re.IGNORECASE)


class ProtocolDetector(Protocol):
    """A connection whose first request has not arrived completely."""

    factory: "ProtocolDetectorFactory"
    transport: Any

    def __init__(self) -> None:
        self._received = b""
        self._timeout: Any = None

    def connectionMade(self) -> None:
        self.factory.waiting += 1
        self._timeout = self.factory.clock.callLater(self.factory.handshake_timeout, self._too_slow)

    def dataReceived(self, data: bytes) -> None:
        self._received = received = self._received + data
        end = received.find(b"\r\n\r\n")
        if end < 0 and len(received) <= MAX_HEADER:
            return
        self._leave()
        if 0 <= end <= MAX_HEADER and _UPGRADE.search(received, 0, end):
            protocol = self.factory.build_websocket(self.transport.getPeer())
        else:  # also a header that is too long: the HTTP protocol refuses it
            protocol = self.factory.build_http(self.transport.getPeer())
        if protocol is None:
            self.transport.abortConnection()
        else:
            hand_over(self.transport, protocol, received)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._leave()

    def _leave(self) -> None:
        self._received = b""
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
        build_websocket: Called with the client's address, returns a protocol; None: disconnect.
        build_http: The same for HTTP.
        handshake_timeout: Seconds that a client has for the header of its first request.
    """

    noisy = False
    protocol: Any = ProtocolDetector

    def logPrefix(self) -> str:
        """The name in Twisted's log of ports."""
        return "HTTP and WebSocket"

    def __init__(
        self,
        clock: Any,
        build_websocket: Callable[[Any], Any],
        build_http: Callable[[Any], Any],
        handshake_timeout: float,
    ) -> None:
        self.clock = clock
        self.build_websocket = build_websocket
        self.build_http = build_http
        self.handshake_timeout = handshake_timeout
        self.waiting = 0
        """Connections whose first request has not arrived completely."""
        self.too_slow = 0
        """Connections that were closed because it did not arrive in time."""

    def acceptableProtocols(self) -> list[bytes]:
        """For ALPN (RFC 7301). Without an answer Twisted refuses TLS clients that ask."""
        return [b"http/1.1"]


def hand_over(transport: Any, protocol: Any, received: bytes) -> None:
    """Connect a transport to another protocol, which first receives the bytes that have arrived."""
    # A TLS connection is the protocol of the socket and the transport of our protocol. It keeps the
    # protocol that it calls under a name of its own.
    if isinstance(transport, ProtocolWrapper):
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
    protocol.dataReceived(received)
