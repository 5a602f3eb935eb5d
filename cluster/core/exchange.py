"""Exchange: what the broker decides.

The rules:

* a node takes part from its Hello to its Goodbye, or until the shell says it is gone (``leave``);
* interest of one node is told to all others; a node that joins is told that of everybody who has
  spoken of it, be it none;
* a barrier's Release is put out after all interest that came before its last arrival. Links are
  FIFO, so a node that has the Release has the interest;
* frames of a retained topic get their order here, so that every node sees the same one;
* a node that is gone takes its interest and its arrivals with it.

``receive`` and ``leave`` return what to send, as (node, message) in order. This file does not know
how messages travel. In a cluster of one node it runs inside that node, without a broker.
"""

from collections.abc import Iterable
from typing import TypeAlias

from cluster.core import wire
from cluster.core.barrier import Barrier
from cluster.core.retained import RetainedFrames
from cluster.core.routing import RoutingTable

Outbox: TypeAlias = list[tuple[str, wire.Message]]

MAX_BARRIERS = 100_000
"""Bounds memory against code that makes up barrier names and never leaves them."""


class Exchange:
    """The state of one broker life."""

    def __init__(self, epoch: str, max_barriers: int = MAX_BARRIERS) -> None:
        self.epoch = epoch
        self.max_barriers = max_barriers
        self.interest: RoutingTable[str] = RoutingTable()
        self.retained = RetainedFrames()
        self._nodes: dict[str, None] = {}
        self._spoken: set[str] = set()
        self._barriers: dict[str, Barrier] = {}

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that take part, in the order in which they came."""
        return tuple(self._nodes)

    def receive(self, node: str, message: wire.Message) -> Outbox:
        """Take a message of a node; returns what to send because of it."""
        if isinstance(message, wire.Hello):
            return self._hello(node, message)
        if node not in self._nodes:
            return [(node, wire.NotKnown())]
        match message:
            case wire.Interest(_, added, removed):
                return self._interest(node, added, removed)
            case wire.Arrive(name, expected, tokens, released):
                return self._arrive(node, name, expected, tokens, released)
            case wire.Withdraw(name, tokens):
                return self._withdraw(node, name, tokens)
            case wire.Retain(topic, depth, frame):
                return self._retain(topic, depth, frame)
            case wire.Restore(topic, depth, offset, frames):
                return self._restore(topic, depth, offset, frames)
            case wire.Goodbye():
                return self.leave(node)
        return [(node, wire.Unwelcome(f"a node does not send {type(message).__name__}"))]

    def leave(self, node: str) -> Outbox:
        """A node is gone: take back what it had, tell the others."""
        if node not in self._nodes:
            return []
        outbox = self._take_back(node)
        for name, barrier in self._barriers.items():
            outbox += self._release_if_ready(name, barrier)
        return outbox

    def _hello(self, node: str, message: wire.Hello) -> Outbox:
        if message.version != wire.VERSION:
            reason = (
                f"the broker speaks version {wire.VERSION} of the link, "
                f"node {node} version {message.version}"
            )
            return [*self.leave(node), (node, wire.Unwelcome(reason))]
        # A Hello from a node that is known: its link was cut and what was on it is uncertain. It
        # never was away, though, so a barrier of all nodes goes on waiting for it.
        outbox = self._take_back(node) if node in self._nodes else []
        peers = self.nodes
        self._nodes[node] = None
        outbox.append((node, wire.Welcome(self.epoch, peers)))
        for peer in peers:
            if peer in self._spoken:  # else the others may know better, from another broker's life
                outbox.append((node, wire.Interest(peer, self.interest.topics(peer))))
        outbox += self._to_others(node, wire.Joined(node))
        return outbox

    def _take_back(self, node: str) -> Outbox:
        del self._nodes[node]
        self._spoken.discard(node)
        self.interest.drop(node)
        for name, barrier in list(self._barriers.items()):
            barrier.forget(node)
            if barrier.empty:
                del self._barriers[name]
        return self._to_others(node, wire.Left(node))

    def _interest(self, node: str, added: tuple[bytes, ...], removed: tuple[bytes, ...]) -> Outbox:
        self._spoken.add(node)
        for topic in removed:
            self.interest.remove(topic, node)
        for topic in added:
            self.interest.add(topic, node)
        outbox = self._to_others(node, wire.Interest(node, added, removed))
        for topic in added:
            kept = self.retained.get(topic)
            if kept is not None:
                message = wire.Retained(topic, kept.depth, kept.offset, tuple(kept.frames))
                outbox.append((node, message))
        return outbox

    def _arrive(
        self, node: str, name: str, expected: int, tokens: tuple[int, ...], released: bool
    ) -> Outbox:
        barrier = self._barriers.get(name)
        if barrier is None:
            if len(self._barriers) >= self.max_barriers:
                return [(node, wire.Refuse(name, tokens))]
            barrier = self._barriers[name] = Barrier(expected)
        if barrier.expected != expected:
            return [(node, wire.Refuse(name, tokens))]
        outbox: Outbox = []
        if released:
            barrier.rejoin(node, tokens)
        else:
            refused = barrier.arrive(node, tokens)
            if refused:
                outbox.append((node, wire.Refuse(name, tuple(refused))))
        if barrier.empty:
            del self._barriers[name]
        return outbox + self._release_if_ready(name, barrier)

    def _withdraw(self, node: str, name: str, tokens: Iterable[int]) -> Outbox:
        barrier = self._barriers.get(name)
        if barrier is not None:
            barrier.withdraw(node, tokens)
            if barrier.empty:
                del self._barriers[name]
        return []

    def _release_if_ready(self, name: str, barrier: Barrier) -> Outbox:
        if not barrier.ready(self._nodes):
            return []
        return [(node, wire.Release(name, tokens)) for node, tokens in barrier.release().items()]

    def _retain(self, topic: bytes, depth: int, frame: bytes) -> Outbox:
        offset = self.retained.store(topic, max(1, depth), frame)
        message = wire.Retained(topic, max(1, depth), offset, (frame,))
        return [(node, message) for node in self.interest.get(topic) or ()]

    def _restore(self, topic: bytes, depth: int, offset: int, frames: tuple[bytes, ...]) -> Outbox:
        if self.retained.get(topic) is None and offset <= self.retained.floor:
            return []  # the topic made room for others; these numbers may have been given since
        if not self.retained.restore(topic, max(1, depth), offset, frames):
            return []
        # Others may have missed frames that only this node had received.
        message = wire.Retained(topic, max(1, depth), offset, frames)
        return [(node, message) for node in self.interest.get(topic) or ()]

    def _to_others(self, node: str, message: wire.Message) -> Outbox:
        return [(other, message) for other in self._nodes if other != node]
