"""One port for both: reads the first request of a connection and hands it to whom it is for.

An upgrade to WebSocket goes to a WebSocket protocol as the bytes that came, so that nothing is
parsed twice; anything else goes to the HTTP protocol. The front door is then out of the way: the
transport talks to the chosen protocol itself.
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
"""Bytes of a request's header, as twisted.web allows in total."""

_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*websocket", re.IGNORECASE)


class ProtocolDetector(Protocol):
    """One connection until its first request's header is complete."""

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
        else:  # the HTTP protocol also answers headers that are too long
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
    """``build_websocket`` and ``build_http`` take the peer's address and return a protocol or None.

    ``waiting``: connections whose first request is not complete; ``too_slow``: connections dropped
    because it did not come within ``handshake_timeout`` seconds.
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
        self.too_slow = 0

    def acceptableProtocols(self) -> list[bytes]:
        """What ALPN offers to TLS clients; without an answer Twisted refuses those that ask."""
        return [b"http/1.1"]


def hand_over(transport: Any, protocol: Any, received: bytes) -> None:
    """Let a transport talk to another protocol from now on, which first gets what has come.

    A TLS connection is a protocol around ours and a transport to ours; both must know.
    """
    if isinstance(transport, ProtocolWrapper):
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
    protocol.dataReceived(received)
