"""Reads all open connections at one go, and sends once to each that has output.

The reactor would call each connection by itself: a poll's event, a lookup, a read, and the same
again to write. Here one nested epoll holds all of them; the reactor sees a single descriptor. After
a batch of reads every connection with output is sent to, once. At 1,024 cells that is most of the
difference between a swarm that keeps up with a fast server and one that is measured instead of it.
"""

import contextlib
import select
import socket
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

MOST_EVENTS = 4096  # of one poll: bounds how long the reactor's timers wait
READ_SIZE = 65536  # bytes, one recv


class Connection(Protocol):
    """What the hub needs of a connection."""

    socket: socket.socket
    out: list[bytes]

    def dataReceived(self, data: bytes) -> None: ...

    def send_queued(self) -> None: ...

    def read_by_reactor(self, again: bool) -> None: ...


class FlushList:
    """Connections with output waiting. One that gets its first output appends itself to `dirty`
    and calls `schedule`; at the end of the batch, or in the next iteration, each is sent to once.
    """

    def __init__(self, reactor: Any) -> None:
        self.dirty: list[Connection] = []
        self.in_batch = False  # the hub flushes when it is done: nothing to schedule
        self._reactor = reactor
        self._scheduled = False

    def schedule(self) -> None:
        if not self.in_batch and not self._scheduled:
            self._scheduled = True
            self._reactor.callLater(0, self.flush)

    def flush(self) -> None:
        self._scheduled = False
        dirty = self.dirty
        self.dirty = []
        for connection in dirty:
            connection.send_queued()


@implementer(IReadDescriptor)
class ReadHub:
    """`start` it, `add` and `remove` connections, `stop` it.

    A connection at its end, or with an error, is given back to the reactor, which reads it again
    and does all that Twisted does then.
    """

    def __init__(self, reactor: Any, flush_list: FlushList) -> None:
        self._reactor = reactor
        self._flush_list = flush_list
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}

    def start(self) -> None:
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Give every connection back to the reactor."""
        for fd, connection in list(self._connections.items()):
            self.remove(fd)
            connection.read_by_reactor(True)
        self._reactor.removeReader(self)
        self._epoll.close()

    def add(self, connection: Connection) -> int:
        """Read this connection from now on; returns the number to `remove` it by."""
        fd = connection.socket.fileno()
        self._connections[fd] = connection
        connection.read_by_reactor(False)
        self._epoll.register(fd, select.EPOLLIN)
        return fd

    def remove(self, fd: int) -> None:
        """No more reads; the descriptor may already be closed, which took it out of the epoll."""
        if self._connections.pop(fd, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return "ReadHub"

    def connectionLost(self, reason: Any) -> None:
        """The reactor stops: disconnect its own readers."""

    def doRead(self) -> None:
        connections = self._connections
        flush_list = self._flush_list
        flush_list.in_batch = True
        try:
            for fd, _ in self._epoll.poll(0, MOST_EVENTS):
                connection = connections.get(fd)
                if connection is None:
                    continue  # closed by an earlier one's message in this batch
                try:
                    data = connection.socket.recv(READ_SIZE)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if data:
                    connection.dataReceived(data)
                else:
                    self.remove(fd)
                    connection.read_by_reactor(True)
        finally:
            flush_list.in_batch = False
            flush_list.flush()
