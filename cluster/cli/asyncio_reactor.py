"""The reactor of all processes: Twisted's on asyncio, which notices errors of sockets on uvloop.

When the kernel reports an error of a socket, such as the reset of a client, libuv reports it once,
and uvloop polls the socket no more. Its reader is called that one time. If the client has sent data
before the error, the reader finds only the data. From then on nothing would notice that the client
is gone, and uvloop raises RuntimeError when the reactor wants to write to the socket.
"""

from collections.abc import Callable
from socket import SO_ERROR, SOL_SOCKET, socket
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.error import ConnectionLost


class AsyncioReactor(AsyncioSelectorReactor):
    """Looks for such an error after each read, and polls the socket again before a write."""

    def _readOrWrite(self, selectable: Any, read: bool) -> None:
        super()._readOrWrite(selectable, read)
        if read and selectable in self._readers:
            sock = getattr(selectable, "socket", None)
            # Open WebSockets are read elsewhere (cluster.net.loop.epoll_reader).
            if isinstance(sock, socket) and sock.getsockopt(SOL_SOCKET, SO_ERROR):
                self._disconnectSelectable(selectable, ConnectionLost(), read)

    def addReader(self, reader: Any) -> None:
        self._add(super().addReader, reader)

    def addWriter(self, writer: Any) -> None:
        self._add(super().addWriter, writer)

    def _add(self, add: Callable[[Any], None], descriptor: Any) -> None:
        try:
            add(descriptor)
        except RuntimeError:
            is_reading = descriptor in self._readers
            is_writing = descriptor in self._writers
            self.removeReader(descriptor)
            self.removeWriter(descriptor)
            add(descriptor)
            if is_reading:
                self.addReader(descriptor)
            if is_writing:
                self.addWriter(descriptor)
