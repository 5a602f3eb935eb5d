"""ZmqBus: this node's ZeroMQ DEALER link to the broker.

start-up     The socket connects, and the node sends Hello after each ZeroMQ handshake. The bus is
             up when the broker's Welcome arrives; nothing but Hello is sent before. Messages of an
             old connection are read before Hello is sent, because an old answer could be mistaken
             for the new one.
congestion   Messages that ZeroMQ does not accept are queued here in order. Above the high-water
             mark the bus calls ``bus_full``, and the receiver stops reading from the clients that
             publish. The receiver limits the batches that it sends before they are acknowledged.
reliability  Messages that are queued here, in ZeroMQ's own queues or in a broker that dies are
             lost. The receiver keeps all batches until they are acknowledged (batches.py).
"""

from collections import Counter, deque
from typing import Any

import zmq
from twisted.logger import Logger

from cluster.core import wire
from cluster.core.exceptions import WireError
from cluster.core.water_marks import WaterMarks
from cluster.core.wire.fields import NAME
from cluster.logs.rate_limit import LimitedLog
from cluster.net.bus_keys import BusKeys
from cluster.net.zmq_socket import (
    FAILURES,
    REFUSALS,
    ZmqSocket,
    make_socket,
    monitor,
)
from cluster.pubsub.bus import BusReceiver

HIGH_WATER = 8 << 20
LOW_WATER = 2 << 20
"""Bytes in the queue above which publishers must pause: about a second of a busy node's traffic."""

RECONNECT_MS = 50
RECONNECT_MAX_MS = 1000
"""Milliseconds between attempts to connect; ZeroMQ doubles them up to the maximum."""


class ZmqBus:
    """Connects a node to the broker at ``address``. ``name`` must be unique for each process.

    ``keys`` are those of the broker and of nodes; a broker on tcp accepts no connection without.
    """

    log = Logger()

    def __init__(self, name: str, address: str, reactor: Any, keys: BusKeys | None = None) -> None:
        self.name = name
        self.dropped: Counter[str] = Counter()
        self._address = address
        self._keys = keys
        self._refusals = 0
        self._refused_log = LimitedLog(self.log.error, "refused connections")
        self._invalid_log = LimitedLog(self.log.warn, "invalid messages")
        self._retry: Any = None
        self._reactor = reactor
        self._queue: deque[list[bytes]] = deque()
        self._marks = WaterMarks(HIGH_WATER, LOW_WATER)
        self._up = False
        self._hello_due = False
        self._awaiting_welcome = False
        self._was_up = False
        self._receiver: BusReceiver | None = None

    def start(self, receiver: BusReceiver) -> None:
        self._receiver = receiver
        self._context: zmq.Context[Any] = zmq.Context()
        socket = make_socket(self._context, zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, self.name.encode())
        # Without IMMEDIATE, messages queued for a dead broker reach the next one before Hello.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        if self._keys is not None:
            self._keys.secure_node(socket)
        self._socket = socket
        self._link = ZmqSocket(self._reactor, socket, self._received, self._writable)
        # Before the socket connects, so that the first handshake is not missed.
        failures = REFUSALS if self._keys is None else FAILURES
        self._monitor = monitor(
            self._reactor, socket, self._connected, self._lost, self._refused, failures
        )
        try:
            socket.connect(self._address)
        except zmq.ZMQError:
            self.stop()  # a context with open sockets blocks in garbage collection
            raise
        self._link.start()

    def stop(self) -> None:
        if self._receiver is None:
            return
        if self._up:
            self._link.send([wire.encode(wire.Goodbye())])
        self._receiver = None
        self._up = False
        self._cancel_retry()
        self._monitor.close()
        # ZeroMQ's thread needs a moment to send the Goodbye.
        self._link.close(linger_ms=200)
        self._context.term()

    @property
    def is_up(self) -> bool:
        return self._up

    @property
    def queued_bytes(self) -> int:
        return self._marks.level

    def send(self, message: wire.Message) -> None:
        if self._up:
            self._put([wire.encode(message)])

    def send_batch(self, node: str, data: bytes) -> None:
        self._put([wire.BATCH + node.encode(), data])

    def _put(self, parts: list[bytes]) -> None:
        if not self._queue and self._link.send(parts):
            return
        self._queue.append(parts)
        if self._marks.add(len(parts[-1])) and self._receiver is not None:
            self._receiver.bus_full(True)

    def _writable(self) -> None:
        if self._hello_due:
            self._send_hello()
        freed = False
        while self._queue and self._link.send(self._queue[0]):
            freed |= self._marks.remove(len(self._queue.popleft()[-1]))
        if freed and self._receiver is not None:
            self._receiver.bus_full(False)

    def _connected(self) -> None:
        self._cancel_retry()
        self._awaiting_welcome = False  # an answer to an earlier Hello is not valid any more
        self._link.drain()
        self._send_hello()

    def _send_hello(self) -> None:
        self._down()
        # ZeroMQ may refuse messages shortly after the handshake; _writable then tries again.
        hello = wire.Hello(returning=self._was_up)
        self._hello_due = not self._link.send([wire.encode(hello)])
        self._awaiting_welcome = True

    def _lost(self) -> None:
        if self._up:
            self.log.warn("lost the connection to the broker at {address}", address=self._address)
        self._awaiting_welcome = False
        self._hello_due = False
        self._down()

    def _refused(self) -> None:
        """The handshake failed. ZeroMQ does not try again if the broker refused the key."""
        self._refusals += 1
        hint = (
            "--bus-keys names other keys than the broker's" if self._keys else "it needs --bus-keys"
        )
        text = "the broker at {address} refused the connection: {hint}"
        self._refused_log("", text, address=self._address, hint=hint)
        if self._retry is None:
            self._retry = self._reactor.callLater(RECONNECT_MAX_MS / 1000, self._connect_again)

    def _connect_again(self) -> None:
        self._retry = None
        self._socket.disconnect(self._address)
        self._socket.connect(self._address)

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _down(self) -> None:
        if not self._up:
            return
        self._up = False
        self._queue.clear()
        was_full = self._marks.full
        self._marks = WaterMarks(HIGH_WATER, LOW_WATER)
        assert self._receiver is not None
        self._receiver.bus_down()
        if was_full:
            self._receiver.bus_full(False)

    def _received(self, parts: list[bytes]) -> None:
        if self._receiver is None:
            return
        if parts == [b""]:  # a probe: the broker tests whether this node is reachable
            return
        try:
            if len(parts) == 2 and parts[0][:1] == wire.BATCH:
                self._receiver.bus_batch(NAME.decode(parts[0][1:]), parts[1])
                return
            if len(parts) != 1:
                raise WireError(f"{len(parts)} parts")
            message = wire.decode(parts[0])
        except WireError as error:
            self.dropped["malformed"] += 1
            self._invalid_log("", "dropped a message from the broker: {error}", error=error)
            return
        if isinstance(message, wire.Welcome):
            if self._awaiting_welcome:
                self._awaiting_welcome = False
                self._up = self._was_up = True
                self._receiver.bus_up(message)
        elif isinstance(message, wire.UnknownNode):
            self._send_hello()
        elif isinstance(message, wire.Rejected):
            self.log.error("the broker rejected this node: {reason}", reason=message.reason)
        else:
            self._receiver.bus_message(message)
