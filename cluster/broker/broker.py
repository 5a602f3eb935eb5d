"""The broker: a ROUTER socket around core.broker_state.exchange.

The broker forwards batches between nodes unopened. All other messages go to the Exchange, which
returns what to send. Messages for a node that does not read wait in a queue (queues.py).
"""

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import zmq
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cluster.broker.history_file import HistoryFile, State
from cluster.broker.queues import RETRY_S, NodeQueues
from cluster.core import wire
from cluster.core.broker_state.exchange import Exchange, Outgoing
from cluster.core.exceptions import WireError
from cluster.core.wire.fields import NAME, is_name
from cluster.logs.rate_limit import LimitedLog
from cluster.net.accepting.socket_limits import descriptor_limit, open_descriptors
from cluster.net.bus_keys import BusKeys
from cluster.net.runtime_watch import SocketFileWatch
from cluster.net.zmq_socket import ZmqSocket, make_socket, monitor

LAST_PROBE_S = 10.0
"""Seconds between the last two probes after a lost connection (see ``Broker._connection_lost``)."""


class Broker(Service):
    """Binds ``address`` ("ipc:///run/…/broker.ipc" or "tcp://127.0.0.1:7000") when it starts.

    With ``keys``, as tcp needs them, only nodes with the right key can connect. With ``history``,
    the path of a file, the next broker continues with what topics retain (history_file.py).
    ``ready`` fires when the socket is bound; it fails with the reason if binding is impossible.
    Retained frames expire by ``unix_time``, in seconds: nodes compare it with theirs. ``exchange``
    is the state; gateway_broker.py has one that other machines share.
    """

    log = Logger()

    handing_over = False
    ask_supervisor: Callable[[str, dict[str, Any]], "Deferred[Any]"] | None = None

    def __init__(
        self,
        address: str,
        reactor: Any,
        keys: BusKeys | None = None,
        history: str = "",
        unix_time: Callable[[], float] = time.time,
        exchange: State | None = None,
    ) -> None:
        if keys is None and not address.startswith("ipc://"):
            raise ValueError(f"a broker at {address} needs keys: any user could connect")
        self.address = address
        self._keys = keys
        self._authentication: ZmqSocket | None = None
        self._file_watch: SocketFileWatch | None = None
        self.ready: Deferred[None] = Deferred()
        self._reactor = reactor
        self._unix_time = unix_time
        self._exchange = Exchange(os.urandom(8).hex()) if exchange is None else exchange
        self._history: HistoryFile | None = None
        if history:
            self._history = HistoryFile(history, self._exchange, reactor, self._now)
        self._known: set[bytes] = set()
        self._asked: set[bytes] = set()
        self._probe_timer: Any = None
        self._dropped: Counter[str] = Counter()
        self._queues = NodeQueues(self, reactor, self._dropped)
        self._send = self._queues.send
        self._connections_refused = 0
        self._invalid = LimitedLog(self.log.warn, "invalid messages")
        self._refused = LimitedLog(self.log.warn, "refused connections")
        self._batches_forwarded = 0
        self._bytes_forwarded = 0

    def startService(self) -> None:
        super().startService()
        self._context: zmq.Context[Any] = zmq.Context()
        socket = make_socket(self._context, zmq.ROUTER)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        if self._keys is not None:
            self._authentication = self._keys.secure_broker(self._reactor, self._context, socket)
        self._socket = socket
        try:
            self._bind()
        except zmq.ZMQError:
            super().stopService()
            self._close_context()
            self.ready.errback()
            return
        self.load_history()
        self._link = self._queues.link = ZmqSocket(self._reactor, socket, self._received)
        self._monitor = monitor(
            self._reactor, socket, lambda: None, self._connection_lost, self._connection_refused
        )
        self._link.start()
        path = self.address.removeprefix("ipc://")
        if path != self.address:
            self._file_watch = SocketFileWatch(path, self._bind_again, self._reactor)
            self._file_watch.start()
        self.ready.callback(None)

    def _bind(self) -> None:
        # The umask sets the mode of an ipc socket. Only this user may connect, because every
        # process that is connected can publish.
        umask = os.umask(0o177)
        try:
            self._socket.bind(self.address)
        finally:
            os.umask(umask)

    def _bind_again(self) -> None:
        """The socket's file was deleted. Existing connections continue."""
        self._bind()
        if self._history is not None:
            self._history.begin_again()

    def load_history(self) -> None:
        """Continue with what the previous broker has recorded, if there is a file for it."""
        if self._history is not None:
            self._history.load()
            self._exchange.on_retained = self._history.record

    def stopService(self) -> "Deferred[Any] | None":
        if not self.running:  # the start has failed
            return None
        super().stopService()
        self._queues.stop()
        if self._probe_timer is not None:
            self._probe_timer.cancel()
            self._probe_timer = None
        if self._file_watch is not None:
            self._file_watch.stop()
        self._monitor.close()
        self._link.close()
        self._close_context()
        if self._history is not None:
            self._history.stop()
        return None

    def _close_context(self) -> None:
        if self._authentication is not None:
            self._authentication.close()
        self._context.destroy(linger=0)  # an open context blocks in garbage collection

    def hurry(self) -> None:
        """A broker stops at once anyway."""

    def inspect(self, what: str, arguments: dict[str, Any]) -> "Deferred[Any]":
        """A broker has no clients. Raises ValueError."""
        raise ValueError("a broker has no clients")

    def stats(self) -> dict[str, Any]:
        """Return the statistics for the metrics page; sizes are in bytes."""
        return {
            "ready": bool(self.running),
            "descriptors": open_descriptors(),
            "descriptor_limit": descriptor_limit(),
            "nodes": len(self._exchange.nodes),
            "batches_forwarded": self._batches_forwarded,
            "bytes_forwarded": self._bytes_forwarded,
            "queue_bytes": self._queues.size,
            "messages_dropped": dict(self._dropped),
            "connections_refused": self._connections_refused,
            "retained_evicted": self._exchange.retained.evicted,
            "history_file_bytes": 0 if self._history is None else self._history.size,
            "history_file_errors": 0 if self._history is None else self._history.errors,
        }

    def _now(self) -> int:
        return int(self._unix_time() * 1000)

    def _received(self, parts: list[bytes]) -> None:
        sender = parts[0]
        if len(parts) == 3 and parts[1][:1] == wire.BATCH:
            if sender not in self._known:
                self._dropped["unknown_sender"] += 1
                self._ask_for_hello(sender)
                return
            destination = parts[1][1:]
            if destination in self._known:
                self._batches_forwarded += 1
                self._bytes_forwarded += len(parts[2])
                self._send([destination, wire.BATCH + sender, parts[2]])
            elif not self.forward(sender, destination, parts[2]):
                self._dropped["node_gone"] += 1
            return
        try:
            if len(parts) != 2:
                raise WireError(f"{len(parts)} parts")
            node = NAME.decode(sender)
            message = wire.decode(parts[1])
        except WireError as error:
            self._dropped["malformed"] += 1
            text = "dropped a message from {sender!r}: {error}"
            self._invalid("", text, sender=sender, error=error)
            return
        if isinstance(message, wire.Hello):
            self._queues.drop(sender)
            self._asked.discard(sender)
        elif sender not in self._known:
            self._dropped["unknown_sender"] += 1
            self._ask_for_hello(sender)
            return
        outgoing = self.process(node, message)
        self._know_nodes()
        self._perform(outgoing)
        if isinstance(message, wire.Hello) and sender in self._known:
            self.log.info("{node} joined", node=node)
            for name in self._queues.congested():
                if name != sender:
                    self._send([sender, wire.encode(wire.Congested(name.decode()))])

    def _know_nodes(self) -> None:
        self._known = {name.encode() for name in self._exchange.nodes}

    # What a broker with an uplink does otherwise.

    def forward(self, origin: bytes, destination: bytes, data: bytes) -> bool:
        """Forward a batch to a node that is not here; returns False if it is not known."""
        return False

    def process(self, node: str, message: wire.Message) -> Outgoing:
        """Process a message of a node; returns what to send because of it."""
        return self._exchange.receive(node, message, self._now())

    def _connection_refused(self) -> None:
        self._connections_refused += 1
        reason = "no ZeroMQ" if self._keys is None else "another key or none"
        text = "refused a connection at {address}: {reason}"
        self._refused("", text, address=self.address, reason=reason)

    def _ask_for_hello(self, node: bytes) -> None:
        """Ask a node for a Hello, but only once: it answers each request with another Hello."""
        if node not in self._asked and is_name(node):
            self._asked.add(node)
            self._send([node, wire.encode(wire.UnknownNode())])

    def _perform(self, outgoing: Outgoing) -> None:
        encoded: wire.Message | None = None
        data = b""
        for node, message in outgoing:
            if message is not encoded:  # the same message often goes to several nodes
                encoded, data = message, wire.encode(message)
            self._send([node.encode(), data])

    # Events of the queues (queues.Receiver).

    def node_congested(self, node: bytes, is_congested: bool) -> None:
        name = node.decode()
        self._send_to_others(node, wire.Congested(name) if is_congested else wire.Cleared(name))

    def node_stalled(self, node: bytes) -> None:
        self.log.error("{node} does not read; disconnected", node=node.decode())
        self.node_unreachable(node)
        # The broker asks for a Hello when an unknown node sends something. This node may send
        # nothing, so queue the request now.
        self._asked.add(node)
        self._queues.queue([node, wire.encode(wire.UnknownNode())])

    def node_unreachable(self, node: bytes) -> None:
        """Remove a node that is gone or disconnected, and notify the others."""
        self._queues.drop(node)
        self._asked.discard(node)
        self._known.discard(node)
        outgoing = self._exchange.leave(node.decode(errors="replace"))
        if outgoing:
            self.log.info("{node} left", node=node.decode())
        self._perform(outgoing)

    def _connection_lost(self) -> None:
        """Send probes to find the node whose connection was lost.

        ZeroMQ reports a lost connection without the name of the node, but sending to an unreachable
        node fails. ZeroMQ reports the loss shortly before the node becomes unreachable; on a busy
        machine the delay can be seconds. So the broker probes several times, and waits ten times as
        long before each further probe.
        """
        if self._probe_timer is not None:
            self._probe_timer.cancel()
        self._probe(RETRY_S)

    def _probe(self, again_s: float) -> None:
        self._probe_timer = None
        for node in (*self._known, *self._asked):
            self._send([node, b""])
        if again_s <= LAST_PROBE_S:
            self._probe_timer = self._reactor.callLater(again_s, self._probe, 10 * again_s)

    def _send_to_others(self, node: bytes, message: wire.Message) -> None:
        name = node.decode()
        self._perform([(other, message) for other in self._exchange.nodes if other != name])
