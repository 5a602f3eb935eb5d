"""Tests of cluster.node.responses.file_body on a real socket, whose writing the test calls."""

import errno
from pathlib import Path
from unittest import mock

from django.core.handlers.wsgi import WSGIHandler
from twisted.python.failure import Failure
from whitenoise import WhiteNoise

from cluster.node import http_channel
from cluster.node.responses import file_body
from cluster.node.responses.static_files import StaticFiles
from tests.django.site import load_site
from tests.node.responses.socket_case import SocketTestCase

load_site()

CONTENT = bytes(range(256)) * 8192  # 2 MB
GET = b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n"


class FileBodyTests(SocketTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        (self.folder / "large.bin").write_bytes(CONTENT)
        self.static_files = StaticFiles(WhiteNoise(WSGIHandler(), root=self.folder))
        self.site.on_static_file = self.static_files.take

    def test_the_whole_file_arrives(self) -> None:
        lengths: list[int] = []
        self.site.on_response = lambda request: lengths.append(request.sentLength)
        self.protocol.dataReceived(GET)
        self.read_all()
        self.assertEqual(self.arrived, CONTENT)
        self.assertEqual(self.protocol.requests, [])
        self.received = b""
        self.protocol.dataReceived(GET)
        self.read_all()
        self.assertEqual(self.arrived, CONTENT)
        self.assertEqual(lengths, [len(CONTENT)] * 2)

    def test_the_node_holds_no_bytes_for_a_client_that_does_not_read(self) -> None:
        self.protocol.dataReceived(GET)
        for _ in range(100):  # more turns than the kernel has room for pieces
            self.turn()
        self.assertEqual(len(self.server.dataBuffer) + self.server._tempDataLen, 0)
        self.assertEqual(len(self.protocol.requests), 1)
        self.read_all()
        self.assertEqual(self.arrived, CONTENT)

    def test_a_turn_sends_one_piece(self) -> None:
        self.patch(file_body, "PIECE", 1000)
        self.protocol.dataReceived(GET)
        self.read()
        self.assertEqual(len(self.arrived), 1000)
        self.turn()
        self.read()
        self.assertEqual(len(self.arrived), 2000)

    def test_pipelined_requests(self) -> None:
        self.protocol.dataReceived(GET * 3)
        self.read_all()
        parts = self.received.split(b"HTTP/1.1 200 OK\r\n")
        self.assertEqual([part[-len(CONTENT) :] == CONTENT for part in parts[1:]], [True] * 3)

    def test_a_range_takes_several_turns(self) -> None:
        self.patch(file_body, "PIECE", 100_000)
        self.protocol.dataReceived(GET[:-2] + b"Range: bytes=7-1999999\r\n\r\n")
        file = self.protocol._requestProducer._file
        self.turn()
        self.assertFalse(file.closed)
        self.read_all()
        self.assertTrue(self.received.startswith(b"HTTP/1.1 206 "))
        self.assertEqual(self.arrived, CONTENT[7:2_000_000])

    def test_a_file_that_cannot_be_read_any_more_is_opened_again(self) -> None:
        aborted: list[bool] = []
        self.patch(self.server, "abortConnection", lambda: aborted.append(True))

        def fails(*args: object) -> int:
            raise OSError(errno.ESTALE, "stale")

        with mock.patch("os.sendfile", fails):
            self.protocol.dataReceived(GET)
        self.assertEqual(aborted, [True])
        (self.folder / "large.bin").unlink()
        self.assertFalse(self.static_files._open_files._files)

    def test_a_client_that_reads_nothing_is_disconnected(self) -> None:
        aborted: list[bool] = []
        self.patch(self.server, "abortConnection", lambda: aborted.append(True))
        self.protocol.dataReceived(GET)
        for _ in range(3):
            for _ in range(100):
                self.turn()
            self.read()  # it reads a little
            self.reactor.advance(http_channel.STALLED_S)
        self.assertEqual(aborted, [])
        for _ in range(100):
            self.turn()
        self.reactor.advance(http_channel.STALLED_S)
        self.reactor.advance(http_channel.STALLED_S)
        self.assertEqual(aborted, [True])
        self.assertEqual(self.site.limited, {"slow_reader": 1})

    def test_a_client_that_leaves_closes_the_file(self) -> None:
        self.protocol.dataReceived(GET)
        file = self.protocol._requestProducer._file
        self.turn()
        self.static_files.close()
        self.assertFalse(file.closed)  # the response reads it
        self.server.connectionLost(Failure(ConnectionError()))
        self.assertTrue(file.closed)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_file_that_has_become_shorter_ends_the_connection(self) -> None:
        (self.folder / "large.bin").write_bytes(CONTENT[:1000])
        aborted: list[bool] = []
        self.patch(self.server, "abortConnection", lambda: aborted.append(True))
        self.protocol.dataReceived(GET)
        self.read_all()
        self.assertEqual((self.arrived, aborted), (CONTENT[:1000], [True]))
