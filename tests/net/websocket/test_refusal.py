"""Refusals of a handshake as HTTP responses."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.refusal import Refusal
from tests.net.websocket.connections import Application
from tests.net.websocket.wire import request


class RefusalTests(SynchronousTestCase):
    def test_the_response_has_status_headers_and_body(self) -> None:
        def refuse(connection: ServerConnection, request: Any) -> None:
            connection.owner = "somebody"
            raise Refusal(429, "too many", [("Retry-After", "5")])

        application = Application()
        abandoned: list[ServerConnection] = []
        application.factory.on_abandoned = abandoned.append
        application.factory.on_request = refuse
        connection, transport = application.connect()
        connection.dataReceived(request())
        application.clock.advance(0)
        head, _, body = transport.written.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n"), head)
        self.assertIn(b"\r\nRetry-After: 5\r\n", head)
        self.assertEqual(body, b"too many\n")
        application.lose(connection)
        self.assertEqual((abandoned, application.events), ([connection], []))

    def test_line_breaks_in_a_header_become_spaces(self) -> None:
        """Django does not check the path of a cookie, which may be the path that a client sent."""

        def refuse(connection: ServerConnection, request: Any) -> None:
            raise Refusal(302, "go", [("Set-Cookie", "a=b; Path=/x\r\nX-Evil: 1\0\n\nbody")])

        application = Application()
        application.factory.on_request = refuse
        connection, transport = application.connect()
        connection.dataReceived(request())
        application.clock.advance(0)
        head, _, body = transport.written.partition(b"\r\n\r\n")
        self.assertNotIn(b"\nX-Evil", head)
        self.assertIn(b"\r\nSet-Cookie: a=b; Path=/x  X-Evil: 1   body\r\n", head)
        self.assertEqual(body, b"go\n")
        application.lose(connection)
