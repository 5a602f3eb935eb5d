"""Requests on an HTTP connection whose session belongs to another process."""

import socket
from typing import Any

from cluster.net.handover.session_ids import session_id_of
from cluster.node.http_channel import BoundedChannel
from cluster.node.http_request import BoundedRequest
from tests.node import test_http
from tests.node.test_http import MAX_BODY, WebTestCase

SID = b"there_" + b"x" * 14
TARGET = b"/socket.io/?EIO=4&sid=" + SID


class RecordingHandover:
    """Takes all requests with session ids, and records what is handed over."""

    def __init__(self) -> None:
        self.given: list[tuple[bytes, bytes, bytes]] = []
        self.bodies: list[Any] = []
        self.transports: list[Any] = []
        self.others: list[socket.socket] = []

    def connect(self, target: bytes) -> socket.socket | None:
        if session_id_of(target) is None:
            return None
        self.others.append(socket.socket(socket.AF_UNIX))
        return self.others[-1]

    def give(
        self, transport: Any, other: Any, request: bytes, body: Any, size: int, rest: bytes
    ) -> None:
        other.close()
        content = body.read()
        assert len(content) == size
        body.close()
        self.given.append((request, content, rest))
        self.transports.append(transport)


class HandoverTests(WebTestCase):
    GET = test_http.QueueTests.GET
    HEADER = b" " + TARGET + b" HTTP/1.1\r\nHost: localhost\r\n"

    def setUp(self) -> None:
        super().setUp()
        self.handover: Any = RecordingHandover()
        self.site.handover = self.handover

    def assert_given(self, header: bytes, body: bytes = b"", rest: bytes = b"") -> None:
        ((found, content, remaining),) = self.handover.given
        self.assertEqual((found, content, remaining), (header, body, rest))
        self.assertEqual(self.handover.transports, [self.transport])
        self.assertIsNone(self.transport.producer)
        self.assertEqual(self.site.channels, set())
        self.assertEqual((self.site.bodies.bytes, self.site.bodies.files), (0, 0))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_later_request(self) -> None:
        answer = self.ask(self.GET, b"GET" + self.HEADER + b"\r\n")
        self.assertEqual(answer.count(b"HTTP/1.1 200"), 1)
        self.assert_given(b"GET" + self.HEADER + b"\r\n")

    def test_a_body_and_what_follows(self) -> None:
        header = b"POST" + self.HEADER + b"Content-Length: 4\r\n\r\n"
        self.ask(self.GET + header + b"body" + self.GET)
        self.assert_given(header, b"body", self.GET)

    def test_a_body_in_chunks_has_a_length(self) -> None:
        header = b"POST" + self.HEADER
        self.ask(
            self.GET + header + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
        )
        self.assert_given(header + b"Content-Length: 4\r\n\r\n", b"body")

    def test_the_client_has_been_asked_for_its_body(self) -> None:
        header = b"POST" + self.HEADER + b"Content-Length: 4\r\n"
        answer = self.ask(self.GET + header + b"Expect: 100-continue\r\n\r\n", b"body")
        self.assertEqual(answer.count(b"100 Continue"), 1)
        self.assert_given(header + b"\r\n", b"body")

    def test_an_upgrade(self) -> None:
        header = b"GET" + self.HEADER + b"Upgrade: websocket\r\n\r\n"
        self.ask(self.GET + header + b"frames")
        self.assert_given(header, rest=b"frames")

    def test_a_body_that_is_too_large_is_refused_here(self) -> None:
        header = b"POST" + self.HEADER + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1)
        self.assertIn(b"HTTP/1.1 413 ", self.ask(self.GET + header))
        self.assertEqual(self.handover.given, [])

    def test_a_header_that_cannot_be_written_is_served_here(self) -> None:
        """Twisted refuses such headers; its older versions did not."""
        self.patch(BoundedRequest, "_header_bytes", lambda request: None)
        self.ask(self.GET + b"GET" + self.HEADER + b"\r\n")
        self.assertEqual(self.handover.given, [])
        self.assertEqual([other.fileno() for other in self.handover.others], [-1])

    def test_protocol_detection_has_seen_the_first_request(self) -> None:
        self.assert_status(self.ask(b"GET" + self.HEADER + b"\r\n"), 200)
        self.assertEqual(self.handover.given, [])

    def test_other_requests_are_served_here(self) -> None:
        for target in (b"/?EIO=4", b"/?sid=" + SID):
            answer = self.ask(self.GET + b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assert_status(answer, 200)
        self.site.handover = None
        self.assert_status(self.ask(self.GET + b"GET" + self.HEADER + b"\r\n"), 200)


class SecureTests(WebTestCase):
    def test_another_process_has_decrypted_the_connection(self) -> None:
        for is_secure in (False, True):
            channel = self.connect().protocol
            assert isinstance(channel, BoundedChannel)
            transport: Any = channel.transport
            transport.is_secure = is_secure
            self.assertEqual([channel.isSecure() for _ in range(2)], [is_secure] * 2)
