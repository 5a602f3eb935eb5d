"""The broker: a ROUTER socket around core.exchange.

It forwards packs between nodes unopened, and for all other messages asks the Exchange what to send.
A pack for a node whose queue is full waits in a queue of bytes here; when that passes its
high-water mark the other nodes are told to slow down (Congested), and a node that does not drain
even so is put out (``node_stalled``): it is told so once it drains, must say hello again, and sees
a gap.
"""

import os
from collections import Counter, deque
from typing import Any

import zmq
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cluster.core import wire
from cluster.core.exceptions import WireError
from cluster.core.exchange import Exchange, Outgoing
from cluster.core.water_marks import WaterMarks
from cluster.net.zmq_socket import ZmqSocket, make_socket, monitor

HIGH_WATER = 64 << 20
LOW_WATER = 16 << 20
"""Bytes waiting for one node before its peers are told to slow down, and before they may go on."""

STALLED = 4 * HIGH_WATER
"""Bytes at which a node that does not drain is put out."""

RETRY_S = 0.01
"""A ROUTER does not say which peer became writable, so waiting packs are tried this often."""

LAST_LOOK_S = 10.0
"""How long after a connection's end it is last looked for whose it was."""


class _Waiting:
    """What waits for one node."""

    __slots__ = ("batches", "marks")

    def __init__(self) -> None:
        self.batches: deque[list[bytes]] = deque()
        self.marks = WaterMarks(HIGH_WATER, LOW_WATER)


class Broker(Service):
    """Binds ``address`` ("ipc:///run/…/broker.ipc" or "tcp://127.0.0.1:7000") when started."""

    log = Logger()

    def __init__(self, address: str, reactor: Any) -> None:
        self.address = address
        self.ready: Deferred[None] = Deferred()
        self._reactor = reactor
        self._exchange = Exchange(os.urandom(8).hex())
        self._known: set[bytes] = set()
        self._told: set[bytes] = set()
        self._waiting: dict[bytes, _Waiting] = {}
        self._retry: Any = None
        self._look: Any = None
        self._dropped: Counter[str] = Counter()
        self._batches = 0
        self._bytes = 0

    def startService(self) -> None:
        super().startService()
        self._context: zmq.Context[Any] = zmq.Context()
        socket = make_socket(self._context, zmq.ROUTER)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        # ipc takes its mode from the umask, and anyone who may connect may publish.
        umask = os.umask(0o177)
        try:
            socket.bind(self.address)
        except zmq.ZMQError:
            self._context.destroy(linger=0)  # else it blocks when it is collected
            raise
        finally:
            os.umask(umask)
        self._link = ZmqSocket(self._reactor, socket, self._received)
        self._monitor = monitor(self._reactor, socket, lambda: None, self._someone_lost)
        self._link.start()
        self.ready.callback(None)

    def stopService(self) -> None:
        super().stopService()
        for call in (self._retry, self._look):
            if call is not None:
                call.cancel()
        self._retry = self._look = None
        self._monitor.close()
        self._link.close()
        self._context.destroy(linger=0)

    def stats(self) -> dict[str, Any]:
        """Statistics for the metrics page; sizes in bytes."""
        return {
            "ready": bool(self.running),
            "nodes": len(self._exchange.nodes),
            "batches_forwarded": self._batches,
            "bytes_forwarded": self._bytes,
            "queue_bytes": sum(waiting.marks.level for waiting in self._waiting.values()),
            "messages_dropped": dict(self._dropped),
            "retained_evicted": self._exchange.retained.evicted,
        }

    def _received(self, parts: list[bytes]) -> None:
        sender = parts[0]
        if len(parts) == 3 and parts[1][:1] == wire.BATCH:
            if sender not in self._known:
                self._dropped["unknown_sender"] += 1
                self._not_known(sender)
                return
            destination = parts[1][1:]
            if destination not in self._known:
                self._dropped["node_gone"] += 1
                return
            self._batches += 1
            self._bytes += len(parts[2])
            self._send([destination, wire.BATCH + sender, parts[2]])
            return
        try:
            if len(parts) != 2:
                raise WireError(f"{len(parts)} parts")
            node = sender.decode()
            message = wire.decode(parts[1])
        except (WireError, UnicodeDecodeError) as error:
            self._dropped["malformed"] += 1
            self.log.warn("dropped a message from {sender!r}: {error}", sender=sender, error=error)
            return
        if isinstance(message, wire.Hello):
            self._drop_waiting(sender)
            self._told.discard(sender)
            self.log.info("{node} joined", node=node)
        elif sender not in self._known:
            self._dropped["unknown_sender"] += 1
            self._not_known(sender)
            return
        # A reactor's seconds are Unix time.
        outgoing = self._exchange.receive(node, message, int(self._reactor.seconds() * 1000))
        self._known = {name.encode() for name in self._exchange.nodes}
        self._perform(outgoing)
        if isinstance(message, wire.Hello):
            for name, waiting in list(self._waiting.items()):
                if waiting.marks.full and name != sender:
                    self._send([sender, wire.encode(wire.Congested(name.decode()))])

    def _not_known(self, node: bytes) -> None:
        """Ask for a Hello, once: whoever is asked twice says it twice."""
        if node not in self._told:
            self._told.add(node)
            self._send([node, wire.encode(wire.UnknownNode())])

    def _perform(self, outgoing: Outgoing) -> None:
        for node, message in outgoing:
            self._send([node.encode(), wire.encode(message)])

    def _send(self, parts: list[bytes]) -> None:
        node = parts[0]
        waiting = self._waiting.get(node)
        if waiting is None:
            try:
                if self._link.send(parts):
                    return
            except zmq.ZMQError:
                if len(parts) == 3:
                    self._dropped["node_gone"] += 1
                self._leave(node)
                return
            waiting = self._waiting[node] = _Waiting()
        waiting.batches.append(parts)
        if waiting.marks.add(len(parts[-1])):
            self._tell_others(node, wire.Congested(node.decode()))
        if waiting.marks.level > STALLED:
            self.log.error("{node!r} does not drain its queue; put out", node=node)
            self._drop_waiting(node, "node_stalled")
            self._leave(node)
            # A queue of one message: it may have nothing to say that would make us tell it.
            self._told.discard(node)
            self._waiting[node] = _Waiting()
            self._not_known(node)
        elif self._retry is None:
            self._retry = self._reactor.callLater(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        for node, waiting in list(self._waiting.items()):
            try:
                while waiting.batches and self._link.send(waiting.batches[0]):
                    size = len(waiting.batches.popleft()[-1])
                    if waiting.marks.remove(size):
                        self._tell_others(node, wire.Cleared(node.decode()))
            except zmq.ZMQError:
                self._leave(node)
            if not waiting.batches and self._waiting.get(node) is waiting:
                del self._waiting[node]
        if self._waiting and self._retry is None:
            self._retry = self._reactor.callLater(RETRY_S, self._try_again)

    def _someone_lost(self) -> None:
        """A connection is gone, and ZeroMQ does not say whose: the unreachable ones are.

        It says so a moment before the node becomes unreachable, which is long where its thread has
        to wait for a processor: so we look again, after ten times as long each time.
        """
        if self._look is not None:
            self._look.cancel()
        self._look_around(RETRY_S)

    def _look_around(self, again_s: float) -> None:
        self._look = None
        for node in (*self._known, *self._told):
            self._send([node, b""])
        if again_s <= LAST_LOOK_S:
            self._look = self._reactor.callLater(again_s, self._look_around, 10 * again_s)

    def _leave(self, node: bytes) -> None:
        """A node is gone, or put out: drop what waits for it, tell the others."""
        self._drop_waiting(node)
        self._told.discard(node)
        self._known.discard(node)
        outgoing = self._exchange.leave(node.decode(errors="replace"))
        if outgoing:
            self.log.info("{node} is gone", node=node.decode())
        self._perform(outgoing)

    def _drop_waiting(self, node: bytes, reason: str = "node_gone") -> None:
        waiting = self._waiting.pop(node, None)
        if waiting is not None and waiting.batches:
            self._dropped[reason] += sum(len(parts) == 3 for parts in waiting.batches)
            waiting.batches.clear()

    def _tell_others(self, node: bytes, message: wire.Message) -> None:
        name = node.decode()
        self._perform([(other, message) for other in self._exchange.nodes if other != name])
