"""Tests of cluster.node.responses.stream: a thread that writes faster than its client reads."""

from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from threading import Condition, Thread
from typing import Any

from twisted.python.failure import Failure

from cluster.node.responses import stream
from tests.node.responses.socket_case import SocketTestCase

PATIENCE_S = 60
PIECE = b"x" * 10_000
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class StreamTests(SocketTestCase):
    """The application runs in a thread. Its calls wait in ``events`` until the test makes them."""

    def setUp(self) -> None:
        super().setUp()
        self.events: SimpleQueue[Any] = SimpleQueue()
        events = self.events

        class Noticed(Condition):
            def wait(self, timeout: float | None = None) -> bool:
                events.put("waits")
                return super().wait(timeout)

        self.patch(stream, "Condition", Noticed)
        self.reactor.callFromThread = lambda *call: events.put(call)  # type: ignore[method-assign]
        self.made = 0
        self.count = 1_000
        self.is_closed = False

    def application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(self.count * len(PIECE)))])
        return self.pieces()

    def pieces(self) -> Iterator[bytes]:
        try:
            for _ in range(self.count):
                self.made += 1
                yield PIECE
        finally:
            self.is_closed = True

    def start(self) -> None:
        self.protocol.dataReceived(GET)
        function, *args = self.pool.waiting.pop()

        def run() -> None:
            function(*args)
            self.events.put("ends")

        thread = Thread(target=run)
        thread.start()
        self.addCleanup(thread.join, PATIENCE_S)

    def until(self, expected: str, is_full: bool = False) -> None:
        """Make the calls of the thread until it waits or ends."""
        while True:
            event = self.events.get(timeout=PATIENCE_S)
            if event == expected and self.events.empty():
                if not is_full or self.protocol._requestProducer._is_full:
                    return
            elif event == "ends":
                self.fail("the application has ended")
            if not isinstance(event, str):
                function, *args = event
                function(*args)

    def test_the_thread_waits_for_a_client_that_does_not_read(self) -> None:
        self.start()
        self.until("waits", is_full=True)
        held = len(self.server.dataBuffer) + self.server._tempDataLen
        self.assertLess(held, self.server.bufferSize + stream.AHEAD + 2 * len(PIECE))
        self.assertLess(self.made * len(PIECE), held + stream.AHEAD + 2 * len(PIECE))
        self.server.connectionLost(Failure(ConnectionError()))
        self.until("ends")
        self.assertTrue(self.is_closed)
        self.assertEqual(self.site.views.active, 0)

    def test_everything_arrives(self) -> None:
        self.start()
        while (event := self.events.get(timeout=PATIENCE_S)) != "ends":
            if event != "waits":
                function, *args = event
                function(*args)
                self.read_all()
        self.assertTrue(self.arrived == PIECE * self.count)
        self.assertTrue(self.is_closed)
        self.assertEqual(self.protocol.requests, [])
