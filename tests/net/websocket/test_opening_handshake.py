"""The opening handshake, accepted or refused at once or later."""

from typing import Any

from autobahn.websocket.types import ConnectionDeny
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.refusal import Refusal
from tests.net.websocket.connections import Application
from tests.net.websocket.wire import frame, request, text


class HandshakeTests(SynchronousTestCase):
    def test_the_response_names_no_server(self) -> None:
        application = Application()
        connection, transport = application.connect()
        connection.dataReceived(request())
        application.clock.advance(0)
        self.assertNotIn(b"Server:", transport.written)
        self.assertNotIn(b"utobahn", transport.written)
        self.assertEqual(application.events, ["open"])
        self.assertEqual(application.factory.connections, {connection})

    def test_frames_that_arrive_with_the_request_are_received(self) -> None:
        application = Application()
        connection, _transport = application.connect()
        connection.dataReceived(request() + text("a") + frame(1, b"b", fin=False))
        connection.dataReceived(frame(0, b"c"))
        self.assertEqual(application.events, ["open", "a", "bc"])

    def test_a_pause_in_on_open_applies_to_frames_after_the_request(self) -> None:
        application = Application()
        application.factory.on_open = lambda connection: (
            application.opened(connection),
            connection.pause("not yet"),
        )
        connection, _transport = application.connect()
        connection.dataReceived(request() + text("a") + text("b"))
        self.assertEqual(application.events, ["open"])
        connection.resume("not yet")
        application.clock.advance(0)
        self.assertEqual(application.events, ["open", "a", "b"])

    def refused(self, application: Application, raw: bytes) -> bytes:
        connection, transport = application.connect()
        connection.dataReceived(raw)
        application.clock.advance(0)
        self.assertTrue(transport.lost)
        application.lose(connection)
        self.assertEqual(application.events, [])
        return transport.written

    def test_versions_other_than_13_are_refused(self) -> None:
        for version in (b"0", b"8", b"12", b"14", b"255"):
            raw = request().replace(b"Version: 13", b"Version: " + version)
            response = self.refused(Application(), raw)
            self.assertTrue(response.startswith(b"HTTP/1.1 400 "), response)
            self.assertIn(b"\r\nSec-WebSocket-Version: 13\r\n", response)

    def test_a_refusal_is_a_response_with_a_body(self) -> None:
        def deny(connection: ServerConnection, request: Any) -> None:
            raise ConnectionDeny(403, "not from\r\nSet-Cookie: here")

        application = Application()
        application.factory.on_request = deny
        response = self.refused(application, request())
        head, _, body = response.partition(b"\r\n\r\n")
        self.assertEqual(head.split(b"\r\n")[0], b"HTTP/1.1 403 Forbidden")
        self.assertNotIn(b"Cookie", head)
        self.assertIn(b"not from", body)
        self.assertEqual(application.factory.handshakes_refused, {"403": 1})

    def test_an_exception_of_the_application_is_logged_and_not_sent(self) -> None:
        def fail(connection: ServerConnection, request: Any) -> None:
            raise KeyError("secret")

        application = Application()
        application.factory.on_request = fail
        response = self.refused(application, request())
        self.assertIn(b"HTTP/1.1 500 ", response)
        self.assertNotIn(b"secret", response)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_subprotocol_that_was_not_offered_is_an_internal_error(self) -> None:
        application = Application()
        application.factory.on_request = lambda connection, request: "life.v2.bin"
        self.assertIn(b"HTTP/1.1 500 ", self.refused(application, request()))
        self.assertEqual(len(self.flushLoggedErrors(Exception)), 1)

    def test_many_refusals_of_one_kind_are_summarised(self) -> None:
        lines: list[str] = []
        observer: Any = lambda event: lines.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        application = Application()
        for number in range(100):
            self.refused(application, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        self.assertEqual(len(lines), 5)
        application.clock.advance(10)
        self.assertEqual(lines[-1], "handshakes refused: … and 95 more (426)")
        self.assertEqual(application.factory.handshakes_refused, {"426": 100})
        for number in range(7):
            self.refused(application, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        application.factory.log_summaries()
        self.assertEqual(lines[-1], "handshakes refused: … and 2 more (426)")
        for _ in range(7):
            application.factory.log_slow_client("1013", "a client of {path!r}", path="/")
        application.factory.log_summaries()
        self.assertEqual(lines[-1], "slow clients: … and 2 more (1013)")
        self.assertEqual(application.clock.getDelayedCalls(), [])

    def test_subprotocol(self) -> None:
        application = Application()
        application.factory.on_request = lambda connection, request: request.protocols[1]
        connection, transport = application.connect()
        connection.dataReceived(request(b"Sec-WebSocket-Protocol: a, b"))
        application.clock.advance(0)
        self.assertIn(b"\r\nSec-WebSocket-Protocol: b\r\n", transport.written)

    def test_a_request_without_upgrade_is_answered_426(self) -> None:
        response = self.refused(Application(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertTrue(response.startswith(b"HTTP/1.1 426 Upgrade Required\r\n"), response)

    def test_an_endless_request_is_answered_431(self) -> None:
        response = self.refused(Application(), b"GET / HTTP/1.1\r\nX: " + b"x" * 20000)
        self.assertTrue(response.startswith(b"HTTP/1.1 431 "), response)

    def test_close_while_deciding(self) -> None:
        application = Application()
        application.factory.on_request = lambda connection, request: connection.close(
            1001, "draining"
        )
        self.assertTrue(self.refused(application, request()).startswith(b"HTTP/1.1 503 "))

    def test_a_silent_client_is_disconnected(self) -> None:
        application = Application(handshake_timeout=5)
        _connection, transport = application.connect()
        application.clock.advance(6)
        self.assertTrue(transport.aborted)


class DecisionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cancelled = 0
        self.abandoned: list[ServerConnection] = []
        self.decision: Deferred[Any] = Deferred(self.cancel)
        self.application = Application(handshake_timeout=5)
        self.application.factory.on_request = self.decide
        self.application.factory.on_abandoned = self.abandoned.append
        self.connection, self.transport = self.application.connect()

    def cancel(self, decision: Any) -> None:
        self.cancelled += 1

    def decide(self, connection: ServerConnection, request: Any) -> "Deferred[Any]":
        connection.owner = "somebody"
        return self.decision

    def receive(self, data: bytes = b"") -> None:
        if data:
            self.connection.dataReceived(data)
        self.application.clock.advance(0)

    def assert_answer(self, start: bytes) -> None:
        self.receive()
        self.assertTrue(self.transport.written.startswith(start), self.transport.written)

    def lose(self) -> None:
        self.application.lose(self.connection)
        self.assertEqual(self.abandoned, [self.connection])

    def test_a_handshake_may_be_accepted_later(self) -> None:
        self.receive(request(b"Sec-WebSocket-Protocol: a, b"))
        self.assertEqual((self.application.events, self.transport.written), ([], b""))
        self.decision.callback(("b", {"Set-Cookie": ["c=1", "d=2"]}))
        self.assert_answer(b"HTTP/1.1 101 ")
        for line in (b"Sec-WebSocket-Protocol: b", b"Set-Cookie: c=1", b"Set-Cookie: d=2"):
            self.assertIn(b"\r\n" + line + b"\r\n", self.transport.written)
        self.assertEqual(self.application.events, ["open"])
        self.application.lose(self.connection)
        self.assertEqual((self.abandoned, self.cancelled), ([], 0))

    def test_frames_sent_before_the_answer_are_kept_in_order(self) -> None:
        self.receive(request() + text("a"))
        self.receive(text("b")[:3])
        self.receive(text("b")[3:] + text("c"))
        self.assertEqual(self.application.events, [])
        self.decision.callback(None)
        self.receive()
        self.assertEqual(self.application.events, ["open", "a", "b", "c"])

    def test_a_second_request_sent_before_the_answer_is_not_answered(self) -> None:
        self.receive(request())
        self.receive(request())
        self.decision.callback(None)
        self.receive()
        self.assertEqual(self.transport.written.count(b"HTTP/1.1"), 1)

    def test_too_many_bytes_before_the_answer_are_refused(self) -> None:
        self.receive(request())
        for _ in range(4):
            self.receive(b"\r\n\r\n" + b"x" * 5000)
        self.assert_answer(b"HTTP/1.1 400 ")
        self.assertEqual((self.transport.lost, self.cancelled), (True, 1))
        self.lose()

    def test_the_decision_is_cancelled_when_the_client_disconnects(self) -> None:
        self.receive(request())
        self.lose()
        self.assertEqual((self.cancelled, self.application.events), (1, []))

    def test_a_decision_after_the_client_disconnected_is_ignored(self) -> None:
        decision: Deferred[Any] = Deferred(lambda it: it.callback("a"))
        self.decision = decision
        self.receive(request())
        self.lose()
        self.assertEqual((self.application.events, self.transport.written), ([], b""))

    def test_a_handshake_may_be_refused_later(self) -> None:
        headers = [("Content-Type", "text/html"), ("Location", "/login/")]
        self.receive(request())
        self.decision.errback(Refusal(302, "log in", headers, b"<p>there"))
        self.assert_answer(b"HTTP/1.1 302 Found\r\n")
        head, _, body = self.transport.written.partition(b"\r\n\r\n")
        self.assertEqual(body, b"<p>there")
        self.assertIn(b"\r\nLocation: /login/\r\n", head)
        self.assertEqual(head.count(b"Content-Type"), 1)
        self.assertIn(b"\r\nContent-Length: 8\r\n", head)
        self.assertEqual(self.application.factory.handshakes_refused, {"302": 1})
        self.assertTrue(self.transport.lost)
        self.lose()
        self.assertEqual(self.cancelled, 0)

    def test_the_log_of_a_refusal_has_the_address_and_the_url(self) -> None:
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.receive(request().replace(b" /ws ", b" /w%0as\x1b?token=secret "))
        self.decision.errback(ConnectionDeny(404, "nothing here"))
        self.receive()
        connection, _ = self.application.connect()
        connection.dataReceived(b"nonsense\r\n\r\n")
        self.application.clock.advance(0)
        lines = [formatEvent(event) for event in events]
        peer = self.connection.peer
        self.assertIn(rf"{peer} '/w%0as\x1b': handshake refused, 404 nothing here", lines)
        self.assertTrue(any(line.startswith(f"{peer}: handshake refused, 400") for line in lines))

    def test_autobahns_connectiondeny_may_be_raised_later(self) -> None:
        self.receive(request())
        self.decision.errback(ConnectionDeny(404, "nothing here"))
        self.assert_answer(b"HTTP/1.1 404 ")

    def test_a_later_exception_is_logged_and_not_sent(self) -> None:
        self.receive(request())
        self.decision.errback(KeyError("secret"))
        self.assert_answer(b"HTTP/1.1 500 ")
        self.assertNotIn(b"secret", self.transport.written)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_handshake_without_a_decision_in_time_is_refused(self) -> None:
        self.receive(request())
        self.application.clock.advance(6)
        self.assert_answer(b"HTTP/1.1 503 ")
        self.assertEqual((self.transport.aborted, self.cancelled), (False, 1))
        self.lose()

    def test_closing_before_the_decision_answers_503_and_cancels_it(self) -> None:
        self.receive(request())
        self.connection.close(1001, "shutting down")
        self.assert_answer(b"HTTP/1.1 503 ")
        self.assertEqual(self.cancelled, 1)
        self.lose()

    def test_a_deferred_may_have_fired_already(self) -> None:
        self.decision.callback("a")
        self.receive(request(b"Sec-WebSocket-Protocol: a"))
        self.assert_answer(b"HTTP/1.1 101 ")
        self.assertIsNone(self.connection.deciding)
