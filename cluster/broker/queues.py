"""The queues of messages for nodes that do not read, in the broker.

The rules:

* a message for a node is sent at once, or queued behind those that wait for the node already;
* when a queue passes its high-water mark, the node is *congested*: the broker notifies the other
  nodes, which stop reading from their publishers, until the queue is below the low-water mark;
* a node whose queue passes STALLED is disconnected: its queue is dropped, and the broker notifies
  the other nodes. When it reads again, it is asked for a new Hello, and detects a gap in the
  sequence numbers;
* a node that ZeroMQ cannot reach is gone: its queue is dropped, too.

Dropped batches are counted. Other messages are not: the node receives them again after its Hello.
"""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, Protocol

import zmq

from cluster.core.water_marks import WaterMarks

HIGH_WATER = 64 << 20
LOW_WATER = 16 << 20
"""Bytes in the queue of one node above which the node is congested, and below which it no longer
is."""

STALLED = 4 * HIGH_WATER
"""Bytes in the queue of one node above which the broker disconnects the node."""

RETRY_S = 0.01
"""Seconds between attempts to send queued messages. A ROUTER socket does not report which node is
writable, so the broker has to try."""


class Link(Protocol):
    """What is used of net.zmq_socket.ZmqSocket."""

    def send(self, parts: list[bytes]) -> bool:
        """Send at once; False if the queue of ZeroMQ is full. Raises ZMQError if the node is not
        connected."""


class Receiver(Protocol):
    """The methods of the broker that its queues call."""

    def node_congested(self, node: bytes, is_congested: bool) -> None:
        """The queue of a node has become full, or has drained."""

    def node_stalled(self, node: bytes) -> None:
        """A node does not read; its queue has been dropped."""

    def node_unreachable(self, node: bytes) -> None:
        """ZeroMQ has no connection of this node; its queue has been dropped."""


class _Waiting:
    """The queue of one node."""

    __slots__ = ("marks", "messages")

    def __init__(self) -> None:
        self.messages: deque[list[bytes]] = deque()
        self.marks = WaterMarks(HIGH_WATER, LOW_WATER)


class NodeQueues:
    """Sends messages to nodes, and keeps those that cannot be sent yet.

    Args:
        receiver: The broker.
        reactor: The reactor.
        dropped: Counts batches that are dropped, by reason.

    Assign ``link`` before the first message.
    """

    link: Link

    def __init__(self, receiver: Receiver, reactor: Any, dropped: Counter[str]) -> None:
        self._receiver = receiver
        self._reactor = reactor
        self._dropped = dropped
        self._waiting: dict[bytes, _Waiting] = {}
        self._retry_timer: Any = None

    @property
    def size(self) -> int:
        """Bytes in all queues."""
        return sum(waiting.marks.level for waiting in self._waiting.values())

    def congested(self) -> Iterable[bytes]:
        """The nodes whose queues are full."""
        return [node for node, waiting in self._waiting.items() if waiting.marks.full]

    def send(self, parts: list[bytes]) -> None:
        """Send a message to the node that the first part names: a batch if it has three parts."""
        node = parts[0]
        waiting = self._waiting.get(node)
        if waiting is None:
            try:
                if self.link.send(parts):
                    return
            except zmq.ZMQError:
                if len(parts) == 3:
                    self._dropped["node_gone"] += 1
                self._receiver.node_unreachable(node)
                return
            waiting = self._waiting[node] = _Waiting()
        waiting.messages.append(parts)
        if waiting.marks.add(len(parts[-1])):
            self._receiver.node_congested(node, True)
        if waiting.marks.level > STALLED:
            self.drop(node, "node_stalled")
            self._receiver.node_stalled(node)
        else:
            self._try_later()

    def queue(self, parts: list[bytes]) -> None:
        """Queue a message for a node that does not read now, without an attempt to send it."""
        waiting = self._waiting.setdefault(parts[0], _Waiting())
        waiting.messages.append(parts)
        waiting.marks.add(len(parts[-1]))
        self._try_later()

    def drop(self, node: bytes, reason: str = "node_gone") -> None:
        """Drop the queue of a node, and count its batches."""
        waiting = self._waiting.pop(node, None)
        if waiting is not None and waiting.messages:
            self._dropped[reason] += sum(len(parts) == 3 for parts in waiting.messages)
            waiting.messages.clear()

    def stop(self) -> None:
        """Do not try again."""
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None

    def _try_later(self) -> None:
        if self._retry_timer is None:
            self._retry_timer = self._reactor.callLater(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry_timer = None
        for node, waiting in list(self._waiting.items()):
            try:
                while waiting.messages and self.link.send(waiting.messages[0]):
                    size = len(waiting.messages.popleft()[-1])
                    if waiting.marks.remove(size):
                        self._receiver.node_congested(node, False)
            except zmq.ZMQError:
                self._receiver.node_unreachable(node)
            if not waiting.messages and self._waiting.get(node) is waiting:
                del self._waiting[node]
        if self._waiting:
            self._try_later()
