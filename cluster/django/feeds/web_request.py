"""The parts of twisted.web's request and channel that feeds use.

twisted.web's own classes have too few annotations to be checked against.
"""

from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers


class Channel(Protocol):
    """The HTTP connection of a request."""

    persistent: int
    """Whether the connection stays open after the response."""

    transport: Any
    """A TCP or TLS transport of Twisted; net.unbuffered_output uses its private parts."""


class WebRequest(Protocol):
    """A request of twisted.web, and the response to it."""

    method: bytes
    uri: bytes
    path: bytes
    requestHeaders: Headers
    responseHeaders: Headers
    startedWriting: int
    sentLength: int
    chunked: int
    feed: Any
    """The kind and the client, if the request is that of a feed; for the access log."""

    @property
    def channel(self) -> Channel: ...

    def isSecure(self) -> bool: ...

    def getClientAddress(self) -> IPv4Address | IPv6Address: ...

    def setResponseCode(self, code: int, message: bytes | None = None) -> None: ...

    def setHeader(self, name: bytes, value: bytes) -> None: ...

    def registerProducer(self, producer: Any, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def write(self, data: bytes) -> None: ...

    def finish(self) -> None: ...

    def notifyFinish(self) -> Deferred[None]:
        """Fires when the response is complete; fails when the client leaves before."""

    def serve_view(self) -> None:
        """Pass the request to Django's views."""
