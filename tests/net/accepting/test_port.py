"""The port with real sockets: what it accepts, refuses and counts."""

import errno
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.logs.rate_limit import BURST, INTERVAL_S
from cluster.net.accepting.port import PAUSE_S, Port
from cluster.net.accepting.refused import (
    DEFERRED_STREAM,
    MAX_WAITING,
    RESPONSE,
    WAIT_S,
    RefusedConnections,
)
from cluster.net.accepting.socket_limits import SocketLimits


class Reactor(Clock):
    """A clock whose test reads and writes for the sockets."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.writers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def addWriter(self, writer: Any) -> None:
        if writer not in self.writers:
            self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        if writer in self.writers:
            self.writers.remove(writer)

    def turn(self) -> None:
        """One turn of the event loop."""
        for what, each_call in ((self.readers, "doRead"), (self.writers, "doWrite")):
            for descriptor in list(what):
                reason = getattr(descriptor, each_call)()
                if isinstance(reason, Exception):
                    self.removeReader(descriptor)
                    self.removeWriter(descriptor)
                    descriptor.connectionLost(Failure(reason))
        self.advance(0)


class Greeting(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")


class PortTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.limits = SocketLimits()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.where: Any = self.listening.getsockname()
        self.start()

    def start(self) -> None:
        self.port = Port(self.reactor, self.listening, Factory.forProtocol(Greeting), self.limits)
        self.port.startListening()
        self.addCleanup(self.port.stopListening)

    def connect(self) -> socket.socket:
        client = socket.socket(self.listening.family)
        self.addCleanup(client.close)
        client.connect(self.where)
        return client

    def come_and_go(self) -> None:
        """Clients are counted from the accept to the end of their connections."""
        clients = [self.connect() for _ in range(3)]
        self.turns()
        self.assertEqual(self.limits.open, 3)
        for client in clients:
            self.assertEqual(client.recv(5), b"hello")
            client.close()
        self.turns()
        self.assertEqual(self.limits.open, 0)

    def turns(self, count: int = 3) -> None:
        for _ in range(count):
            self.reactor.turn()

    def received(self, client: socket.socket) -> bytes:
        client.settimeout(5)
        data = b""
        while more := client.recv(65536):
            data += more
        return data


class AcceptTests(PortTestCase):
    def test_connections_are_counted_until_they_are_closed(self) -> None:
        self.come_and_go()

    def test_a_connection_that_this_side_aborts(self) -> None:
        self.connect()
        self.turns()
        (transport,) = [each for each in self.reactor.readers if each is not self.port]
        transport.abortConnection()
        transport.abortConnection()
        self.turns()
        self.assertEqual(self.limits.open, 0)

    def test_a_protocol_that_cannot_be_made_is_logged(self) -> None:
        self.port.factory.buildProtocol = lambda addr: 1 / 0
        client = self.connect()
        self.turns()
        self.assertEqual(self.received(client), b"")
        self.assertEqual(self.limits.open, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_protocol_that_fails_at_once_is_disconnected(self) -> None:
        class Broken(Protocol):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        self.port.factory = Factory.forProtocol(Broken)
        client = self.connect()
        self.turns()
        self.assertRaises(ConnectionResetError, self.received, client)
        self.assertEqual((self.limits.open, self.reactor.readers), (0, [self.port]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        client = self.connect()
        self.turns()
        self.port.stopListening()
        self.port.connectionLost(None)
        self.assertRaises(ConnectionRefusedError, self.connect)
        self.assertEqual(client.recv(5), b"hello", "an open connection stays open")


class RefusalTests(PortTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.limits.highest = 0

    def test_503_after_the_request(self) -> None:
        client = self.connect()
        self.turns()
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.turns()
        self.assertEqual(self.received(client), RESPONSE)
        self.turns()
        self.assertEqual(self.limits.refused, {"descriptors": 1})
        self.assertEqual((self.limits.open, self.port._refused.waiting), (0, 0))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_an_event_source_connects_again(self) -> None:
        client = self.connect()
        client.sendall(b"GET / HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n")
        self.turns()
        self.assertEqual(self.received(client), DEFERRED_STREAM)

    def test_a_silent_client_is_answered_too(self) -> None:
        client = self.connect()
        self.turns()
        self.reactor.advance(WAIT_S)
        self.turns()
        self.assertEqual(self.received(client), RESPONSE)

    def test_further_clients_are_answered_at_once(self) -> None:
        clients = [self.connect() for _ in range(MAX_WAITING + 5)]
        self.turns()
        self.assertEqual(self.port._refused.waiting, MAX_WAITING)
        for client in clients[MAX_WAITING:]:
            self.assertEqual(self.received(client), RESPONSE)
        for client in clients:
            client.close()
        self.turns()
        self.assertEqual(self.port._refused.waiting, 0)

    def test_many_refusals_are_summarised_in_the_log(self) -> None:
        lines: list[str | None] = []
        observer: Any = lambda event: lines.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(BURST + 3):
            self.connect()
        self.turns()
        line = "refused a connection of 127.0.0.1 because of the limit 'descriptors'"
        self.assertEqual(lines, [line] * BURST)
        self.reactor.advance(INTERVAL_S)
        self.assertEqual(lines[BURST:], ["refused connections: … and 3 more (descriptors)"])
        for _ in range(BURST + 2):
            self.connect()
        self.turns()
        self.port.stopListening()
        self.assertIn("refused connections: … and 2 more (descriptors)", lines)


class NoDescriptorTests(PortTestCase):
    """The kernel has no descriptor for a new connection."""

    def setUp(self) -> None:
        super().setUp()
        self.real = self.port.socket
        self.available = 0
        self.port.socket = Exhausted(self.real, self)  # type: ignore[assignment]

    def test_clients_are_answered_with_the_spare_descriptor(self) -> None:
        clients = [self.connect() for _ in range(3)]
        self.turns(1)
        for client in clients:
            self.assertEqual(self.received(client), RESPONSE)
        self.assertEqual(self.limits.refused, {"descriptors": 3})
        self.assertIsNotNone(self.port._spare)
        self.assertIn(self.port, self.reactor.readers)

    def test_a_port_without_a_spare_descriptor_pauses(self) -> None:
        self.port._release_spare()
        self.connect()
        self.available = -1
        self.turns(1)
        self.assertNotIn(self.port, self.reactor.readers)
        self.reactor.advance(PAUSE_S)
        self.assertIn(self.port, self.reactor.readers)


class Exhausted:
    """A listening socket; accept() works only while the port has released its spare descriptor."""

    def __init__(self, real: socket.socket, test: NoDescriptorTests) -> None:
        self._real = real
        self._test = test
        self.close: Callable[[], None] = real.close

    def accept(self) -> Any:
        test = self._test
        if test.port._spare is not None or test.available < 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._real.accept()


class UnixTests(PortTestCase):
    def setUp(self) -> None:
        folder = tempfile.mkdtemp(prefix="c10k-")
        self.where = str(Path(folder) / "a.sock")
        self.addCleanup(os.rmdir, folder)
        self.addCleanup(os.unlink, self.where)
        self.reactor = Reactor()
        self.limits = SocketLimits(per_client=1)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.where)
        self.listening.listen()
        self.start()

    def test_its_clients_are_not_one_client(self) -> None:
        self.come_and_go()


class RefusedConnectionsTests(SynchronousTestCase):
    def test_alpn(self) -> None:
        self.assertEqual(RefusedConnections(Clock()).acceptableProtocols(), [b"http/1.1"])
