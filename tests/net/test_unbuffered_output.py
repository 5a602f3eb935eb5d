"""Output that goes directly to the kernel, or to the transport's buffer."""

import socket
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.unbuffered_output import transport_bytes, unsent_bytes, write_directly


class RecordingReactor:
    """Records the transports that are waiting to become writable."""

    def __init__(self) -> None:
        self.writers: list[Any] = []

    def addWriter(self, writer: Any) -> None:
        self.writers.append(writer)


class DirectOutputTests(SynchronousTestCase):
    def setUp(self) -> None:
        ours, self.theirs = socket.socketpair()
        for each in (ours, self.theirs):
            each.setblocking(False)
            self.addCleanup(each.close)
        self.reactor = RecordingReactor()
        self.transport = Connection(ours, Protocol(), self.reactor)  # type: ignore[arg-type]
        self.transport.connected = True

    def test_output_is_sent_at_once(self) -> None:
        write_directly(self.transport, b"hello")
        self.assertEqual(self.theirs.recv(100), b"hello")
        self.assertEqual(self.reactor.writers, [])

    def test_bytes_that_the_kernel_does_not_accept_are_buffered(self) -> None:
        size = 10_000_000
        write_directly(self.transport, b"x" * size)
        waiting = transport_bytes(self.transport)
        self.assertTrue(0 < waiting < size)
        self.assertEqual(self.reactor.writers, [self.transport])
        read = 0
        while read < size - waiting:
            read += len(self.theirs.recv(1_000_000))
        # The kernel has room now, but earlier output is still buffered.
        write_directly(self.transport, b"y")
        self.assertEqual(transport_bytes(self.transport), waiting + 1)
        self.assertRaises(BlockingIOError, self.theirs.recv, 1)

    def test_buffered_bytes_are_counted_through_wrappers(self) -> None:
        self.transport.write(b"hello")
        factory: Any = WrappingFactory(Factory.forProtocol(Protocol))
        wrapper = ProtocolWrapper(factory, Protocol())
        wrapper.makeConnection(self.transport)
        self.assertEqual([unsent_bytes(each) for each in (self.transport, wrapper)], [5, 5])
        self.assertEqual(unsent_bytes(StringTransport()), 0)

    def test_a_lost_socket_is_left_to_the_transport(self) -> None:
        self.theirs.close()
        write_directly(self.transport, b"hello")
        self.assertEqual(transport_bytes(self.transport), 5)

    def test_nothing_is_sent_on_a_transport_that_is_closing(self) -> None:
        self.transport.disconnecting = True
        write_directly(self.transport, b"hello")
        self.assertRaises(BlockingIOError, self.theirs.recv, 1)

    def test_another_kind_of_transport(self) -> None:
        transport = StringTransport()
        write_directly(transport, b"hello")
        self.assertEqual(transport.value(), b"hello")
