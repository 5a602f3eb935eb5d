"""The transport between a test's client and its server: a Twisted transport without a socket.

The client receives bytes from the server at once. The server receives bytes from the client in the
next turn of the loop, as from a socket, so that neither is called inside the other.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITransport
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(ITransport)
class MemoryTransport:
    """Calls ``on_data(data, ended)`` with the bytes that the server writes, and once at the end.

    ``protocol`` is the server's; set it before ``start``.
    """

    TLS = False
    disconnecting = False

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_data: Callable[[bytes, bool], None],
        peer: tuple[str, int],
    ) -> None:
        self.protocol: Any = None
        self._loop = loop
        self._on_data = on_data
        self._peer = IPv4Address("TCP", *peer)
        self._producer: Any = None
        self._is_lost = False
        self._is_reading = True
        self._unread_by_server: deque[bytes] = deque()
        self._is_client_reading = True
        self._unread_by_client: list[bytes] = []

    def start(self, protocol: Any) -> None:
        """Connect."""
        self.protocol = protocol
        protocol.makeConnection(self)

    # For the client.

    def send_to_server(self, data: bytes) -> None:
        """Send bytes from the client to the server."""
        if data:
            self._unread_by_server.append(data)
            self._loop.call_soon(self._deliver)

    def lose_connection(self) -> None:
        """Drop the connection without a closing handshake."""
        self._loop.call_soon(self._lose, ConnectionLost())

    def client_reads(self, is_reading: bool) -> None:
        """Start or stop the client's reading; the server is paused or resumed at once."""
        self._is_client_reading = is_reading
        if is_reading:
            unread, self._unread_by_client = self._unread_by_client, []
            for data in unread:
                self._on_data(data, False)
        if self._producer is not None and not self._is_lost:
            if is_reading:
                self._producer.resumeProducing()
            else:
                self._producer.pauseProducing()

    def _deliver(self) -> None:
        while self._unread_by_server and self._is_reading and not self._is_lost:
            self.protocol.dataReceived(self._unread_by_server.popleft())

    def _lose(self, reason: Exception) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        self.protocol.connectionLost(Failure(reason))
        self._on_data(b"".join(self._unread_by_client), True)

    # For the server (ITransport, IPushProducer, IConsumer).

    def write(self, data: bytes) -> None:
        if self._is_lost:
            return
        if self._is_client_reading:
            self._on_data(data, False)
        else:
            self._unread_by_client.append(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._loop.call_soon(self._lose, ConnectionDone())

    def abortConnection(self) -> None:
        self._loop.call_soon(self._lose, ConnectionLost())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        if not self._is_client_reading:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self._is_reading = False

    def resumeProducing(self) -> None:
        self._is_reading = True
        self._loop.call_soon(self._deliver)

    def getPeer(self) -> IPv4Address:
        return self._peer

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 80)
