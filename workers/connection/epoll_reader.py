"""Reads all open connections together, and sends once to each that has output.

The reactor would handle each connection separately: an event, a lookup and a read, then the same
for a write. Here all connections are registered with one epoll object, which the reactor polls as
one descriptor. After a batch of reads, each connection with output sends it with one system call.
Without this, a benchmark of a fast server would measure the swarm instead.
"""

import contextlib
import select
import socket
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

MOST_EVENTS = 4096  # of one poll: limits how long the reactor's timers wait
READ_SIZE = 65536  # bytes of one recv


class ReadableConnection(Protocol):
    """The attributes and methods of a connection that the epoll reader uses."""

    socket: socket.socket
    out: list[bytes]

    def dataReceived(self, data: bytes) -> None: ...

    def send_queued(self) -> None: ...

    def read_by_reactor(self, again: bool) -> None: ...


class FlushList:
    """The connections that have output to send.

    A connection whose queue was empty appends itself to `dirty` and calls `schedule`. Its
    `send_queued` is called once, at the end of a batch of reads or in the reactor's next iteration.
    """

    def __init__(self, reactor: Any) -> None:
        self.dirty: list[ReadableConnection] = []
        self.in_batch = False  # if True, EpollReader flushes at the end of its batch
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
class EpollReader:
    """Reads connections instead of the reactor. Call `start`, `add` and `remove`, then `stop`.

    It returns a connection that has ended or has an error to the reactor, which reads it again and
    handles the end or the error.
    """

    def __init__(self, reactor: Any) -> None:
        self.flush_list = FlushList(reactor)
        self._reactor = reactor
        self._epoll = select.epoll()
        self._connections: dict[int, ReadableConnection] = {}

    def start(self) -> None:
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Return every connection to the reactor."""
        for fd, connection in list(self._connections.items()):
            self.remove(fd)
            connection.read_by_reactor(True)
        self._reactor.removeReader(self)
        self._epoll.close()

    def add(self, connection: ReadableConnection) -> int:
        """Read this connection from now on; returns the number for `remove`."""
        fd = connection.socket.fileno()
        self._connections[fd] = connection
        connection.read_by_reactor(False)
        self._epoll.register(fd, select.EPOLLIN)
        return fd

    def remove(self, fd: int) -> None:
        """Stop reading a connection. The kernel has already removed a closed descriptor."""
        if self._connections.pop(fd, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return "EpollReader"

    def connectionLost(self, reason: Any) -> None:
        """The reactor calls this for all its readers when it stops."""

    def doRead(self) -> None:
        connections = self._connections
        flush_list = self.flush_list
        flush_list.in_batch = True
        try:
            for fd, _ in self._epoll.poll(0, MOST_EVENTS):
                connection = connections.get(fd)
                if connection is None:
                    continue  # closed while an earlier connection of this batch was handled
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
