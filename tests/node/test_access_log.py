"""Tests of cluster.node.access_log."""

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from cluster.node import access_log
from cluster.node.access_log import AccessLog
from tests.net.websocket.connections import Application
from tests.net.websocket.wire import close, frame, request, text
from tests.node.test_http import WebTestCase

PING = frame(9)


class AccessLogTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        self.patch(access_log, "_log", Logger("cluster.access", observer=observer))

    @property
    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.events]


class HttpTests(AccessLogTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(100.5)
        self.request: Any = SimpleNamespace(
            began=100.25,
            feed=None,
            code=200,
            method=b"GET",
            uri=b"/caf\xe9?q=1",
            sentLength=5120,
            getClientIP=lambda: "192.0.2.7",
            getHeader={b"user-agent": b"curl"}.get,
        )

    def test_a_request(self) -> None:
        AccessLog(self.clock).http(self.request)
        self.assertEqual(self.lines, ["192.0.2.7 GET /café?q=1 200 5120 0.250"])
        event = self.events[0]
        self.assertEqual(event["log_namespace"], "cluster.access")
        self.assertEqual((event["kind"], event["user_agent"]), ("http", "curl"))

    def test_a_client_of_a_feed(self) -> None:
        self.request.feed = ("stream", SimpleNamespace(sent=31))
        AccessLog(self.clock).http(self.request)
        self.assertEqual(self.lines, ["192.0.2.7 GET /café?q=1 200 5120 0.250 stream 31"])


class RequestTests(WebTestCase):
    def test_a_user_agent_that_is_not_utf_8_ends_no_response(self) -> None:
        """An exception here would leave the connection without its next response."""
        events: list[LogEvent] = []
        observer: Any = events.append
        self.patch(access_log, "_log", Logger("cluster.access", observer=observer))
        self.site.on_response = AccessLog(self.reactor).http
        one = b"GET /x HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\r\n\r\n"
        self.assertEqual(self.ask(one + one).count(b"HTTP/1.1 200"), 2)
        self.assertEqual([event["user_agent"] for event in events], [r"\xff"] * 2)


class WebSocketTests(AccessLogTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.application = Application(is_counted=True)
        AccessLog(self.application.clock).watch(self.application.factory)

    def test_a_connection(self) -> None:
        connection: Any = self.application.connect()[0]
        connection.dataReceived(request() + text("early"))
        self.application.clock.advance(2)
        connection.dataReceived(text("one") + text("two")[:3])
        connection.dataReceived(text("two")[3:] + PING)
        connection.owner = SimpleNamespace(client="192.0.2.7", headers={"user-agent": "curl"})
        connection.send_frame(b"\x81\x02ok")
        connection.send_frame(b"\x81\x02ok")
        self.application.clock.advance(0)
        connection.dataReceived(close(1000))
        self.application.lose(connection)
        size = sum(map(len, (text("early"), text("one"), text("two"), PING, close(1000))))
        (line,) = self.lines
        self.assertEqual(line, f"192.0.2.7 WEBSOCKET /ws 1000 8 2.000 in 3/{size} out 2/8")
        self.assertEqual(self.events[0]["user_agent"], "curl")
        self.assertEqual(self.application.events[-1], ("closed", 1000, True))

    def test_bytes_that_wait_are_counted_once(self) -> None:
        connection: Any = self.application.open()[0]
        connection.pause("slow")
        connection.dataReceived(text("one"))
        connection.dataReceived(text("two"))
        self.assertEqual((connection.counts.messages_in, connection.counts.bytes_in), (0, 0))
        connection.resume("slow")
        self.application.clock.advance(0)
        size = len(text("one") + text("two"))
        self.assertEqual((connection.counts.messages_in, connection.counts.bytes_in), (2, size))

    def test_the_frames_of_a_history_are_counted(self) -> None:
        connection: Any = self.application.open()[0]
        connection.send_history([b"x" * 10] * 3)
        connection.send_history([b"x" * 30_000] * 2)
        self.application.clock.pump([0] * 10)
        counts = connection.counts
        self.assertEqual((counts.messages_out, counts.bytes_out), (5, 60_030))

    def test_a_refused_handshake_has_its_status(self) -> None:
        connection: Any = self.application.connect()[0]
        connection.dataReceived(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        (line,) = self.lines
        self.assertRegex(line, r" WEBSOCKET \S+ 426 0 0\.000 in 0/0 out 0/0$")
