"""Tests of cluster.node.http: limits, headers, and upgrades after HTTP requests."""

import errno
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.handshake.proxies import Proxies
from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.connection_factory import ConnectionFactory
from cluster.node import http, http_channel, request_bodies, view_threads
from cluster.node.config import HttpLimits
from tests.net.websocket.wire import request, text

MAX_BODY = 100


class Reactor(Clock):
    """A clock; callFromThread calls at once."""

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        function(*args)


class Pool:
    """A thread pool whose calls the test makes."""

    def __init__(self, maximum: int, name: str) -> None:
        self.max = maximum
        self.waiting: list[tuple[Any, ...]] = []

    def callInThread(self, function: Callable[..., Any], *args: Any) -> None:
        self.waiting.append((function, *args))

    def run_one(self) -> None:
        function, *args = self.waiting.pop(0)
        function(*args)


class WebTestCase(SynchronousTestCase):
    options: dict[str, Any] = {}  # noqa: RUF012  (never changed)

    def setUp(self) -> None:
        self.patch(http, "ThreadPool", Pool)
        self.reactor = Reactor()
        self.environ: dict[str, Any] = {}
        self.body = b""
        self.got: list[str] = []
        self.connection_factory = ConnectionFactory(EndOfTurn(self.reactor), None)
        self.connection_factory.on_open = self.opened
        self.site = http.DjangoSite(
            self.reactor,
            self.application,
            self.connection_factory.buildProtocol,
            **{"threads": 2, "queue": 1, "limits": HttpLimits(max_body=MAX_BODY), **self.options},
        )
        self.pool: Any = self.site.pool

    def opened(self, connection: ServerConnection) -> None:
        connection.receive = lambda payload, is_binary: self.got.append(payload.decode())

    def application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.environ = environ
        self.body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def connect(self) -> Any:
        transport: Any = StringTransport()
        transport.protocol = self.site.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        return transport

    def settle(self) -> None:
        for _ in range(5):
            while self.pool.waiting:
                self.pool.run_one()
            self.reactor.advance(0)

    def ask(self, *pieces: bytes) -> bytes:
        """Send bytes on one connection; returns the response."""
        transport = self.connect()
        for piece in pieces:
            transport.protocol.dataReceived(piece)
        self.settle()
        self.transport = transport
        answer: bytes = transport.value()
        return answer

    def assert_status(self, answer: bytes, status: int) -> None:
        self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), answer)

    def assert_refused(self, answer: bytes, status: int) -> None:
        """Assert that one response with a body refused the request, and that no view ran."""
        self.assert_status(answer, status)
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1)
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertIn(b"\r\nContent-Length: %d" % len(body), head)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.environ, {})
        self.assertEqual(self.site.views.active, 0)


class BodyTests(WebTestCase):
    def post(self, *headers: bytes) -> bytes:
        return b"POST /x?q=1 HTTP/1.1\r\nHost: a\r\n" + b"".join(
            line + b"\r\n" for line in (*headers, b"")
        )

    def test_a_body_of_the_maximum_size_is_accepted(self) -> None:
        for body, headers in {
            b"x" * MAX_BODY: [b"Content-Length: %d" % MAX_BODY],
            b"64\r\n" + b"x" * MAX_BODY + b"\r\n0\r\n\r\n": [b"Transfer-Encoding: chunked"],
        }.items():
            self.assert_status(self.ask(self.post(*headers), body), 200)
            self.assertEqual(self.body, b"x" * MAX_BODY)
            self.assertEqual(self.environ["PATH_INFO"], "/x")
            self.assertEqual(self.environ["QUERY_STRING"], "q=1")

    def test_a_chunked_body_is_delivered_with_its_length(self) -> None:
        """Django reads no body without CONTENT_LENGTH."""
        chunks = b"5\r\n" + b"x" * 5 + b"\r\n3;extension=1\r\nyyy\r\n0\r\n\r\n"
        self.assert_status(self.ask(self.post(b"Transfer-Encoding: chunked"), chunks), 200)
        self.assertEqual(self.body, b"xxxxxyyy")
        self.assertEqual(self.environ["CONTENT_LENGTH"], "8")
        self.assertNotIn("HTTP_TRANSFER_ENCODING", self.environ)
        self.ask(self.post(b"Transfer-Encoding: chunked"), b"0\r\n\r\n")
        self.assertEqual(self.environ["CONTENT_LENGTH"], "0")

    def test_a_content_length_above_the_limit_is_refused(self) -> None:
        for length in (MAX_BODY + 1, 10**30):
            answer = self.ask(self.post(b"Content-Length: %d" % length), b"x" * 50)
            self.assert_refused(answer, 413)
            self.assertIn(b"larger than 100 bytes", answer)

    def test_the_body_of_a_refused_request_is_ignored(self) -> None:
        answer = self.ask(self.post(b"Content-Length: 101"), b"x" * 60, b"x" * 60)
        self.assert_refused(answer, 413)

    def test_no_100_continue_for_a_refused_body(self) -> None:
        answer = self.ask(self.post(b"Expect: 100-continue", b"Content-Length: 101"))
        self.assert_refused(answer, 413)
        answer = self.ask(self.post(b"Expect: 100-continue", b"Content-Length: 4"), b"body")
        self.assertTrue(answer.startswith(b"HTTP/1.1 100 "), answer)
        self.assertIn(b"HTTP/1.1 200 ", answer)

    def test_a_chunked_body_above_the_limit_is_refused(self) -> None:
        chunk = b"28\r\n" + b"x" * 40 + b"\r\n"
        pieces = [self.post(b"Transfer-Encoding: chunked")] + [chunk] * 5 + [b"0\r\n\r\n"]
        self.assert_refused(self.ask(*pieces), 413)
        self.environ = {}
        self.assert_refused(self.ask(b"".join(pieces)), 413)

    def test_only_django_parses_forms(self) -> None:
        form = [b"Content-Type: application/x-www-form-urlencoded", b"Content-Length: 3"]
        self.assert_status(self.ask(self.post(*form), b"a=b"), 200)
        self.assertEqual(self.body, b"a=b")

    def test_a_header_line_that_is_too_long_is_answered_431(self) -> None:
        for start in (b"GET /", b"GET / HTTP/1.1\r\nCookie: "):
            answer = self.ask(start + b"x" * 20_000)
            self.assert_status(answer, 431)
            self.assertTrue(self.transport.disconnecting)


class ClosingTests(WebTestCase):
    """Connections while the node stops: each response announces that it is the last one."""

    GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    def test_a_response_ends_the_connection_and_announces_that(self) -> None:
        answer = self.ask(self.GET)
        self.assertNotIn(b"Connection:", answer)
        self.assertFalse(self.transport.disconnecting)
        self.assertEqual(len(self.site.channels), 1)
        self.site.is_closing = True
        self.transport.clear()
        self.transport.protocol.dataReceived(self.GET)
        self.settle()
        self.assert_status(self.transport.value(), 200)
        self.assertIn(b"\r\nConnection: close\r\n", self.transport.value())
        self.assertTrue(self.transport.disconnecting)
        self.transport.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.site.channels, set())

    def test_a_view_that_runs_already_ends_the_connection_too(self) -> None:
        transport = self.connect()
        transport.protocol.dataReceived(self.GET)
        self.site.is_closing = True
        self.settle()
        self.assertIn(b"\r\nConnection: close\r\n", transport.value())
        self.assertTrue(transport.disconnecting)

    def test_idle_connections_are_closed_after_the_grace_period(self) -> None:
        self.ask(self.GET)
        busy, partial = self.connect(), self.connect()
        busy.protocol.dataReceived(self.GET)
        partial.protocol.dataReceived(self.GET[:10])
        self.site.is_closing = True
        self.site.close_idle(1.0)
        self.reactor.advance(0.9)
        self.site.close_idle(1.0)
        self.assertFalse(self.transport.disconnecting)
        self.reactor.advance(0.1)
        self.site.close_idle(1.0)
        closed = [each.disconnecting for each in (self.transport, busy, partial)]
        self.assertEqual(closed, [True, False, False])

    def test_idle_connections_are_closed_at_once_without_a_grace_period(self) -> None:
        self.ask(self.GET)
        self.site.close_idle(0.0)
        self.assertTrue(self.transport.disconnecting)


class QueueTests(WebTestCase):
    GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    def start(self) -> Any:
        transport = self.connect()
        transport.protocol.dataReceived(self.GET)
        return transport

    def test_requests_beyond_threads_and_queue_are_answered_503(self) -> None:
        waiting = [self.start() for _ in range(3)]
        self.assertEqual((self.site.views.active, self.site.views.queue_depth), (3, 1))
        refused = self.start()
        self.assert_status(refused.value(), 503)
        self.assertIn(b"Retry-After: 1\r\n", refused.value())
        self.assertEqual(self.site.views.refused, 1)
        self.assertFalse(refused.disconnecting)
        self.settle()
        for transport in waiting:
            self.assert_status(transport.value(), 200)
        self.assertEqual((self.site.views.active, self.site.views.queue_depth), (0, 0))
        refused.clear()
        refused.protocol.dataReceived(self.GET)
        self.settle()
        self.assert_status(refused.value(), 200)

    def test_pipelined_requests_wait_when_the_turn_is_too_long(self) -> None:
        for _ in range(3):  # all threads are busy, so that the next requests are answered at once
            self.start()
        self.site.budget.begin(0.0)
        transport = self.connect()
        transport.protocol.dataReceived(self.GET * 3 + b"GET /")
        self.assertEqual(transport.value().count(b"HTTP/1.1 503 "), 1)
        self.assertEqual(transport.producerState, "paused")
        self.reactor.advance(0)
        self.assertEqual(transport.value().count(b"HTTP/1.1 503 "), 3)
        self.assertEqual(transport.producerState, "producing")
        transport.protocol.dataReceived(b" HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(transport.value().count(b"HTTP/1.1 503 "), 4)
        self.site.budget.begin(0.0)
        transport.protocol.dataReceived(self.GET * 3)
        transport.protocol.connectionLost(Failure(ConnectionLost()))
        self.reactor.advance(0)
        self.assertEqual(transport.value().count(b"HTTP/1.1 503 "), 5)

    def test_pipelined_requests_wait_under_tls_too(self) -> None:
        for _ in range(3):
            self.start()
        transport = self.connect()
        self.patch(transport.protocol, "isSecure", lambda: True)
        self.site.budget.begin(0.0)
        for _ in range(3):  # in a TLS record each
            transport.protocol.dataReceived(self.GET)
        self.assertEqual(transport.value().count(b"HTTP/1.1 503 "), 1)
        self.reactor.advance(0)
        self.assertEqual(transport.value().count(b"HTTP/1.1 503 "), 3)

    def test_views_whose_clients_left_still_count(self) -> None:
        for _ in range(3):
            self.start().protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.site.views.active, 3)
        self.assert_status(self.start().value(), 503)
        self.settle()
        self.assertEqual(self.site.views.active, 0)
        self.assertEqual(self.environ, {}, "a view ran without a client")

    def test_few_views_start_in_one_turn(self) -> None:
        """Many requests at once leave the reactor time for other work."""
        self.patch(view_threads, "STARTED_PER_TURN", 2)
        waiting = [self.start() for _ in range(3)]
        self.assertEqual(len(self.pool.waiting), 2)
        self.assertEqual((self.site.views.active, self.site.views.queue_depth), (3, 1))
        self.assert_status(self.start().value(), 503)
        self.reactor.advance(0)
        self.assertEqual(len(self.pool.waiting), 3)
        self.settle()
        for transport in waiting:
            self.assert_status(transport.value(), 200)
        self.assert_status(self.ask(self.GET), 200)

    def test_the_view_of_a_client_that_has_left_does_not_start(self) -> None:
        self.patch(view_threads, "STARTED_PER_TURN", 1)
        self.start()
        self.start().protocol.connectionLost(Failure(ConnectionLost()))
        last = self.start()
        self.settle()
        self.assertEqual(self.site.views.active, 0)
        self.assert_status(last.value(), 200)

    def test_a_view_that_cannot_start_is_answered_500(self) -> None:
        self.patch(view_threads, "STARTED_PER_TURN", 1)
        wrong = [ZeroDivisionError()]
        make = view_threads.WsgiCall

        def fail_once(*args: Any) -> Any:
            if wrong:
                raise wrong.pop()
            return make(*args)

        self.patch(view_threads, "WsgiCall", fail_once)
        first, second = self.start(), self.start()
        self.settle()
        self.assert_status(first.value(), 500)
        self.assert_status(second.value(), 200)
        self.assertEqual(self.site.views.active, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_request_that_on_request_answers_runs_no_view(self) -> None:
        def take(request: http.BoundedRequest) -> bool:
            if request.path != b"/ours":
                return False
            request.write(b"ours")
            request.finish()
            return True

        self.site.on_request = take
        self.assertIn(b"ours", self.ask(self.GET.replace(b"/ ", b"/ours ")))
        self.assertEqual(self.environ, {})
        self.assert_status(self.ask(self.GET), 200)
        self.assertEqual(self.environ["PATH_INFO"], "/")

    def test_a_view_that_raises_is_logged_and_answered_500(self) -> None:
        def fail(environ: Any, start_response: Any) -> Any:
            raise KeyError("secret")

        self.patch(self, "application", fail)
        self.site.views._application = fail
        answer = self.ask(self.GET)
        self.assert_status(answer, 500)
        self.assertNotIn(b"secret", answer)
        self.assertEqual(self.site.views.active, 0)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class SlowClientTests(WebTestCase):
    """Clients that send slowly, or do not read their responses."""

    GET = b"GET / HTTP/1.1\r\nHost: a\r\n"

    def setUp(self) -> None:
        super().setUp()
        self.unsent = 0
        self.patch(http_channel, "unsent_bytes", lambda transport: self.unsent)

    def seconds(self, count: float) -> None:
        self.reactor.pump([1.0] * int(count))

    def test_a_client_that_does_not_read_its_response_is_disconnected(self) -> None:
        self.unsent = 1000
        for headers in (b"Connection: close\r\n", b""):
            self.assert_status(self.ask(self.GET + headers + b"\r\n"), 200)
            self.seconds(http_channel.STALLED_S + (0 if headers else self.site.timeOut))
            self.assertTrue(self.transport.disconnecting)
            self.assertTrue(self.transport.disconnected, "not aborted")

    def test_a_client_that_reads_its_response_slowly_stays_connected(self) -> None:
        for headers in (b"Connection: close\r\n", b""):
            self.unsent = 1000
            self.ask(self.GET + headers + b"\r\n")
            for _ in range(5):
                self.unsent -= 1
                self.seconds(http_channel.STALLED_S)
                self.assertFalse(self.transport.disconnected)
            self.transport.protocol.connectionLost(Failure(ConnectionLost()))
            self.assertEqual(self.transport.protocol._abortingCall, None)

    def send(self, data: bytes) -> None:
        self.transport.protocol.dataReceived(data)

    def test_a_connection_without_a_request_is_closed(self) -> None:
        self.ask(self.GET + b"\r\n")
        self.seconds(self.site.timeOut - 1)
        self.assertFalse(self.transport.disconnecting)
        self.seconds(1)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.site.limited, {})

    def test_the_deadline_of_a_header_begins_with_its_first_byte(self) -> None:
        self.ask(self.GET + b"\r\n")
        self.seconds(self.site.timeOut - 1)
        self.transport.clear()
        for index in range(10):
            self.assertFalse(self.transport.disconnecting)
            self.send(self.GET[index : index + 1])
            self.seconds(1)
        self.assert_status(self.transport.value(), 408)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.site.limited, {"slow_header": 1})

    def test_a_header_in_time(self) -> None:
        self.ask(self.GET)
        self.seconds(9)
        self.send(b"\r\n")
        self.settle()
        self.assert_status(self.transport.value(), 200)
        self.seconds(self.site.timeOut - 1)
        self.assertFalse(self.transport.disconnecting, "the idle timeout counts again")
        self.seconds(1)
        self.assertTrue(self.transport.disconnecting)

    POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"

    def test_a_body_of_one_byte_a_second_is_given_up(self) -> None:
        self.ask(self.POST)
        for _ in range(15):
            self.assertFalse(self.transport.disconnecting)
            self.send(b"x")
            self.seconds(1)
        self.assert_status(self.transport.value(), 408)
        self.assertTrue(self.transport.disconnecting)
        self.send(b"x" * 90)
        self.settle()
        self.assertEqual(self.environ, {}, "the view has run")
        self.assertEqual(self.site.limited, {"slow_body": 1})
        self.transport.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.site.bodies.bytes, 0)

    def test_a_chunked_body_without_an_end_is_given_up(self) -> None:
        self.ask(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(15):
            self.send(b"1\r\nx\r\n")
            self.seconds(1)
        self.assert_status(self.transport.value(), 408)

    def test_a_body_at_the_minimum_rate_is_accepted(self) -> None:
        self.site.limits = http.HttpLimits(max_body=100, body_rate=2, body_timeout=300)
        self.ask(self.POST)
        for _ in range(50):
            self.assertFalse(self.transport.disconnecting)
            self.send(b"xx")
            self.seconds(1)
        self.settle()
        self.assertEqual(self.body, b"x" * 100)
        self.assert_status(self.transport.value(), 200)
        self.seconds(self.site.timeOut - 1)
        self.assertFalse(self.transport.disconnecting)

    def test_a_body_that_stops_is_given_up(self) -> None:
        """However much of it has arrived before."""
        self.site.limits = http.HttpLimits(max_body=100, body_rate=1, body_timeout=300)
        self.ask(self.POST)
        self.send(b"x" * 90)
        self.seconds(http_channel.BODY_CHECK_S)
        self.assertFalse(self.transport.disconnecting)
        self.seconds(http_channel.BODY_CHECK_S)
        self.assert_status(self.transport.value(), 408)

    def test_a_refused_body_is_not_answered_twice(self) -> None:
        self.ask(self.POST[:-4] + b"0\r\n\r\n", b"x")
        self.assert_status(self.transport.value(), 413)
        self.transport.clear()
        self.seconds(http_channel.BODY_CHECK_S + self.site.timeOut)
        self.assertEqual((self.transport.value(), self.site.limited), (b"", {}))

    def test_a_body_has_a_deadline(self) -> None:
        self.site.limits = http.HttpLimits(max_body=100, body_rate=1, body_timeout=30)
        self.ask(self.POST)
        for _ in range(30):
            self.assertFalse(self.transport.disconnecting)
            self.send(b"x")
            self.seconds(1)
        self.assertTrue(self.transport.disconnecting)

    def test_requests_in_one_piece_start_no_timer(self) -> None:
        self.ask(self.GET + b"\r\n" + self.POST + b"x" * 100)
        self.assertEqual(self.body, b"x" * 100)
        self.assertEqual(self.transport.protocol._receiving, http_channel.IDLE)


class LengthTests(WebTestCase):
    def test_a_length_of_thousands_of_digits_is_answered_400(self) -> None:
        for digits in (101, 5000):
            line = b"Content-Length: " + b"1" * digits
            self.assert_status(self.ask(b"POST / HTTP/1.1\r\n" + line + b"\r\n\r\n"), 400)
            self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.flushLoggedErrors(), [])


class ManyBodiesTests(WebTestCase):
    options = {  # noqa: RUF012  (never changed)
        "limits": HttpLimits(max_body=MAX_BODY, max_bodies=MAX_BODY)
    }

    def post(self, length: int) -> Any:
        transport = self.connect()
        transport.protocol.dataReceived(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length
        )
        return transport

    def test_bodies_beyond_the_limit_of_the_node_are_answered_503(self) -> None:
        first, second = self.post(90), self.post(90)
        first.protocol.dataReceived(b"x" * 80)
        second.protocol.dataReceived(b"x" * 21)
        self.assert_status(second.value(), 503)
        self.assertIn(b"\r\nRetry-After: 5\r\n", second.value())
        self.assertTrue(second.disconnecting)
        second.protocol.dataReceived(b"x" * 70)
        self.assertEqual(self.site.bodies.bytes, 80)
        first.protocol.dataReceived(b"x" * 10)
        self.settle()
        self.assert_status(first.value(), 200)
        self.assertEqual(self.body, b"x" * 90)
        self.assertEqual(self.site.bodies.bytes, 0)
        self.assertEqual(self.site.limited, {"request_bodies": 1})

    def test_large_bodies_leave_room_for_forms(self) -> None:
        self.patch(request_bodies, "SPOOL_BYTES", 10)
        self.site.limits = HttpLimits(max_body=MAX_BODY)
        self.site.bodies = request_bodies.RequestBodies(200, MAX_BODY, SocketLimits())
        self.site.bodies.sockets.is_exempt = lambda host: True  # type: ignore[method-assign]
        first, second, form = self.post(90), self.post(90), self.post(9)
        first.protocol.dataReceived(b"x" * 80)
        second.protocol.dataReceived(b"x" * 71)
        self.assert_status(second.value(), 503)
        form.protocol.dataReceived(b"x" * 9)
        self.settle()
        self.assert_status(form.value(), 200)
        first.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((self.site.bodies.bytes, self.site.bodies.files), (0, 0))

    def test_one_client_leaves_room_for_others(self) -> None:
        bodies = request_bodies.RequestBodies(1000, 100, SocketLimits())
        attack = [request_bodies.Body(bodies, "192.0.2.1") for _ in range(3)]
        for body in attack[:2]:
            body.write(b"x" * 100)
        self.assertRaises(request_bodies.NoRoomForBody, attack[2].write, b"x" * 100)
        for host in ("192.0.2.2", "127.0.0.1", "127.0.0.1", "127.0.0.1"):
            request_bodies.Body(bodies, host).write(b"x" * 100)
        for body in attack:
            body.close()
            body.close()
        self.assertEqual(bodies.bytes, 400)
        self.assertEqual(dict(bodies._clients), {"192.0.2.2": 100})

    def test_the_body_of_a_client_that_leaves_is_forgotten(self) -> None:
        transport = self.post(90)
        transport.protocol.dataReceived(b"x" * 80)
        transport.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.site.bodies.bytes, 0)

    def test_a_full_disk_is_answered_503(self) -> None:
        self.patch(request_bodies, "SPOOL_BYTES", 10)

        def full() -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(request_bodies.tempfile, "TemporaryFile", full)
        transport = self.post(90)
        transport.protocol.dataReceived(b"x" * 20)
        self.assert_status(transport.value(), 503)
        self.assertEqual(self.flushLoggedErrors(), [])


class BannerTests(WebTestCase):
    def test_no_answer_has_a_banner(self) -> None:
        for data in (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + request(),
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + request(b"Sec-WebSocket-Key: twice"),
        ):
            answer = self.ask(data).lower()
            self.assertTrue(answer.startswith(b"http/1.1 "), answer)
            for word in (b"server:", b"twisted", b"autobahn", b"c10k"):
                self.assertNotIn(word, answer)


class HeaderTests(WebTestCase):
    def get(self, *lines: bytes) -> bytes:
        return self.ask(b"\r\n".join((b"GET / HTTP/1.1", b"Host: a", *lines, b"", b"")))

    def test_header_names_with_underscores_are_dropped(self) -> None:
        self.get(b"X_Forwarded_For: 6.6.6.6", b"X-Forwarded-For: 1.2.3.4", b"Remote_User: root")
        self.assertEqual(self.environ["HTTP_X_FORWARDED_FOR"], "1.2.3.4")
        self.assertNotIn("HTTP_REMOTE_USER", self.environ)

    def test_proxy_headers_of_a_client_are_ignored(self) -> None:
        self.get(b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Proto: https")
        self.assertEqual(self.environ["REMOTE_ADDR"], "192.168.1.1")
        self.assertEqual(self.environ["wsgi.url_scheme"], "http")


class ProxyTests(WebTestCase):
    options = {"proxies": Proxies(["192.168.1.0/24"])}  # noqa: RUF012

    get = HeaderTests.get

    def test_the_proxys_headers_set_client_and_scheme(self) -> None:
        self.get(b"X-Forwarded-For: 6.6.6.6, 1.2.3.4", b"X-Forwarded-Proto: https")
        self.assertEqual(self.environ["REMOTE_ADDR"], "1.2.3.4")
        self.assertEqual(self.environ["wsgi.url_scheme"], "https")

    def test_the_last_header_is_that_of_the_proxy(self) -> None:
        self.get(
            b"X-Forwarded-For: 6.6.6.6",
            b"X-Forwarded-For: ::1",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Proto: http",
        )
        self.assertEqual(self.environ["REMOTE_ADDR"], "::1")
        self.assertEqual(self.environ["wsgi.url_scheme"], "http")

    def test_an_invalid_address_is_ignored(self) -> None:
        for value in (b"unknown", b"", b"1.2.3.4.5", b"evil\tname"):
            self.get(b"X-Forwarded-For: " + value)
            self.assertEqual(self.environ["REMOTE_ADDR"], "192.168.1.1")

    def test_headers_of_another_peer_are_ignored(self) -> None:
        self.site.proxies = Proxies(["10.0.0.0/8", "unix:"])
        self.get(b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Proto: https")
        self.assertEqual(self.environ["REMOTE_ADDR"], "192.168.1.1")
        self.assertEqual(self.environ["wsgi.url_scheme"], "http")

    def test_requests_of_one_client_are_limited(self) -> None:
        self.site.sockets = SocketLimits(per_client=1)
        answers = []
        for number in (1, 2, 1):
            transport = self.connect()
            transport.protocol.dataReceived(
                b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.%d\r\n\r\n" % number
            )
            answers.append(transport)
        self.assert_status(answers[2].value(), 429)
        self.assertFalse(answers[2].disconnecting, "other clients use the proxy's connection")
        self.settle()
        for transport in answers[:2]:
            self.assert_status(transport.value(), 200)
        self.assertEqual(dict(self.site.sockets._clients), {})
        self.assertEqual(self.site.sockets.refused, {"client": 1})

    def test_without_headers_the_peer_is_the_client(self) -> None:
        self.get()
        self.assertEqual(self.environ["REMOTE_ADDR"], "192.168.1.1")
        self.assertEqual(self.environ["wsgi.url_scheme"], "http")


class ResponseTests(WebTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.lines: list[tuple[str, int]] = []
        self.site.on_response = lambda request: self.lines.append((request.path, request.code))

    def lose(self) -> None:
        self.connection.protocol.connectionLost(Failure(ConnectionLost()))

    def request(self, application: Any) -> None:
        self.patch(self.site.views, "_application", application)
        self.connection = self.connect()
        self.connection.protocol.dataReceived(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")

    def test_a_client_that_leaves_after_the_response_is_logged_with_its_status(self) -> None:
        def application(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("404 Not Found", [("Content-Length", "2")])
            yield b"ok"
            self.lose()

        self.request(application)
        self.settle()
        self.assertEqual(self.lines, [(b"/a", 404)])

    def test_a_client_that_leaves_before_the_response_is_logged_with_499(self) -> None:
        def application(environ: Any, start_response: Any) -> Iterable[bytes]:
            self.lose()
            start_response("200 OK", [])
            return []

        self.request(application)
        self.settle()
        self.assertEqual(self.lines, [(b"/a", 499)])

    def test_a_request_is_logged_once(self) -> None:
        def application(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]

        self.request(application)
        self.settle()
        self.lose()
        self.assertEqual(self.lines, [(b"/a", 200)])

    def test_a_body_that_is_too_large_is_logged(self) -> None:
        self.connection = self.connect()
        self.connection.protocol.dataReceived(
            b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
        )
        self.lose()
        self.assertEqual(self.lines, [])  # the request's line is not known yet


class UpgradeRequiredTests(WebTestCase):
    def application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("426 Upgrade Required", [("Content-Length", "0")])
        return []

    def test_a_426_response_has_the_upgrade_header(self) -> None:
        answer = self.ask(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertIn(b"\r\nUpgrade: websocket\r\n", answer)
        self.assertIn(b"\r\nConnection: Upgrade\r\n", answer)


class UpgradeTests(WebTestCase):
    GET = QueueTests.GET

    def assert_echoes(self, answer: bytes, *expected: str) -> None:
        _, _, second = answer.partition(b"ok")
        self.assert_status(second, 101)
        self.assertEqual(self.got, list(expected))
        self.transport.protocol.dataReceived(text("later"))
        self.assertEqual(self.got, [*expected, "later"])

    def test_the_second_request_may_be_an_upgrade(self) -> None:
        transport = self.connect()
        transport.protocol.dataReceived(self.GET)
        self.settle()
        transport.protocol.dataReceived(request())
        self.settle()
        self.transport = transport
        self.assert_echoes(transport.value())
        self.assertIsInstance(transport.protocol, ServerConnection)
        self.assertIsNone(self.site.views.active or None)

    def test_frames_after_the_upgrade_are_received(self) -> None:
        transport = self.connect()
        transport.protocol.dataReceived(self.GET)
        self.settle()
        transport.protocol.dataReceived(request() + text("a") + text("b")[:3])
        self.settle()
        transport.protocol.dataReceived(text("b")[3:])
        self.transport = transport
        self.assert_echoes(transport.value(), "a", "b")

    def test_requests_and_frames_may_arrive_together(self) -> None:
        answer = self.ask(self.GET + request() + text("a"))
        self.assert_echoes(answer, "a")

    def test_an_upgrade_may_arrive_before_the_first_response(self) -> None:
        answer = self.ask(self.GET, request(), text("a"), text("b"))
        self.assert_echoes(answer, "a", "b")

    def test_no_http_timeout_remains(self) -> None:
        self.ask(self.GET + request() + text("a"))
        self.connection_factory.connections.pop().connectionLost(Failure(ConnectionLost()))
        for call in self.reactor.getDelayedCalls():
            self.assertNotIn("HTTP", repr(call.func), call)

    def test_subprotocol_and_cookies_are_passed_on(self) -> None:
        seen: list[Any] = []
        self.connection_factory.on_request = lambda connection, wanted: seen.append(wanted)
        self.ask(self.GET + request(b"Cookie: a=b", b"Sec-WebSocket-Protocol: x, y"))
        self.assertEqual(seen[0].headers["cookie"], "a=b")
        self.assertEqual(seen[0].protocols, ["x", "y"])
        self.assertEqual(seen[0].path, "/ws")

    def test_a_bad_upgrade_is_refused(self) -> None:
        answer = self.ask(self.GET + request().replace(b"Version: 13", b"Version: 12"))
        _, _, second = answer.partition(b"ok")
        self.assert_status(second, 400)
        self.assertTrue(self.transport.disconnecting or self.transport.disconnected)

    def test_control_bytes_in_a_header_are_refused(self) -> None:
        for byte in (b"\0", b"\r", b"\n "):
            answer = self.ask(self.GET + request(b"X: a" + byte + b"Origin: b"))
            self.assertNotIn(b" 101 ", answer, byte)
        self.assertEqual(self.connection_factory.connections, set())
