"""Headers that Autobahn would not parse as HTTP requires."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.net.websocket.connections import Application
from tests.net.websocket.wire import request


class RequestHeaderTests(SynchronousTestCase):
    """Autobahn's parser treats more bytes as line ends and spaces than HTTP does."""

    def setUp(self) -> None:
        self.seen: list[Any] = []
        self.application = Application()
        self.application.factory.on_request = lambda connection, request: self.seen.append(request)

    def answer(self, *headers: bytes) -> bytes:
        connection, transport = self.application.connect()
        self.addCleanup(self.application.lose, connection)
        connection.dataReceived(request(*headers))
        self.application.clock.advance(0)
        return bytes(transport.written)

    def test_invalid_header_lines_are_refused(self) -> None:
        for line in (
            *(b"X: a%cX-Remote-User: admin" % byte for byte in b"\r\n\x0b\x0c\x1c\x1d\x1e"),
            b"X: a\0",
            b"X: a\r\n X-Remote-User: admin",
            b"X-Remote-User : admin",
            b"X-Remote-User\xa0: admin",
            b"\x85X-Remote-User: admin",
            b"no colon",
            b": no name",
        ):
            self.assertTrue(self.answer(line).startswith(b"HTTP/1.1 400 "), line)
        self.assertEqual(self.seen, [])

    def test_line_ends_in_the_request_line_are_refused(self) -> None:
        connection, transport = self.application.connect()
        connection.dataReceived(request().replace(b"1.1\r", b"1.1\x0bX-Remote-User: admin\r", 1))
        self.application.clock.advance(0)
        self.assertTrue(transport.written.startswith(b"HTTP/1.1 400 "), transport.written)
        self.application.lose(connection)

    def test_values_that_are_not_ascii_arrive_unchanged(self) -> None:
        """In UTF-8, letters have bytes that are line ends and spaces in Latin-1."""
        self.answer()
        for value in ("voilà=Å; name=Михаил; last=à".encode(), b"\x85a\xa0"):
            self.assertTrue(self.answer(b"Cookie: " + value).startswith(b"HTTP/1.1 101 "))
            plain, asked = self.seen[0], self.seen[-1]
            self.assertEqual(asked.headers.pop("cookie").encode("latin-1"), value)
            self.assertEqual(asked.headers, plain.headers)
