"""A connection on a real socket, whose reading and writing the test calls."""

import socket
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.tcp import Connection

from tests.node.test_http import WebTestCase


class Descriptors:
    """The part of a reactor that a transport needs."""

    def __init__(self) -> None:
        self.writing: set[Any] = set()
        self.reading: set[Any] = set()

    def addWriter(self, transport: Any) -> None:
        self.writing.add(transport)

    def removeWriter(self, transport: Any) -> None:
        self.writing.discard(transport)

    def addReader(self, transport: Any) -> None:
        self.reading.add(transport)

    def removeReader(self, transport: Any) -> None:
        self.reading.discard(transport)


class Server(Connection):
    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)

    getHost = getPeer

    def setTcpNoDelay(self, enabled: bool) -> None:
        """The sockets are not those of TCP."""


class SocketTestCase(WebTestCase):
    def setUp(self) -> None:
        super().setUp()
        ours, self.client = socket.socketpair()
        self.addCleanup(self.client.close)
        self.addCleanup(ours.close)
        ours.setblocking(False)
        self.descriptors = Descriptors()
        self.protocol: Any = self.site.buildProtocol(None)
        self.server: Any = Server(ours, self.protocol, self.descriptors)  # type: ignore[arg-type]
        self.server.connected = True
        self.protocol.makeConnection(self.server)
        self.received = b""

    def turn(self) -> bool:
        """One turn of an event loop; False if the transport does not wait for the socket."""
        if self.server not in self.descriptors.writing:
            return False
        self.server.doWrite()
        return True

    def read(self) -> bool:
        """Read what the kernel has; False if there is nothing."""
        try:
            data = self.client.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        self.received += data
        return True

    def read_all(self) -> None:
        while self.turn() | self.read():
            self.reactor.advance(0)

    @property
    def arrived(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[2]
