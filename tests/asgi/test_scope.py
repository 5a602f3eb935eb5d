"""Tests of cluster.asgi.scope."""

from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from cluster.asgi.scope import http_scope, strip_prefix, websocket_scope
from cluster.net.websocket.request_header import hide_letters

HEADER = (
    b"GET /ws/caf%C3%A9/?room=1&x=%20 HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Cookie:  a=b \r\n"
    b"X-Name: \xe9\x85\r\n"
    b"X_Forwarded_For: 9.9.9.9\r\n"
    b"Cookie: c=d\r\n\r\n"
)


class Request:
    """What a scope needs of a request."""

    uri = b"/caf%C3%A9/%2F?q=%20"
    method = b"POST"
    clientproto = b"HTTP/1.0"

    def __init__(self, host: Any = None, secure: bool = False) -> None:
        self.host = host or IPv4Address("TCP", "127.0.0.1", 8000)
        self.secure = secure
        self.requestHeaders = Headers()
        self.requestHeaders.addRawHeader(b"Content-Length", b"3")
        self.requestHeaders.addRawHeader(b"X-Twice", b"1")
        self.requestHeaders.addRawHeader(b"X-Twice", b"2")

    def getHost(self) -> Any:
        return self.host

    def getClientAddress(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.7", 4000)

    def isSecure(self) -> bool:
        return self.secure


class ScopeTests(SynchronousTestCase):
    def test_http(self) -> None:
        state = {"pool": object()}
        scope = http_scope(Request(), state=state)
        self.assertEqual(
            scope,
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.0",
                "method": "POST",
                "scheme": "http",
                "path": "/café//",
                "raw_path": b"/caf%C3%A9/%2F",
                "query_string": b"q=%20",
                "root_path": "",
                "headers": [(b"content-length", b"3"), (b"x-twice", b"1"), (b"x-twice", b"2")],
                "client": ("192.0.2.7", 4000),
                "server": ("127.0.0.1", 8000),
                "state": state,
                "extensions": {},
            },
        )
        self.assertIsNot(scope["state"], state)

    def test_https_and_unix_sockets(self) -> None:
        scope = http_scope(Request(UNIXAddress("/run/c10k.sock"), secure=True))
        self.assertEqual((scope["scheme"], scope["server"]), ("https", None))

    def test_websocket(self) -> None:
        scope = websocket_scope(
            hide_letters(HEADER),
            secure=True,
            client=("192.0.2.7", 4000),
            subprotocols=["chat", "json"],
        )
        self.assertEqual(
            scope,
            {
                "type": "websocket",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "wss",
                "path": "/ws/café/",
                "raw_path": b"/ws/caf%C3%A9/",
                "query_string": b"room=1&x=%20",
                "root_path": "",
                "headers": [
                    (b"host", b"localhost"),
                    (b"cookie", b"a=b"),
                    (b"x-name", b"\xe9\x85"),
                    (b"cookie", b"c=d"),
                ],
                "client": ("192.0.2.7", 4000),
                "server": None,
                "subprotocols": ["chat", "json"],
                "state": {},
                "extensions": {},
            },
        )

    def test_a_path_that_is_not_utf_8(self) -> None:
        scope = websocket_scope(b"GET /%FF HTTP/1.1\r\n\r\n", secure=False, client=("::1", 1))
        self.assertEqual((scope["path"], scope["raw_path"]), ("/\ufffd", b"/%FF"))

    def test_strip_prefix(self) -> None:
        whole = websocket_scope(HEADER, secure=False, client=("::1", 1))
        scope = strip_prefix(whole, "/ws/")
        self.assertEqual((scope["root_path"], scope["path"]), ("/ws", "/café/"))
        self.assertEqual(scope["raw_path"], whole["raw_path"])
        self.assertEqual(whole["path"], "/ws/café/")
        deeper = strip_prefix(scope, "/café/")
        self.assertEqual((deeper["root_path"], deeper["path"]), ("/ws/café", "/"))
