"""One HTTP request: its body, the headers of proxies, and upgrades to WebSocket.

Only Django parses form bodies. Headers whose names WSGI cannot distinguish are dropped. A request
that a trusted proxy passes on counts as a connection of the client that the proxy reports.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from cluster.django.handshake.proxies import is_https, last_address
from cluster.net.accepting.socket_limits import network_of
from cluster.net.protocol_detection import switch_protocol
from cluster.net.unbuffered_output import write_directly
from cluster.node.request_bodies import Body, NoRoomForBody
from cluster.node.responses.header import response_header

_log = Logger()

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 0)

UPGRADE_REQUIRED = 426

CLIENT_LEFT = 499
"""The status in the log, as in nginx, of a request whose client left before the response."""


def _host_of(where: Any) -> str:
    """The host of an address; empty for a Unix socket."""
    host: str = getattr(where, "host", "")
    return host


class BoundedRequest(Request):
    """A request with a body of bounded size. A request to upgrade goes to a WebSocket protocol."""

    site: Any  # the DjangoSite
    body_size = 0
    """Bytes of the body that have arrived."""
    began = 0.0
    """When its first byte arrived, by the reactor's clock."""
    is_gone = False
    """Whether the client has left before the response was complete."""
    feed: Any = None
    """The kind and the client of the feed that this request became."""

    _refused = False
    _is_complete = False
    _forwarded_client: IPv4Address | IPv6Address | None = None

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > self.site.limits.max_body:
            self._refuse_large_body()
            length = 0
        if length == 0:
            super().gotLength(length)
        else:
            self.content = Body(self.site.bodies, _host_of(super().getClientAddress()))

    def handleContentChunk(self, data: bytes) -> None:
        self.body_size += len(data)
        if self._refused:
            return
        if self.body_size > self.site.limits.max_body:
            self._refuse_large_body()
            return
        try:
            super().handleContentChunk(data)
        except NoRoomForBody as error:
            self._refuse_for_now(error)

    def _refuse_large_body(self) -> None:
        text = b"The request's body is larger than %d bytes.\n" % self.site.limits.max_body
        self._refuse_body(b"413 Content Too Large", text)

    def _refuse_for_now(self, error: NoRoomForBody) -> None:
        if not self.site.limited["request_bodies"]:
            _log.warn("request refused, 503: {error} (further ones are only counted)", error=error)
        self.site.limited["request_bodies"] += 1
        text = b"The server has too many request bodies; try again later.\n"
        self._refuse_body(b"503 Service Unavailable\r\nRetry-After: 5", text)

    def _refuse_body(self, status: bytes, text: bytes) -> None:
        """Answer before the body is complete, and close the connection."""
        self._refused = True
        self.requestHeaders.removeHeader(b"expect")  # prevents a "100 Continue" from the channel
        if self.content is not None:
            self.content.close()
        transport: Any = self.channel.transport
        transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % (status, len(text)) + text
        )
        self.channel.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Replaces twisted.web's method, which parses form bodies, too: for a form of 200 MB that
        would take several times its size in memory."""
        if self._refused:
            return
        assert self.content is not None
        try:
            self.content.seek(0, 0)
        except NoRoomForBody as error:
            self._refuse_for_now(error)
            return
        self.args = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.split(b"?", 1)[0]
        self._is_complete = True
        if self.requestHeaders.hasHeader(b"transfer-encoding"):
            # It has arrived whole. Applications read no body whose length they do not know.
            self.requestHeaders.removeHeader(b"transfer-encoding")
            self.requestHeaders.setRawHeaders(b"content-length", [b"%d" % self.body_size])
        self._drop_ambiguous_headers()
        if self.site.proxies and self.site.proxies.trusts(_host_of(super().getClientAddress())):
            self._apply_proxy_headers()
        self.process()

    def process(self) -> None:
        channel: Any = self.channel
        is_first, channel.is_first = channel.is_first, False
        # Protocol detection has seen the first one.
        if not is_first and b"EIO=" in self.uri and self._hand_over():
            return
        upgrade = self.requestHeaders.getRawHeaders(b"upgrade", [b""])[0]
        if upgrade.lower() == b"websocket":
            self._pass_on_upgrade()
        elif self._forwarded_client is not None and not self._count_client():
            self._answer_too_many()
        elif not (self.site.on_static_file(self) or self.site.on_request(self)):
            self.serve_view()

    def _count_client(self) -> bool:
        """Count the request for the proxy's client; False if that has too many."""
        client = network_of(self.getClientIP())
        if not self.site.sockets.enter(client):
            return False
        self.notifyFinish().addBoth(lambda _: self.site.sockets.leave(client))
        return True

    def _answer_too_many(self) -> None:
        body = b"Too many connections of this client; try again later.\n"
        headers = [
            ("Retry-After", "5"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
        ]
        self.answer(429, "Too Many Requests", headers, body)

    def serve_view(self) -> None:
        """Answer the request with Django's views, in the event loop or in a thread."""
        if self.path == b"*":
            super().process()
        elif not self.site.on_view(self):
            self.site.views.serve(self)

    def on_gone(self) -> None:
        """Called when the client has left. What produces the response replaces it."""

    def answer(
        self, code: int, phrase: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> None:
        """Send a complete response at once, and finish the request.

        Args:
            code: The status.
            phrase: Its reason phrase.
            headers: All headers, Content-Length included; without Date and Connection.
            body: The body, which is left out for HEAD.
        """
        header = self._begin(code, phrase, headers)
        if self.method == b"HEAD":
            body = b""
        self.sentLength = len(body)
        write_directly(self.channel.transport, header + body)
        self.finish()

    def begin_answer(self, code: int, phrase: str, headers: Sequence[tuple[str, str]]) -> None:
        """Send the header of a response with a Content-Length. ``write`` its body, and ``finish``
        the request."""
        write_directly(self.channel.transport, self._begin(code, phrase, headers))

    def _begin(self, code: int, phrase: str, headers: Sequence[tuple[str, str]]) -> bytes:
        self.startedWriting = 1
        self.code = code
        if code == UPGRADE_REQUIRED:
            headers = [*headers, ("Upgrade", "websocket"), ("Connection", "Upgrade")]
        if self.site.is_closing:
            self.channel.persistent = False
        is_last = not self.channel.persistent
        return response_header(self.clientproto, code, phrase, headers, is_last)

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Leave out the banner of twisted.web. An application may send one of its own."""
        if name != b"Server":
            super().setHeader(name, value)

    def write(self, data: bytes) -> None:
        """Write a part of the response. While the node stops, the response ends the connection."""
        if not self.startedWriting and self.site.is_closing and self.channel.persistent:
            self.channel.persistent = False
            self.responseHeaders.addRawHeader(b"connection", b"close")
        super().write(data)

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
        self.is_gone = True
        self.on_gone()
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
        client = last_address(forwarded[-1]) if forwarded else None
        if client is not None:
            kind = IPv6Address if ":" in client else IPv4Address
            self._forwarded_client = kind("TCP", client, 0)
        proto = self.requestHeaders.getRawHeaders(b"x-forwarded-proto")
        if proto and is_https(proto[-1]):
            self._forceSSL = 1

    def getClientAddress(self) -> Any:
        """Return the client's address; it is REMOTE_ADDR in WSGI, too. A client of a Unix socket is
        on this machine."""
        if self._forwarded_client is not None:
            return self._forwarded_client
        peer = super().getClientAddress()
        return LOOPBACK if isinstance(peer, UNIXAddress) else peer

    def getClientIP(self) -> Any:
        return _host_of(self.getClientAddress())

    def _pass_on_upgrade(self) -> None:
        """Hand an upgrade request to a WebSocket protocol. Proxies may send it after other requests
        on the same connection."""
        header = self._header_bytes()
        if header is None:
            self.setResponseCode(400)
            self.finish()
            return
        # The WebSocket protocol also receives the frames that arrived with the request.
        transport, rest = self._leave_channel()
        protocol = self.site.build_websocket(transport.getPeer())
        switch_protocol(transport, protocol, header + rest)

    def _hand_over(self) -> bool:
        """Hand the connection over to the process that has the session of this request; False if
        that is this one."""
        handover = self.site.handover
        other = None if handover is None else handover.connect(self.uri)
        if other is None:
            return False
        self.requestHeaders.removeHeader(b"expect")  # the client has received "100 Continue"
        header = self._header_bytes()
        if header is None:
            other.close()
            return False
        transport, rest = self._leave_channel()
        handover.give(transport, other, header, self.content, self.body_size, rest)
        return True

    def _header_bytes(self) -> bytes | None:
        """The header of this request; None if it has characters that no header may have."""
        headers = self.requestHeaders.getAllRawHeaders()
        lines = [b"%s %s HTTP/1.1" % (self.method, self.uri)]
        lines += [b"%s: %s" % (name, value) for name, values in headers for value in values]
        if any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines):
            return None
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _leave_channel(self) -> tuple[Any, bytes]:
        """Take the connection from the HTTP channel, with the bytes that follow this request."""
        channel: Any = self.channel
        self.site.channels.discard(channel)
        transport, channel.transport = channel.transport, None
        channel.cancel_timeout()
        channel._networkProducer.unregisterProducer()
        rest = b"".join(channel._dataBuffer) + channel._buffer
        channel._dataBuffer, channel._buffer = [], b""
        return transport, rest
