"""Reads the sockets of all open connections through one descriptor.

The sockets are in an epoll of our own, and the descriptor of that epoll is the only one that the
reactor watches. When it is readable, one poll returns up to ``BATCH`` ready sockets; each is read
once, and the turn ends with one flush for all of them. That avoids the reactor's bookkeeping for
each event, lets output gather over the whole batch, and makes the choice of the reactor nearly
irrelevant to the cost of a message.

The rules:

* a socket is watched by this epoll or by the reactor, never by both;
* at end of file, and on an error, the socket goes back to its transport. The reactor then finds the
  same, and loses the connection as usual;
* a connection that is removed during a batch is not read later in that batch.
"""

import select
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from cluster.net.loop.end_of_turn import EndOfTurn

BATCH = 4096
"""Sockets read after one poll: some 10 ms of work, then the reactor has its turn."""

READ_SIZE = 65536
"""Bytes read from a socket at a time, as Twisted's transports do."""


class Input(Protocol):
    """A connection on a plain socket (cluster.net.websocket.connection)."""

    transport: Any
    socket: Any
    epoll_fd: int
    """Set here: the descriptor under which the connection is read, or -1."""

    def dataReceived(self, data: bytes) -> None:
        """Called with what was read."""

    def fail(self, failure: Failure) -> None:
        """Called if dataReceived raised, which is a bug."""


@implementer(IReadDescriptor)
class EpollReader:
    """One nested epoll over the plain sockets of all open connections."""

    def __init__(self, reactor: IReactorFDSet, end_of_turn: EndOfTurn) -> None:
        self._reactor: Any = reactor  # zope interfaces have no self
        self._end_of_turn = end_of_turn
        self._epoll = select.epoll()
        self._connections: dict[int, Input] = {}

    def start(self) -> None:
        """Let the reactor watch this epoll."""
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Give every socket back to its transport and close the epoll. It cannot start again."""
        if self._epoll.closed:
            return
        self._reactor.removeReader(self)
        for connection in list(self._connections.values()):
            self._give_back(connection)
        self._epoll.close()

    def add(self, connection: Input) -> None:
        """Read this connection's socket from now on, instead of the reactor. Idempotent."""
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

    def remove(self, connection: Input) -> None:
        """Stop reading this connection's socket. Idempotent, also after the socket was closed."""
        fd = connection.epoll_fd
        if fd < 0:
            return
        connection.epoll_fd = -1
        # The socket may be closed, and another connection's socket may have its number already.
        if self._connections.get(fd) is connection:
            del self._connections[fd]
            with suppress(OSError, ValueError):  # close() removed the socket; the epoll is closed
                self._epoll.unregister(fd)

    def doRead(self) -> None:
        """Called by the reactor: read every ready socket once, then end the turn."""
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
                self._give_back(connection)
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
        """Called by the reactor when it ends. It does not know the transports: notify them."""
        for connection in list(self._connections.values()):
            self.remove(connection)
            connection.transport.connectionLost(reason)
        self._epoll.close()

    def _give_back(self, connection: Input) -> None:
        self.remove(connection)
        connection.transport.startReading()
