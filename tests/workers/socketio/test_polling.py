"""A connection by long polling, whose server is the test."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from workers.socketio.polling import HttpConnection, PollingConnection

OPEN = b'0{"sid":"abc","upgrades":[]}'


class PollingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.http: list[HttpConnection] = []
        self.events: list[Any] = []
        self.connection = PollingConnection(self.clock, self.dial, "/x/?EIO=4", "host:1", 5.0)
        self.connection.opened = lambda: self.events.append("opened")
        self.connection.received = lambda packets: self.events.extend(packets)
        self.connection.closed = lambda *how: self.events.append(how)
        self.connection.start()

    def dial(self) -> "Deferred[HttpConnection]":
        made = HttpConnection()
        transport = StringTransportWithDisconnection()
        transport.protocol = made
        transport.setTcpNoDelay = lambda on: None
        made.makeConnection(transport)
        self.http.append(made)
        return succeed(made)

    def sent(self, which: int) -> bytes:
        """What one TCP connection has sent since the last call."""
        transport = self.http[which].transport
        found: bytes = transport.value()
        transport.clear()
        return found

    def answer(self, which: int, body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> None:
        head = b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, more, len(body))
        self.http[which].dataReceived(head + body)

    def open(self) -> None:
        self.assertEqual(self.sent(0), b"GET /x/?EIO=4 HTTP/1.1\r\nHost: host:1\r\n\r\n")
        self.answer(0, OPEN)
        self.assertEqual(self.events, ["opened", OPEN])
        self.events.clear()
        self.assertTrue(self.sent(0).startswith(b"GET /x/?EIO=4&sid=abc "))

    def test_packets_of_the_server(self) -> None:
        self.open()
        self.answer(0, b"2\x1e4hello")
        self.assertEqual(self.events, [b"2", b"4hello"])
        self.assertTrue(self.sent(0).startswith(b"GET "))

    def test_packets_wait_for_the_answer_to_a_post(self) -> None:
        self.open()
        for packet in (b"4one", b"4two", b"4three"):
            self.connection.send(packet)
        self.assertTrue(self.sent(1).endswith(b"\r\n\r\n4one"))
        self.answer(1, b"ok")
        self.assertTrue(self.sent(1).endswith(b"Content-Length: 11\r\n\r\n4two\x1e4three"))
        self.assertEqual(len(self.http), 2)

    def test_a_connection_that_the_server_closes_is_opened_again(self) -> None:
        self.open()
        self.answer(0, b"2", more=b"Connection: close\r\n")
        self.assertTrue(self.sent(1).startswith(b"GET "))

    def test_close(self) -> None:
        self.open()
        self.connection.close()
        self.assertTrue(self.sent(1).endswith(b"\r\n\r\n1"))
        self.answer(1, b"ok")
        self.assertEqual(self.events, [(1000, "", True)])

    def test_lost(self) -> None:
        self.open()
        self.http[0].transport.loseConnection()
        self.assertEqual(self.events, [(1006, "connection lost (1006)", False)])

    def test_refused(self) -> None:
        self.answer(0, b'{"code":4}', b"403 Forbidden")
        self.assertEqual(self.events, [(1006, 'upgrade failed [403]: {"code":4})', False)])

    def test_no_answer(self) -> None:
        self.clock.advance(5)
        self.assertEqual(self.events, [(1006, "no answer in time", False)])

    def test_abort(self) -> None:
        self.open()
        self.connection.abort()
        self.clock.advance(0)
        self.assertEqual(self.events, [(1006, "", False)])
