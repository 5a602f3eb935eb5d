"""The HTTP side of a node: ordinary Django views in a bounded pool of threads.

This module adds to twisted.web's WSGI support: a limit for the size of a body, and timeouts for
clients that do not send a request or do not read the response (but not for clients that read
slowly). Only Django parses form bodies. Headers whose names WSGI cannot distinguish are dropped.
"""

from collections.abc import Callable
from typing import Any
from wsgiref.types import WSGIApplication

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest
from twisted.web.server import Request, Site

from cluster.net.protocol_detection import hand_over
from cluster.net.unbuffered_output import unsent_bytes
from cluster.node.view_threads import ViewThreads

_log = Logger()

DRAIN_POLL_S = 0.05

UPGRADE_REQUIRED = 426
STALLED_S = 60.0
"""Seconds after which a client that has stopped reading its response is disconnected."""

CLIENT_LEFT = 499
"""The status in the log, as in nginx, of a request whose client left before the response."""


class BoundedRequest(Request):
    """A request with a body of bounded size. A request to upgrade goes to a WebSocket protocol."""

    site: "DjangoSite"
    _body_size = 0
    _refused = False
    _is_complete = False
    _forwarded_client: IPv4Address | IPv6Address | None = None

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > self.site.max_body:
            self._refuse_body()
            length = 0
        super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        self._body_size += len(data)
        if self._refused:
            return
        if self._body_size > self.site.max_body:
            self._refuse_body()
            return
        super().handleContentChunk(data)

    def _refuse_body(self) -> None:
        self._refused = True
        self.requestHeaders.removeHeader(b"expect")  # prevents a "100 Continue" from the channel
        limit = self.site.max_body
        body = b"The request's body is larger than %d bytes.\n" % limit
        transport: Any = self.channel.transport
        transport.write(
            b"HTTP/1.1 413 Content Too Large\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        self.channel.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Replaces twisted.web's method, which parses form bodies, too: for a form of 200 MB that
        would take several times its size in memory."""
        if self._refused:
            return
        assert self.content is not None
        self.content.seek(0, 0)
        self.args = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.split(b"?", 1)[0]
        self._is_complete = True
        self._drop_ambiguous_headers()
        if self.site.proxy_headers:
            self._apply_proxy_headers()
        self.process()

    def process(self) -> None:
        upgrade = self.requestHeaders.getRawHeaders(b"upgrade", [b""])[0]
        if upgrade.lower() == b"websocket":
            self._pass_on_upgrade()
        elif not self.site.on_request(self):
            self.serve_view()

    def serve_view(self) -> None:
        """Answer the request with Django's views."""
        super().process()

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """Add the headers of a 426 (RFC 9110, section 15.5.22), which WSGI applications may not
        send."""
        super().setResponseCode(code, message)
        if code == UPGRADE_REQUIRED:
            self.setHeader(b"upgrade", b"websocket")
            self.responseHeaders.addRawHeader(b"connection", b"Upgrade")

    def connectionLost(self, reason: Failure) -> None:
        """Log a request whose client left before the response was complete; twisted.web does not.

        The client may have received the complete response before this process noticed it.
        """
        if self._is_complete:
            if not self.startedWriting:
                self.code = CLIENT_LEFT
            self.site.log(self)
        super().connectionLost(reason)

    def _drop_ambiguous_headers(self) -> None:
        """Drop names with underscores: WSGI maps "X_Forwarded_For" and "X-Forwarded-For" to one
        name, so a client could forge the header of a proxy."""
        for name, _ in list(self.requestHeaders.getAllRawHeaders()):
            if b"_" in name:
                self.requestHeaders.removeHeader(name)

    def _apply_proxy_headers(self) -> None:
        """Set the client's address and the scheme from the headers of the proxy."""
        forwarded = self.requestHeaders.getRawHeaders(b"x-forwarded-for")
        if forwarded:
            client = forwarded[-1].split(b",")[-1].strip().decode("latin-1")
            if isIPAddress(client):
                self._forwarded_client = IPv4Address("TCP", client, 0)
            elif isIPv6Address(client):
                self._forwarded_client = IPv6Address("TCP", client, 0)
        proto = self.requestHeaders.getRawHeaders(b"x-forwarded-proto")
        if proto and proto[-1].strip().lower() == b"https":
            self._forceSSL = 1

    def getClientAddress(self) -> Any:
        """Return the client's address; it is REMOTE_ADDR in WSGI, too."""
        return self._forwarded_client or super().getClientAddress()

    def getClientIP(self) -> Any:
        return self.getClientAddress().host

    def _pass_on_upgrade(self) -> None:
        """Hand an upgrade request to a WebSocket protocol. Proxies may send it after other requests
        on the same connection."""
        headers = self.requestHeaders.getAllRawHeaders()
        lines = [b"%s %s HTTP/1.1" % (self.method, self.uri)]
        lines += [b"%s: %s" % (name, value) for name, values in headers for value in values]
        if any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines):
            self.setResponseCode(400)
            self.finish()
            return
        channel: Any = self.channel
        transport, channel.transport = channel.transport, None
        channel.setTimeout(None)
        channel._networkProducer.unregisterProducer()
        # The WebSocket protocol also receives the frames that arrived with the request.
        rest = b"".join(channel._dataBuffer) + channel._buffer
        channel._dataBuffer, channel._buffer = [], b""
        protocol = self.site.build_websocket(transport.getPeer())
        hand_over(transport, protocol, b"\r\n".join(lines) + b"\r\n\r\n" + rest)


class BoundedChannel(HTTPChannel):
    """An HTTP connection with timeouts; a request header that is too long is answered 431.

    A client has ``timeOut`` seconds for the whole header of a request, and for each piece of its
    body. There is no limit for reading the last response, but the client must read some bytes every
    STALLED_S seconds.
    """

    line_mode: int
    _buffer: bytes
    _unsent = 0

    def dataReceived(self, data: bytes) -> None:
        if not self.line_mode or not (self._buffer or self._receivedHeaderSize):
            self.resetTimeout()
        LineReceiver.dataReceived(self, data)

    def timeoutConnection(self) -> None:
        """Close an idle connection. The client may still be reading the last response."""
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close when the client has read all output, or has stopped reading."""
        super().loseConnection()
        if self._abortingCall is None:
            self._unsent = unsent_bytes(self.transport)
            self._abortingCall = self.callLater(STALLED_S, self._check_progress)

    def _check_progress(self) -> None:
        self._abortingCall = None
        before, self._unsent = self._unsent, unsent_bytes(self.transport)
        if self._unsent < before:
            self._abortingCall = self.callLater(STALLED_S, self._check_progress)
        else:
            self.forceAbortClient()

    def lineLengthExceeded(self, line: bytes) -> None:
        transport: Any = self.transport
        transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        self.loseConnection()


def log_request(request: HTTPRequest) -> None:
    """Log a request, with --access-log."""
    _log.info(
        "{client} {method} {uri} {code} {size}",
        client=request.getClientIP(),
        method=request.method.decode("latin-1"),
        uri=request.uri.decode("latin-1"),
        code=request.code,
        size=request.sentLength,
    )


def _ignore(request: HTTPRequest) -> None:
    """Replaces ``log_request`` without --access-log."""


class DjangoSite(Site):
    """The HTTP side of a node.

    Assign ``on_request`` to answer some requests without Django's views: it is called with each
    request, and returns True if it answers the request itself.

    Args:
        reactor: The reactor of the node.
        application: The WSGI application.
        build_websocket: Called with the client's address; returns the protocol for an upgrade.
        threads: The number of views that may run at the same time.
        queue: The number of requests that may wait for a thread. Further ones are answered 503.
        max_body: Bytes of the largest request body.
        proxy_headers: Whether to trust X-Forwarded-For and X-Forwarded-Proto.
        access_log: Whether to log every request.
    """

    def __init__(
        self,
        reactor: Any,
        application: WSGIApplication,
        build_websocket: Callable[[IAddress], IProtocol | None],
        *,
        threads: int,
        queue: int,
        max_body: int,
        proxy_headers: bool = False,
        access_log: bool = False,
    ) -> None:
        self.pool = ThreadPool(0, threads, name="views")
        self.views = ViewThreads(reactor, self.pool, application, queue)
        super().__init__(self.views, reactor=reactor)
        self.displayTracebacks = False
        self.on_request: Callable[[BoundedRequest], bool] = lambda request: False
        self.build_websocket = build_websocket
        self.max_body = max_body
        self.proxy_headers = proxy_headers
        self.on_response: Callable[[HTTPRequest], None] = log_request if access_log else _ignore
        self._clock = reactor
        self.requestFactory: Any = self._make_request
        self.protocol: Any = BoundedChannel

    def _make_request(self, *args: Any, **kwargs: Any) -> BoundedRequest:
        request = BoundedRequest(*args, **kwargs)
        request.site = self
        return request

    def log(self, request: HTTPRequest) -> None:
        """Called by twisted.web when a response is complete."""
        self.on_response(request)

    async def drain(self, seconds: float) -> bool:
        """Wait until no view runs. Returns False if some still run after ``seconds``."""
        deadline = self._clock.seconds() + seconds
        while self.views.active and self._clock.seconds() < deadline:
            pause: Deferred[None] = deferLater(self._clock, DRAIN_POLL_S, lambda: None)
            await pause
        return not self.views.active
