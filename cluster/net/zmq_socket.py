"""A ZeroMQ socket in the Twisted reactor.

ZeroMQ's descriptor is edge-triggered: it becomes readable after *some* event, and not again until
all events have been handled (see ZMQ_FD in zmq_getsockopt(3)). So the EVENTS option is read after
each send and each receive, and remaining events are handled in the next turn of the loop.
Receiving stops after a batch, so that a fast sender cannot starve the WebSocket connections.

``python -m benchmarks.link`` measures what a message costs, with ZeroMQ's own threads.
"""

from collections.abc import Callable, Sequence
from typing import Any

import zmq
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zmq.utils.monitor import parse_monitor_message
from zope.interface import implementer

REFUSALS = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
"""The other process has another key, or none, or does not use ZeroMQ."""

FAILURES = REFUSALS | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
"""Or it closed the connection during the handshake: also a process that probes the address."""

BATCH = 200
"""Messages received in one turn: about half a millisecond of work before the loop continues."""

HEARTBEAT_INTERVAL_MS = 1000
HEARTBEAT_TIMEOUT_MS = 3000
"""A process that does not answer a ping within 3 s is disconnected. ZeroMQ's I/O thread answers, so
a process with a busy reactor does; a stopped process or an unreachable host does not."""

HANDSHAKE_MS = 5000
"""Milliseconds that a process which connects has for ZeroMQ's handshake."""

MAX_MESSAGE_BYTES = 272 << 20
"""Bytes of the longest part of a message. ZeroMQ disconnects a process that sends a longer one,
after its length and before its content. The longest valid one has all that a topic retains
(core.broker_state.topic_history.MAX_BYTES, 256 MiB), with a length for each frame."""

HIGH_WATER_MESSAGES = 1000
"""Messages that ZeroMQ queues for each connection and direction. Above that ``send`` returns False,
and the caller queues messages itself, where it counts bytes and can pause their sources."""

_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_POLLIN = int(zmq.POLLIN)
_POLLOUT = int(zmq.POLLOUT)
# Plain integers: ``&`` and ``|`` of the enumerations that pyzmq defines are Python calls, several
# for each message.

_log = Logger()


def make_socket(context: zmq.Context[Any], kind: int) -> "zmq.Socket[bytes]":
    """Create a socket with heartbeats, finite messages, and finite queues, which are discarded at
    exit."""
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.set_hwm(HIGH_WATER_MESSAGES)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, 1)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)
    return socket


@implementer(IReadDescriptor)
class ZmqSocket:
    """Delivers the messages of a ZeroMQ socket from the reactor.

    Call ``start`` when the socket is bound or connected, and ``close`` at the end.

    Args:
        reactor: The reactor.
        socket: The socket; ``close`` closes it, too.
        received: Called with the parts of each message. Its exceptions are logged.
        writable: Called when the socket accepts messages again after ``send`` returned False.
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
        """Start delivering messages."""
        self._reactor.addReader(self)
        self._look_again()

    def send(self, parts: Sequence[bytes]) -> bool:
        """Send a message at once.

        Args:
            parts: The parts of the message.

        Returns:
            False if the queue is full; then ``writable`` is called later.

        Raises:
            zmq.ZMQError: A ROUTER has no connection with this identity (EHOSTUNREACH).
        """
        send = self._socket.send
        try:
            for part in parts[:-1]:
                send(part, _NOBLOCK_MORE)
            send(parts[-1], _NOBLOCK)
        except zmq.Again:  # at the first part, or not at all
            self._wants_write = self._writable is not None
            return False
        finally:
            # A send, even a refused one, may consume the edge that signalled another event.
            if self._pending is None and self._events() & (
                _POLLIN | _POLLOUT if self._wants_write else _POLLIN
            ):
                self._look_again()
        return True

    def doRead(self) -> None:
        """Receive the messages that have arrived, at most a batch."""
        if self.closed:
            return
        receive = self._socket.recv_multipart
        for _ in range(BATCH):
            try:
                parts = receive(_NOBLOCK)
            except zmq.Again:
                break
            try:
                self._received(parts)
            except Exception:
                _log.failure("handling a ZeroMQ message failed")
            if self.is_closed():
                return
        events = self._events()
        if self._writable is not None and self._wants_write and events & _POLLOUT:
            self._wants_write = False
            self._writable()
            if self.is_closed():
                return
            events = self._events()
        if events & _POLLIN:
            self._look_again()

    def drain(self) -> None:
        """Receive all messages of a lost connection before those of the next one."""
        for _ in range(HIGH_WATER_MESSAGES // BATCH + 1):
            self.doRead()

    def is_closed(self) -> bool:
        """Whether ``close`` has been called, possibly by the last callback."""
        return self.closed

    def connectionLost(self, reason: Any) -> None:
        """Called by the reactor at shutdown."""
        self.close()

    def close(self, linger_ms: int = 0) -> None:
        """Stop delivering messages, and close the socket. Idempotent.

        Args:
            linger_ms: Milliseconds for which ZeroMQ may continue to send queued messages.
        """
        if self.closed:
            return
        self.closed = True
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        self._reactor.removeReader(self)
        self._socket.close(linger=linger_ms)

    def _events(self) -> int:
        return int(self._socket.getsockopt(zmq.EVENTS))

    def _look_again(self) -> None:
        if self._pending is None:
            self._pending = self._reactor.callLater(0, self._look)

    def _look(self) -> None:
        self._pending = None
        self.doRead()


def monitor(
    reactor: Any,
    socket: "zmq.Socket[bytes]",
    connected: Callable[[], None],
    lost: Callable[[], None],
    refused: Callable[[], None],
    failures: int = REFUSALS,
) -> ZmqSocket:
    """Watch the connections of a socket.

    Args:
        reactor: The reactor.
        socket: The socket.
        connected: Called after each handshake with another process.
        lost: Called after each loss of such a connection.
        refused: Called after each handshake that failed.
        failures: Which of them: REFUSALS or FAILURES.

    Returns:
        The monitor, started. Close it before the socket itself.
    """
    events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | failures
    watcher = socket.get_monitor_socket(events)

    def received(parts: list[bytes]) -> None:
        event = parse_monitor_message(parts)["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            connected()
        elif event == zmq.EVENT_DISCONNECTED:
            lost()
        elif event & failures:
            refused()

    monitoring = ZmqSocket(reactor, watcher, received)
    monitoring.start()
    return monitoring
