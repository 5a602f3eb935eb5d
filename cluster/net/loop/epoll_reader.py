"""Reading from many sockets for the price of one descriptor.

The sockets of all open connections are in one epoll of our own, and that epoll's descriptor is the
only one the reactor watches. When it is readable, one poll gives up to ``BATCH`` ready sockets;
each is read once, and one flush sends what all of them caused. That spares the reactor's
bookkeeping for each event, lets output gather over the whole batch, and makes the choice of the
reactor nearly irrelevant to the cost of a message.

The rules:

* a socket is watched either by the hub or by the reactor, never by both;
* at end of file, or on an error, the hub hands the socket back to its transport, and the reactor
  finds the same and loses the connection in the usual way;
* a lane that left earlier in a batch is not read later in it.
"""

import select
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cluster.net.loop.end_of_turn import EndOfTurn

if TYPE_CHECKING:
    from cluster.net.websocket.connection import ServerConnection

BATCH = 4096
"""Sockets read for one poll: some 10 ms of work, then the reactor gets a turn."""

READ_SIZE = 65536
"""Bytes read from a socket at a time, as Twisted's transports do."""


@implementer(IReadDescriptor)
class EpollReader:
    """One nested epoll over the plain sockets of all open lanes."""

    _log = Logger()

    def __init__(self, reactor: IReactorFDSet, end_of_turn: EndOfTurn) -> None:
        self._reactor: Any = reactor  # zope interfaces have no self
        self._end_of_turn = end_of_turn
        self._epoll = select.epoll()
        self._connections: dict[int, ServerConnection] = {}

    def start(self) -> None:
        """Let the reactor watch the hub."""
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Hand every socket back to its transport and close the epoll; not to be started again."""
        if self._epoll.closed:
            return
        self._reactor.removeReader(self)
        for connection in list(self._connections.values()):
            self._hand_back(connection)
        self._epoll.close()

    def add(self, connection: "ServerConnection") -> None:
        """Read this lane's socket from now on, instead of the reactor; idempotent."""
        if self._epoll.closed:
            connection.transport.resumeProducing()
            return
        fd = connection.socket.fileno()
        if fd < 0 or self._connections.get(fd) is connection:
            return
        connection.transport.stopReading()
        self._connections[fd] = connection
        connection.epoll_fd = fd
        self._epoll.register(fd, select.EPOLLIN)

    def remove(self, connection: "ServerConnection") -> None:
        """Do not read this lane's socket any more; idempotent, also after it was closed."""
        fd = connection.epoll_fd
        if fd < 0:
            return
        connection.epoll_fd = -1
        # The socket may be closed, and its number already another lane's.
        if self._connections.get(fd) is connection:
            del self._connections[fd]
            with suppress(OSError, ValueError):  # closing took it out, or the hub is closed
                self._epoll.unregister(fd)

    def doRead(self) -> None:
        """Called by the reactor: read every ready socket once, then flush."""
        end_of_turn = self._end_of_turn
        end_of_turn.begin()
        connections = self._connections
        for fd, _event in self._epoll.poll(0, BATCH):
            connection = connections.get(fd)
            if connection is None:
                continue
            try:
                data = connection.socket.recv(READ_SIZE)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._hand_back(connection)
                continue
            try:
                connection.dataReceived(data)
            except Exception:
                connection.fail(Failure())
        end_of_turn.flush()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return "EpollReader"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends: tell the transports, which it does not know, as it would itself."""
        for connection in list(self._connections.values()):
            self.remove(connection)
            connection.transport.connectionLost(reason)
        self._epoll.close()

    def _hand_back(self, connection: "ServerConnection") -> None:
        self.remove(connection)
        transport: Any = connection.transport
        transport.startReading()
