"""A node's socket for external publishers."""

import os
import shutil
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.wire.external_publisher import (
    Accepted,
    Closing,
    ExternalMessage,
    Greeting,
    MessageDecoder,
    Publish,
    Rejection,
    encode,
)
from cluster.net.websocket.frames import binary_frame, text_frame
from cluster.node.publishing.publications import ExternalPublications
from cluster.node.publishing.publish_socket import (
    GOODBYE_TIMEOUT_S,
    PublisherConnection,
    PublishSocket,
)

HELLO = Publish(b"live", text_frame(b"hello"))


class RecordingPubSub:
    """Records publications, or raises ``raises`` if it is set."""

    def __init__(self) -> None:
        self.full = False
        self.published: list[tuple[Any, ...]] = []
        self.raises: Exception | None = None

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        if self.raises is not None:
            raise self.raises
        self.published.append((topic, frame))
        return 2, 5

    def publish_here(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        self.published.append(("here", topic, frame))
        return 1, 0

    def publish_retained(
        self, topic: bytes, frame: bytes, depth: int, lifetime: int
    ) -> tuple[int, int]:
        self.published.append((topic, frame, depth, lifetime))
        return 3, 0


class Port:
    def __init__(self, path: str) -> None:
        self.path = path
        self.stopped: Deferred[None] = Deferred()

    def stopListening(self) -> "Deferred[None]":
        return self.stopped


class Reactor(Clock):
    """Records the paths of listenUNIX."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Port] = []
        self.factory: Any = None
        self.mode = 0

    def listenUNIX(self, path: str, factory: Any, mode: int) -> Port:
        assert not os.path.lexists(path), "bind would fail"
        self.factory, self.mode = factory, mode
        self.ports.append(Port(path))
        return self.ports[-1]


class PublishSocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="c10k-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.pubsub = RecordingPubSub()
        self.reactor = Reactor()
        path = os.path.join(self.folder, "publish-0.sock")
        self.publications = ExternalPublications(self.pubsub)
        self.socket = PublishSocket(path, self.publications, self.reactor)

    def connect(self) -> tuple[PublisherConnection, StringTransport]:
        if not self.reactor.ports:
            self.socket.start("ours")
        connection = self.reactor.factory.buildProtocol(None)
        transport = StringTransport()
        connection.makeConnection(transport)
        self.assertEqual(self.answers(transport), [Greeting("ours")])
        return connection, transport

    def answers(self, transport: StringTransport) -> list[ExternalMessage]:
        answers = MessageDecoder().feed(transport.value())
        transport.clear()
        return answers

    def refuse(self, data: bytes, because: str) -> None:
        connection, transport = self.connect()
        connection.dataReceived(data)
        (refusal,) = self.answers(transport)
        assert isinstance(refusal, Rejection)
        self.assertIn(because, refusal.reason)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.pubsub.published, [])

    def test_publications_and_their_receipts(self) -> None:
        connection, transport = self.connect()
        self.assertEqual(self.reactor.mode, 0o600)
        kept = Publish(b"chat", binary_frame(b"\xff" * 70000), 15, 3_600_000)
        data = encode(HELLO) + encode(kept)
        for at in range(0, len(data), 30000):
            connection.dataReceived(data[at : at + 30000])
        self.assertEqual(self.answers(transport), [Accepted(2, 5), Accepted(3, 0)])
        self.assertEqual(
            self.pubsub.published, [(b"live", HELLO.frame), (b"chat", kept.frame, 15, 3_600_000)]
        )
        self.assertEqual(self.publications.published, 2)

    def test_a_publication_for_one_node(self) -> None:
        connection, transport = self.connect()
        publication = Publish(b"c10k/here/x", text_frame(b"x"), 0, 0)
        connection.dataReceived(encode(publication))
        self.assertEqual(self.answers(transport), [Accepted(1, 0)])
        self.assertEqual(self.pubsub.published, [("here", b"c10k/here/x", publication.frame)])

    def test_the_socket_of_a_killed_process_is_replaced(self) -> None:
        with open(os.path.join(self.folder, "publish-0.sock"), "w"):
            pass
        self.connect()
        self.assertEqual(len(self.reactor.ports), 1)

    def test_invalid_messages_are_rejected(self) -> None:
        self.refuse(b"GET / HTTP/1.1\r\n\r\n", "this is no publication")
        self.refuse(encode(Accepted(1, 1)), "only nodes send Accepted")
        for frame in (b"", b"\x81", b"\x88\x00", b"\xc1\x01a"):
            self.refuse(encode(Publish(b"t", frame)), "no frame")
        for frame in (b"\x81\x05abc", b"\x81\x01abc", b"\x82\x7e\x00\x01a"):
            self.refuse(encode(Publish(b"t", frame)), "length is wrong")
        self.refuse(encode(Publish(b"t", text_frame(b"\xff"))), "not UTF-8")

    def test_an_internal_error_is_logged_and_answered(self) -> None:
        connection, transport = self.connect()
        self.pubsub.raises = ZeroDivisionError()
        connection.dataReceived(encode(HELLO))
        (refusal,) = self.answers(transport)
        assert isinstance(refusal, Rejection)
        self.assertIn("internal error", refusal.reason)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(transport.disconnecting)
        connection, transport = self.connect()
        self.pubsub.raises = None
        connection.dataReceived(encode(HELLO))
        self.assertEqual(self.answers(transport), [Accepted(2, 5)])

    def test_nothing_is_read_or_published_while_publishers_must_pause(self) -> None:
        connection, transport = self.connect()
        self.pubsub.full = True
        connection.dataReceived(encode(HELLO) * 2)
        self.assertEqual((self.answers(transport), self.pubsub.published), ([], []))
        self.assertEqual(transport.producerState, "paused")
        self.pubsub.full = False
        self.socket.resume()
        self.assertEqual(self.answers(transport), [Accepted(2, 5)] * 2)
        self.assertEqual(transport.producerState, "producing")

    def test_a_publisher_may_leave_during_the_pause(self) -> None:
        connection, _ = self.connect()
        self.pubsub.full = True
        connection.dataReceived(encode(HELLO))
        connection.connectionLost(Failure(ConnectionDone()))
        self.pubsub.full = False
        self.socket.resume()
        self.assertEqual(self.pubsub.published, [])
        self.assertEqual(self.socket.connections, set())

    def test_stop_sends_closing_and_leaves_later_publications_unanswered(self) -> None:
        first, transport = self.connect()
        second, idle = self.connect()
        first.dataReceived(encode(HELLO))
        self.pubsub.full = True
        first.dataReceived(encode(HELLO))
        stopped = self.socket.stop()
        third, late = self.connect()  # the connection was waiting for accept
        self.assertNoResult(stopped)
        self.reactor.ports[0].stopped.callback(None)
        self.assertEqual(self.answers(transport), [Accepted(2, 5), Closing()])
        self.assertEqual(self.answers(idle), [Closing()])
        self.assertEqual(self.answers(late), [Closing()])
        self.assertTrue(transport.disconnecting and idle.disconnecting)
        # A reactor that stops closes connections even if output is left.
        self.assertNoResult(stopped)
        for connection in (first, second, third):
            self.assertNoResult(stopped)
            connection.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(stopped)
        self.pubsub.full = False
        self.socket.resume()
        self.assertEqual(len(self.pubsub.published), 1)

    def test_stop_does_not_wait_for_a_publisher_that_does_not_read(self) -> None:
        connection, _ = self.connect()
        stopped = self.socket.stop()
        self.reactor.ports[0].stopped.callback(None)
        self.reactor.advance(GOODBYE_TIMEOUT_S)
        self.successResultOf(stopped)
        connection.connectionLost(Failure(ConnectionDone()))

    def test_stop_succeeds_if_the_folder_is_gone(self) -> None:
        """The folder of a login session is removed when the session ends."""
        _, transport = self.connect()
        stopped = self.socket.stop()
        self.reactor.ports[0].stopped.errback(FileNotFoundError(2, "No such file or directory"))
        self.assertEqual(self.answers(transport), [Closing()])
        self.reactor.advance(GOODBYE_TIMEOUT_S)
        self.successResultOf(stopped)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stop_is_allowed_before_start(self) -> None:
        self.successResultOf(self.socket.stop())
