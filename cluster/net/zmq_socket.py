"""A ZeroMQ socket in the Twisted reactor.

ZeroMQ's descriptor is edge-triggered: it becomes readable when *something* happened, and stays
silent until every event has been taken. So the EVENTS option is read again after each send and
each receive, and whatever is still pending is looked at in the next iteration of the reactor.
Receiving stops after a batch, so that a fast peer cannot starve the WebSocket connections.

What a message costs that way, all threads of the process counted: ``python -m benchmarks.link``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import zmq
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zmq.utils.monitor import parse_monitor_message
from zope.interface import implementer

BATCH = 200
"""Messages taken in one go: about half a millisecond of work before others get their turn."""

HEARTBEAT_INTERVAL_MS = 1000
HEARTBEAT_TIMEOUT_MS = 3000
"""A peer that answers no ping of ZeroMQ's own I/O thread for 3 s is disconnected. Its reactor may
be busy for longer than that without harm; only a stopped process or a dead host is not heard."""

HIGH_WATER_MESSAGES = 1000
"""Messages ZeroMQ queues per peer and direction; beyond, sends are refused and our own queue, which
counts bytes and pushes back, takes over."""

_log = Logger()


def make_socket(context: zmq.Context[Any], kind: int) -> "zmq.Socket[bytes]":
    """A socket with finite queues, heartbeats, and no lingering at exit."""
    socket = context.socket(kind)
    socket.set_hwm(HIGH_WATER_MESSAGES)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)
    return socket


@implementer(IReadDescriptor)
class ZmqSocket:
    """Calls ``received(parts)`` for each message of a socket, ``writable()`` when it takes more.

    Call ``start`` once the socket is bound or connected, ``close`` when done. Errors raised by
    ``received`` are logged; the link goes on.
    """

    def __init__(
        self,
        reactor: Any,
        socket: "zmq.Socket[bytes]",
        received: Callable[[list[bytes]], None],
        writable: Callable[[], None] | None = None,
    ) -> None:
        self._reactor = reactor
        self._socket = socket
        self._received = received
        self._writable = writable
        self._fd = socket.getsockopt(zmq.FD)
        self._pending: Any = None
        self._wants_write = False
        self.closed = False

    def fileno(self) -> int:
        """ZeroMQ's signalling descriptor."""
        return int(self._fd)

    def logPrefix(self) -> str:
        return "zmq"

    def start(self) -> None:
        """Begin to deliver messages."""
        self._reactor.addReader(self)
        self._look_again()

    def send(self, parts: Sequence[bytes]) -> bool:
        """Send a message at once; False if the queue is full (``writable`` is called later).

        Raises zmq.ZMQError for a ROUTER whose peer is not there (EHOSTUNREACH).
        """
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            self._wants_write = self._writable is not None
            return False
        finally:
            # The send, be it refused, may have consumed the edge that announced something.
            if self._pending is None and int(self._socket.getsockopt(zmq.EVENTS)) & (
                zmq.POLLIN | zmq.POLLOUT if self._wants_write else zmq.POLLIN
            ):
                self._look_again()
        return True

    def doRead(self) -> None:
        """Take what is there, at most a batch of it."""
        if self.closed:
            return
        receive = self._socket.recv_multipart
        for _ in range(BATCH):
            try:
                parts = receive(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                self._received(parts)
            except Exception:
                _log.failure("a message of the bus could not be handled")
            if self.is_closed():
                return
        events = int(self._socket.getsockopt(zmq.EVENTS))
        if self._writable is not None and self._wants_write and events & zmq.POLLOUT:
            self._wants_write = False
            self._writable()
        if not self.is_closed() and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._look_again()

    def drain(self) -> None:
        """Take all that a lost connection has left in the queue, before the next one is used."""
        for _ in range(HIGH_WATER_MESSAGES // BATCH + 1):
            self.doRead()

    def is_closed(self) -> bool:
        """Whether ``close`` was called, perhaps by a callback just now."""
        return self.closed

    def connectionLost(self, reason: Any) -> None:
        """Called by the reactor at shutdown."""
        self.close()

    def close(self, linger_ms: int = 0) -> None:
        """Stop delivering and close the socket, which may go on sending for ``linger_ms``."""
        if self.closed:
            return
        self.closed = True
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        self._reactor.removeReader(self)
        self._socket.close(linger=linger_ms)

    def _look_again(self) -> None:
        if self._pending is None:
            self._pending = self._reactor.callLater(0, self._looked)

    def _looked(self) -> None:
        self._pending = None
        self.doRead()


def monitor(
    reactor: Any,
    socket: "zmq.Socket[bytes]",
    connected: Callable[[], None],
    lost: Callable[[], None],
) -> ZmqSocket:
    """Watch a socket's connections: ``connected`` after each handshake, ``lost`` after each loss.

    Returns the started link of the monitor; close it before the socket itself.
    """
    events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
    watcher = socket.get_monitor_socket(events)

    def received(parts: list[bytes]) -> None:
        event = parse_monitor_message(parts)["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            connected()
        elif event == zmq.EVENT_DISCONNECTED:
            lost()

    link = ZmqSocket(reactor, watcher, received)
    link.start()
    return link
