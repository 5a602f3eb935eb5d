"""HTTP in a node: ordinary Django views in a bounded pool of threads.

What twisted.web's WSGI support leaves open is closed here: a body has a size limit, form bodies are
not parsed before Django does it, header names that WSGI cannot tell apart are dropped, and a client
that neither asks nor takes its answer is not waited for (but one that takes it slowly is).
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.http import HTTPChannel
from twisted.web.server import Request, Site

from cluster.net.direct_output import unsent_bytes
from cluster.net.protocol_detection import hand_over
from cluster.node.view_threads import ViewThreads

_log = Logger()

DRAIN_POLL_S = 0.05

UPGRADE_REQUIRED = 426
STALLED_S = 60.0
"""A client that has taken nothing for so long of what is left for it is hung up on."""

CLIENT_LEFT = 499
"""In the log only, where nginx has it: the client did not wait for the answer."""


class BoundedRequest(Request):
    """A request with a body of bounded size, whose upgrade to WebSocket is passed on."""

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
        self.requestHeaders.removeHeader(b"expect")  # or the channel says "100 Continue" next
        limit = self.site.max_body
        body = b"The request's body is larger than %d bytes.\n" % limit
        transport: Any = self.channel.transport
        transport.write(
            b"HTTP/1.1 413 Content Too Large\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        self.channel.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Like twisted.web's, but the body is left to Django: parsing a 200 MB form here would put
        it into memory several times over."""
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
            self._believe_proxy()
        self.process()

    def process(self) -> None:
        upgrade = self.requestHeaders.getRawHeaders(b"upgrade", [b""])[0]
        if upgrade.lower() == b"websocket":
            self._pass_on_upgrade()
        elif not self.site.on_request(self):
            super().process()

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """With the headers of a 426 (RFC 9110, 15.5.22), which WSGI forbids applications to set."""
        super().setResponseCode(code, message)
        if code == UPGRADE_REQUIRED:
            self.setHeader(b"upgrade", b"websocket")
            self.responseHeaders.addRawHeader(b"connection", b"Upgrade")

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone before the response was complete, or before we noticed that it was:
        twisted.web logs none of these."""
        if self._is_complete:
            if not self.startedWriting:
                self.code = CLIENT_LEFT
            self.site.log(self)
        super().connectionLost(reason)

    def _drop_ambiguous_headers(self) -> None:
        """WSGI makes one name of "X_Forwarded_For" and "X-Forwarded-For": keep the latter."""
        for name, _ in list(self.requestHeaders.getAllRawHeaders()):
            if b"_" in name:
                self.requestHeaders.removeHeader(name)

    def _believe_proxy(self) -> None:
        """Take client and scheme from the proxy in front, which --proxy-headers says there is."""
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
        """Also what WSGI takes for REMOTE_ADDR."""
        return self._forwarded_client or super().getClientAddress()

    def getClientIP(self) -> Any:
        return self.getClientAddress().host

    def _pass_on_upgrade(self) -> None:
        """An upgrade that is not the first request of its connection, as a proxy may send it."""
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
        # Frames that came along with the request.
        rest = b"".join(channel._dataBuffer) + channel._buffer
        channel._dataBuffer, channel._buffer = [], b""
        protocol = self.site.build_websocket(transport.getPeer())
        hand_over(transport, protocol, b"\r\n".join(lines) + b"\r\n\r\n" + rest)


class BoundedChannel(HTTPChannel):
    """A connection that ends in time, and is told why its request is refused.

    It has ``timeOut`` seconds for each request's header, as a whole, and for each piece of its
    body. At its end it may take as long as its client goes on reading.
    """

    line_mode: int
    _buffer: bytes
    _unsent = 0

    def dataReceived(self, data: bytes) -> None:
        if not self.line_mode or not (self._buffer or self._receivedHeaderSize):
            self.resetTimeout()
        LineReceiver.dataReceived(self, data)

    def timeoutConnection(self) -> None:
        """Nothing was asked for a while; but the last answer may still be on its way."""
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close when the client has all that was written, which it must not wait with for ever."""
        super().loseConnection()
        if self._abortingCall is None:
            self._unsent = unsent_bytes(self.transport)
            self._abortingCall = self.callLater(STALLED_S, self._look)

    def _look(self) -> None:
        self._abortingCall = None
        before, self._unsent = self._unsent, unsent_bytes(self.transport)
        if self._unsent < before:
            self._abortingCall = self.callLater(STALLED_S, self._look)
        else:
            self.forceAbortClient()

    def lineLengthExceeded(self, line: bytes) -> None:
        transport: Any = self.transport
        transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        self.loseConnection()


def log_request(request: Any) -> None:
    """One line a request, with --access-log."""
    _log.info(
        "{client} {method} {uri} {code} {size}",
        client=request.getClientIP(),
        method=request.method.decode("latin-1"),
        uri=request.uri.decode("latin-1"),
        code=request.code,
        size=request.sentLength,
    )


def _ignore(request: Any) -> None:
    """Without --access-log."""


class DjangoSite(Site):
    """The HTTP half of a node. ``build_websocket`` takes a peer's address, returns a protocol.

    ``on_request(request)`` is asked before Django's views are; True: it answers the request itself.
    """

    def __init__(
        self,
        reactor: Any,
        application: Any,
        build_websocket: Callable[[Any], Any],
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
        self.on_response: Callable[[Any], None] = log_request if access_log else _ignore
        self._clock = reactor
        self.requestFactory: Any = self._make_request
        self.protocol: Any = BoundedChannel

    def _make_request(self, *args: Any, **kwargs: Any) -> BoundedRequest:
        request = BoundedRequest(*args, **kwargs)
        request.site = self
        return request

    def log(self, request: Any) -> None:
        """A response is complete (twisted.web calls this)."""
        self.on_response(request)

    async def drain(self, seconds: float) -> bool:
        """Wait until no view runs any more; False if some still do after ``seconds``."""
        deadline = self._clock.seconds() + seconds
        while self.views.active and self._clock.seconds() < deadline:
            pause: Deferred[None] = deferLater(self._clock, DRAIN_POLL_S, lambda: None)
            await pause
        return not self.views.active
