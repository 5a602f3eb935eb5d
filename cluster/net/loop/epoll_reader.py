"""Reads the sockets of all open connections through one descriptor.

The sockets are registered with a separate epoll object, and the reactor watches only the descriptor
of that object. When it is readable, one poll returns up to ``BATCH`` ready sockets; each is read
once, and the turn ends with one flush for all of them. That avoids the reactor's bookkeeping for
each event, and combines the output of the whole batch. The cost of a message hardly depends on
which reactor is used.

A turn has a budget (turn_budget.py). When it is spent, the other ready sockets are read in the next
turns, before the epoll is polled again. A connection that has sent more than can be processed in
its share leaves the rest to ``TurnBudget.later``, and its socket is not read meanwhile. If many
sockets are ready, each is read in small pieces, and those that have filled a piece wait until the
others were served.

The rules:

* a socket is watched by this epoll or by the reactor, never by both;
* at end of file, and on an error, the socket is returned to its transport. The reactor then detects
  the same condition, and calls connectionLost as usual;
* a connection that is removed during a batch is not read later in that batch.
"""

import select
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.turn_budget import TURN_S

BATCH = 4096
"""Sockets returned by one poll."""

READ_SIZE = 65536
"""Bytes read from a socket at a time; the same as in Twisted's transports."""

MANY = 64
"""Ready and waiting sockets from which on each is read in small pieces. READ_SIZE bytes of each
would be unparsed in memory otherwise."""

SMALL_READ = 4096
"""Bytes of such a piece: 150 messages of 20 bytes."""

SMALL_INPUT = 256
"""Bytes of input that is processed even while much output waits: its messages are small."""

CHECK_EVERY = 16
"""Sockets that are read between two looks at the clock: 50 to 100 µs."""


class Input(Protocol):
    """A connection on a plain socket (cluster.net.websocket.connection)."""

    transport: Any
    socket: Any
    epoll_fd: int
    """Set by EpollReader: the descriptor under which it reads the connection, or -1."""

    def dataReceived(self, data: bytes) -> None:
        """Called with the bytes that were read."""

    def receive_later(self, data: bytes) -> None:
        """Called with bytes that were read, and must be processed in a later turn."""

    def fail(self, failure: Failure) -> None:
        """Called if dataReceived raised, which is a bug."""


@implementer(IReadDescriptor)
class EpollReader:
    """One nested epoll over the plain sockets of all open connections."""

    def __init__(self, reactor: IReactorFDSet, end_of_turn: EndOfTurn) -> None:
        self._reactor: Any = reactor  # mypy: the methods of zope interfaces have no self
        self._end_of_turn = end_of_turn
        self._epoll = select.epoll()
        self._connections: dict[int, Input] = {}
        self._ready: list[tuple[int, int]] = []  # of the last poll, not read yet

    def start(self) -> None:
        """Add this object to the reactor's readers."""
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Return every socket to its transport and close the epoll. It cannot start again."""
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
        # The socket may have been closed, and its descriptor reused by another connection.
        if self._connections.get(fd) is connection:
            del self._connections[fd]
            with suppress(OSError, ValueError):  # close() removed the socket; the epoll is closed
                self._epoll.unregister(fd)

    def doRead(self) -> None:
        """Called by the reactor: read each ready socket once, until the turn's budget is spent."""
        end_of_turn = self._end_of_turn
        end_of_turn.begin()
        budget = end_of_turn.budget
        connections = self._connections
        ready = self._ready or self._epoll.poll(0, BATCH)
        self._ready = []
        is_many = len(ready) + budget.waiting > MANY
        size = SMALL_READ if is_many else READ_SIZE
        end = budget.now() + TURN_S
        late_from = size if is_many else READ_SIZE + 1
        if budget.is_held:
            late_from = SMALL_INPUT
        # With many, each gets the least share; the turns are for all of them.
        budget.begin(0.0 if is_many else end)
        for at in range(0, len(ready), CHECK_EVERY):
            for fd, _event in ready[at : at + CHECK_EVERY]:
                connection = connections.get(fd)
                if connection is None:
                    continue
                try:
                    data = connection.socket.recv(size)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    self._give_back(connection)
                    continue
                try:
                    if len(data) >= late_from:
                        connection.receive_later(data)
                    else:
                        connection.dataReceived(data)
                except Exception:
                    connection.fail(Failure())
            if budget.now() >= end:
                # These sockets are still readable, so the reactor calls this method again.
                self._ready = ready[at + CHECK_EVERY :]
                break
        budget.end()
        end_of_turn.flush(is_partial=bool(self._ready))

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return "EpollReader"

    def connectionLost(self, reason: Failure) -> None:
        """Called by the reactor when it stops. The reactor does not know the sockets that are read
        here, so notify their transports."""
        for connection in list(self._connections.values()):
            self.remove(connection)
            connection.transport.connectionLost(reason)
        self._epoll.close()

    def _give_back(self, connection: Input) -> None:
        self.remove(connection)
        connection.transport.startReading()
