"""Decisions on a handshake that take their time, and answers that are not letting in."""

from typing import Any

from autobahn.websocket.types import ConnectionDeny
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.refusal import Refusal
from tests.net.websocket.connections import Owner
from tests.net.websocket.wire import request, text


class DecisionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cancelled = 0
        self.abandoned: list[ServerConnection] = []
        self.decision: Deferred[Any] = Deferred(self.cancel)
        self.owner = Owner(handshake_timeout=5)
        self.owner.factory.on_request = self.decide
        self.owner.factory.on_abandoned = self.abandoned.append
        self.connection, self.transport = self.owner.connect()

    def cancel(self, decision: Any) -> None:
        self.cancelled += 1

    def decide(self, connection: ServerConnection, request: Any) -> "Deferred[Any]":
        connection.owner = "somebody"
        return self.decision

    def receive(self, data: bytes = b"") -> None:
        if data:
            self.connection.dataReceived(data)
        self.owner.clock.advance(0)

    def assert_answer(self, start: bytes) -> None:
        self.receive()
        self.assertTrue(self.transport.written.startswith(start), self.transport.written)

    def lose(self) -> None:
        self.owner.lose(self.connection)
        self.assertEqual(self.abandoned, [self.connection])

    def test_let_in_later(self) -> None:
        self.receive(request(b"Sec-WebSocket-Protocol: a, b"))
        self.assertEqual((self.owner.events, self.transport.written), ([], b""))
        self.decision.callback(("b", {"Set-Cookie": ["c=1", "d=2"]}))
        self.assert_answer(b"HTTP/1.1 101 ")
        for line in (b"Sec-WebSocket-Protocol: b", b"Set-Cookie: c=1", b"Set-Cookie: d=2"):
            self.assertIn(b"\r\n" + line + b"\r\n", self.transport.written)
        self.assertEqual(self.owner.events, ["open"])
        self.owner.lose(self.connection)
        self.assertEqual((self.abandoned, self.cancelled), ([], 0))

    def test_frames_sent_ahead_wait_in_order(self) -> None:
        self.receive(request() + text("a"))
        self.receive(text("b")[:3])
        self.receive(text("b")[3:] + text("c"))
        self.assertEqual(self.owner.events, [])
        self.decision.callback(None)
        self.receive()
        self.assertEqual(self.owner.events, ["open", "a", "b", "c"])

    def test_a_second_request_sent_ahead_is_no_request(self) -> None:
        self.receive(request())
        self.receive(request())
        self.decision.callback(None)
        self.receive()
        self.assertEqual(self.transport.written.count(b"HTTP/1.1"), 1)

    def test_too_much_sent_ahead(self) -> None:
        self.receive(request())
        for _ in range(4):
            self.receive(b"\r\n\r\n" + b"x" * 5000)
        self.assert_answer(b"HTTP/1.1 400 ")
        self.assertEqual((self.transport.lost, self.cancelled), (True, 1))
        self.lose()

    def test_the_client_leaves(self) -> None:
        self.receive(request())
        self.lose()
        self.assertEqual((self.cancelled, self.owner.events), (1, []))

    def test_the_client_leaves_and_the_decision_comes_nevertheless(self) -> None:
        decision: Deferred[Any] = Deferred(lambda it: it.callback("a"))
        self.decision = decision
        self.receive(request())
        self.lose()
        self.assertEqual((self.owner.events, self.transport.written), ([], b""))

    def test_refused_later(self) -> None:
        headers = [("Content-Type", "text/html"), ("Location", "/login/")]
        self.receive(request())
        self.decision.errback(Refusal(302, "log in", headers, b"<p>there"))
        self.assert_answer(b"HTTP/1.1 302 Found\r\n")
        head, _, body = self.transport.written.partition(b"\r\n\r\n")
        self.assertEqual(body, b"<p>there")
        self.assertIn(b"\r\nLocation: /login/\r\n", head)
        self.assertEqual(head.count(b"Content-Type"), 1)
        self.assertIn(b"\r\nContent-Length: 8\r\n", head)
        self.assertEqual(self.owner.factory.handshakes_refused, {"302": 1})
        self.assertTrue(self.transport.lost)
        self.lose()
        self.assertEqual(self.cancelled, 0)

    def test_the_log_says_who_asked_for_what(self) -> None:
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.receive(request().replace(b" /ws ", b" /w%0as\x1b?token=secret "))
        self.decision.errback(ConnectionDeny(404, "nothing here"))
        self.receive()
        connection, _ = self.owner.connect()
        connection.dataReceived(b"nonsense\r\n\r\n")
        self.owner.clock.advance(0)
        lines = [formatEvent(event) for event in events]
        peer = self.connection.peer
        self.assertIn(rf"{peer} '/w%0as\x1b': handshake refused, 404 nothing here", lines)
        self.assertTrue(any(line.startswith(f"{peer}: handshake refused, 400") for line in lines))

    def test_denied_later(self) -> None:
        self.receive(request())
        self.decision.errback(ConnectionDeny(404, "nothing here"))
        self.assert_answer(b"HTTP/1.1 404 ")

    def test_an_error_later_is_logged_and_not_told(self) -> None:
        self.receive(request())
        self.decision.errback(KeyError("secret"))
        self.assert_answer(b"HTTP/1.1 500 ")
        self.assertNotIn(b"secret", self.transport.written)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_no_decision_in_time(self) -> None:
        self.receive(request())
        self.owner.clock.advance(6)
        self.assert_answer(b"HTTP/1.1 503 ")
        self.assertEqual((self.transport.aborted, self.cancelled), (False, 1))
        self.lose()

    def test_closed_meanwhile(self) -> None:
        self.receive(request())
        self.connection.close(1001, "shutting down")
        self.assert_answer(b"HTTP/1.1 503 ")
        self.assertEqual(self.cancelled, 1)
        self.lose()

    def test_decided_at_once(self) -> None:
        self.decision.callback("a")
        self.receive(request(b"Sec-WebSocket-Protocol: a"))
        self.assert_answer(b"HTTP/1.1 101 ")
        self.assertIsNone(self.connection.deciding)


class RefusalTests(SynchronousTestCase):
    def test_at_once(self) -> None:
        def refuse(connection: ServerConnection, request: Any) -> None:
            connection.owner = "somebody"
            raise Refusal(429, "too many", [("Retry-After", "5")])

        owner = Owner()
        abandoned: list[ServerConnection] = []
        owner.factory.on_abandoned = abandoned.append
        owner.factory.on_request = refuse
        connection, transport = owner.connect()
        connection.dataReceived(request())
        owner.clock.advance(0)
        head, _, body = transport.written.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n"), head)
        self.assertIn(b"\r\nRetry-After: 5\r\n", head)
        self.assertEqual(body, b"too many\n")
        owner.lose(connection)
        self.assertEqual((abandoned, owner.events), ([connection], []))

    def test_a_header_stays_one_line(self) -> None:
        """A cookie's path is not checked by Django: it may be what the client asked for."""

        def refuse(connection: ServerConnection, request: Any) -> None:
            raise Refusal(302, "go", [("Set-Cookie", "a=b; Path=/x\r\nX-Evil: 1\0\n\nbody")])

        owner = Owner()
        owner.factory.on_request = refuse
        connection, transport = owner.connect()
        connection.dataReceived(request())
        owner.clock.advance(0)
        head, _, body = transport.written.partition(b"\r\n\r\n")
        self.assertNotIn(b"\nX-Evil", head)
        self.assertIn(b"\r\nSet-Cookie: a=b; Path=/x  X-Evil: 1   body\r\n", head)
        self.assertEqual(body, b"go\n")
        owner.lose(connection)


class HeaderTests(SynchronousTestCase):
    """Autobahn's parser takes more bytes for line ends and for spaces than HTTP has."""

    def setUp(self) -> None:
        self.seen: list[Any] = []
        self.owner = Owner()
        self.owner.factory.on_request = lambda connection, request: self.seen.append(request)

    def answer(self, *headers: bytes) -> bytes:
        connection, transport = self.owner.connect()
        self.addCleanup(self.owner.lose, connection)
        connection.dataReceived(request(*headers))
        self.owner.clock.advance(0)
        return bytes(transport.written)

    def test_what_is_no_header_is_refused(self) -> None:
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

    def test_the_first_line_has_no_headers(self) -> None:
        connection, transport = self.owner.connect()
        connection.dataReceived(request().replace(b"1.1\r", b"1.1\x0bX-Remote-User: admin\r", 1))
        self.owner.clock.advance(0)
        self.assertTrue(transport.written.startswith(b"HTTP/1.1 400 "), transport.written)
        self.owner.lose(connection)

    def test_text_that_is_not_ascii_comes_whole(self) -> None:
        """In UTF-8, letters have bytes that are line ends and spaces in Latin-1."""
        self.answer()
        for value in ("voilà=Å; name=Михаил; last=à".encode(), b"\x85a\xa0"):
            self.assertTrue(self.answer(b"Cookie: " + value).startswith(b"HTTP/1.1 101 "))
            plain, asked = self.seen[0], self.seen[-1]
            self.assertEqual(asked.headers.pop("cookie").encode("latin-1"), value)
            self.assertEqual(asked.headers, plain.headers)
