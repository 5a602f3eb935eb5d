"""Bytes that are no valid request: a refusal for the sender, and no traceback in the log."""

from typing import Any

from twisted.internet.testing import StringTransport

from cluster.net.protocol_detection import ProtocolDetectorFactory
from tests.net.websocket.wire import request
from tests.node.test_http import WebTestCase

DIGITS = b"1" * 5000
"""More digits than Python converts to a number."""

START = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


class BadRequestTests(WebTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.factory = ProtocolDetectorFactory(
            self.reactor, self.connection_factory.buildProtocol, self.site.buildProtocol, 10
        )

    def send(self, data: bytes) -> tuple[bytes, bool]:
        """Send bytes on a new connection; returns the answer, and whether it is closed."""
        transport: Any = StringTransport()
        transport.protocol = self.factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        transport.protocol.dataReceived(data)
        self.settle()
        self.reactor.advance(60)
        self.settle()
        return transport.value(), transport.disconnecting or transport.disconnected

    def test_each_is_refused_without_a_traceback(self) -> None:
        for data, statuses in {
            b"SSH-2.0-OpenSSH_9.6\r\n\r\n": (400,),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": (400,),
            b"GET / HTTP/9.9\r\n\r\n": (400, 505),
            b"GET  / HTTP/1.1\r\n\r\n": (400,),
            START + b"X: y\r\n" * 10_000 + b"\r\n": (400, 431),
            START + b"X: " + b"x" * 70_000 + b"\r\n\r\n": (400, 431),
            START + b"no colon\r\n\r\n": (400,),
            START + b"X\0: y\r\n\r\n": (400,),
            START + b"X: y\0\r\n\r\n": (400,),
            START + b"X : y\r\n\r\n": (400,),
            START + b": y\r\n\r\n": (400,),
            POST + b"Content-Length: " + DIGITS + b"\r\n\r\n": (400,),
            POST + b"Content-Length: -1\r\n\r\n": (400,),
            POST + b"Content-Length: +1\r\n\r\n": (400,),
            POST + b"Content-Length: 1_0\r\n\r\n": (400,),
            POST + b"Content-Length: 0x10\r\n\r\n": (400,),
            POST + b"Content-Length: \xd9\xa1\r\n\r\n": (400,),
            POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx": (400,),
            POST + b"Content-Length: 1, 1\r\n\r\nx": (400,),
            POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n": (400,),
            POST + b"Transfer-Encoding: gzip\r\n\r\n": (400,),
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + DIGITS + b"\r\n": (400,),
            POST + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n": (400,),
            POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n": (400,),
            POST + b"Expect: 100-continue\r\nContent-Length: " + DIGITS + b"\r\n\r\n": (400,),
            request(b"Sec-WebSocket-Version: " + DIGITS): (400,),
            request().replace(b"Version: 13", b"Version: " + DIGITS): (400,),
            request().replace(b"Version: 13", b"Version: \xb2"): (400,),
            request().replace(b"localhost:8000", b"localhost:" + DIGITS): (400,),
            request().replace(b"localhost:8000", b"[::1"): (400, 101),
            request().replace(b"/ws", b"http://[::1/ws"): (400,),
            request().replace(b"/ws", b"/ws\0"): (400, 101),
            request(b"Origin: http://[::1"): (400, 101),
            request(b"X: y\0z"): (400,),
        }.items():
            answer, is_closed = self.send(data)
            status = int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else answer
            self.assertIn(status, statuses, data[:90])
            self.assertTrue(is_closed or status == 101, data[:90])
            self.assertEqual(self.flushLoggedErrors(), [], data[:90])
            self.assertEqual(self.environ, {}, data[:90])

    def test_unusual_requests_reach_the_views(self) -> None:
        for line in (
            b"GET http://[::1/ HTTP/1.1\r\nHost: a",
            b"GET /%ff/%2e%2e/%00 HTTP/1.1\r\nHost: a",
            b"GET //a/b HTTP/1.1\r\nHost: a",
            b"GET / HTTP/1.1\r\nHost: [::1",
            b"GET / HTTP/1.1\r\nHost: a:" + DIGITS,
            b"GET / HTTP/1.1\r\nHost: a\r\nCookie: \xff=\xfe; ;;=",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: \xff; charset=\xfe\r\nContent-Length: 0",
        ):
            self.environ = {}
            answer, _ = self.send(line + b"\r\n\r\n")
            self.assertTrue(answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ")), (line, answer))
            self.assertEqual(self.flushLoggedErrors(), [], line)
