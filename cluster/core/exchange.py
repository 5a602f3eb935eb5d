"""Exchange: what the broker decides.

The rules:

* a node takes part from its Hello to its Goodbye, or until the shell says it is gone (``leave``);
* interest of one node is told to all others; a node that joins is told that of everybody who has
  spoken of it, be it none;
* a barrier's Release is put out after all interest that came before its last arrival. Links are
  FIFO, so a node that has the Release has the interest;
* frames of a retained topic get their order here, so that every node sees the same one;
* a node numbers what it publishes to them, and sends it again if its link was cut: what is there
  already is not stored twice, and what comes after a gap is not stored, for it will come again;
* who is on a topic through one node is told to all others;
* a node that is gone takes its interest, its arrivals and its members with it.

``receive`` and ``leave`` return what to send, as (node, message) in order; ``now`` is Unix time in
milliseconds, for retained frames that expire. This file does not know
how messages travel. In a cluster of one node it runs inside that node, without a broker.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from cluster.core import wire
from cluster.core.barrier import Barrier
from cluster.core.presence import PresenceTable
from cluster.core.retained import RetainedFrames, format_sources
from cluster.core.routing import RoutingTable

Outbox: TypeAlias = list[tuple[str, wire.Message]]

MAX_BARRIERS = 100_000
"""Bounds memory against code that makes up barrier names and never leaves them."""

EXPIRE_EVERY = 10_000
"""Milliseconds after which all retained topics are looked through for frames that have expired.
Nobody is given one in between."""


LOST = -1
"""Instead of a number: some before were lost; the node must say hello and send them again."""


class Exchange:
    """The state of one broker life."""

    def __init__(self, epoch: str, max_barriers: int = MAX_BARRIERS) -> None:
        self.epoch = epoch
        self.max_barriers = max_barriers
        self.subscriptions: RoutingTable[str] = RoutingTable()
        self.retained = RetainedFrames(epoch=epoch)
        self.presence = PresenceTable()
        self._nodes: dict[str, None] = {}
        self._spoken: set[str] = set()
        self._told_presence: set[str] = set()
        self._barriers: dict[str, Barrier] = {}
        self._expire_at = 0
        self._taken: dict[str, int] = {}  # node -> its last publication's number; LOST: see there

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that take part, in the order in which they came."""
        return tuple(self._nodes)

    def receive(self, node: str, message: wire.Message, now: int = 0) -> Outbox:
        """Take a message of a node; returns what to send because of it."""
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY
            self.retained.expire(now)
        if isinstance(message, wire.Hello):
            return self._hello(node, message)
        if node not in self._nodes:
            return [(node, wire.NotKnown())]
        match message:
            case wire.NodeSubscriptions(_, added, removed):
                return self._node_subscriptions(node, added, removed, now)
            case wire.Arrive(name, expected, tokens, released):
                return self._arrive(node, name, expected, tokens, released)
            case wire.Withdraw(name, tokens):
                return self._withdraw(node, name, tokens)
            case wire.Retain():
                return self._retain(node, message, now)
            case wire.Restore():
                return self._restore(message, now)
            case wire.Ask(topic):
                return [(node, self._kept(topic, now) or wire.Retained(topic, 0, 0, ()))]
            case wire.Presence():
                return self._presence(node, message)
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
        self._taken.pop(node, None)
        outbox.append((node, wire.Welcome(self.epoch, peers)))
        for peer in peers:
            if peer in self._spoken:  # else the others may know better, from another broker's life
                outbox.append((node, wire.NodeSubscriptions(peer, self.subscriptions.topics(peer))))
            if peer in self._told_presence:  # be it nobody: the node may know of some that left
                outbox.append((node, wire.Presence(peer, True, self.presence.places(peer))))
        outbox += self._to_others(node, wire.Joined(node))
        return outbox

    def _take_back(self, node: str) -> Outbox:
        del self._nodes[node]
        self._taken.pop(node, None)
        self._spoken.discard(node)
        self._told_presence.discard(node)
        self.subscriptions.drop(node)
        self.presence.drop(node)
        for name, barrier in list(self._barriers.items()):
            barrier.forget(node)
            if barrier.empty:
                del self._barriers[name]
        return self._to_others(node, wire.Left(node))

    def _node_subscriptions(
        self, node: str, added: tuple[bytes, ...], removed: tuple[bytes, ...], now: int
    ) -> Outbox:
        self._spoken.add(node)
        for topic in removed:
            self.subscriptions.remove(topic, node)
        for topic in added:
            self.subscriptions.add(topic, node)
        outbox = self._to_others(node, wire.NodeSubscriptions(node, added, removed))
        for topic in added:
            kept = self._kept(topic, now)
            if kept is not None:
                outbox.append((node, kept))
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

    def _retain(self, node: str, message: wire.Retain, now: int) -> Outbox:
        topic, depth, frame = message.topic, max(1, message.depth), message.frame
        number = message.number
        if number:
            last = self._taken.get(node)
            if last is not None and number != last + 1:
                if last == LOST:
                    return []
                self._taken[node] = LOST
                return [(node, wire.NotKnown())]
            self._taken[node] = number
            known = self.retained.get(topic)
            if known is not None and known.published.get(node, 0) >= number:
                return [(node, wire.Taken(number))]
        expires = now + message.lifetime if message.lifetime else 0
        offset = self.retained.store(topic, depth, frame, expires, now)
        entry = self.retained.get(topic)
        assert entry is not None
        times = (expires,) if expires else ()
        sources = ""
        if number:
            published = {node: number}
            entry.note(published)
            sources = format_sources(published)
        full = len(entry.frames) == 1
        news = wire.Retained(topic, depth, offset, (frame,), entry.epochs, times, sources, 0, full)
        if not number:
            return [(other, news) for other in self.subscriptions.get(topic) or ()]
        outbox: Outbox = [
            (other, news if other != node else replace(news, number=number))
            for other in self.subscriptions.get(topic) or ()
        ]
        if node not in (self.subscriptions.get(topic) or ()):
            outbox.append((node, wire.Taken(number)))
        return outbox

    def _restore(self, message: wire.Restore, now: int) -> Outbox:
        topic, offset = message.topic, message.offset
        known = self.retained.get(topic)
        if known is None and offset <= self.retained.floor:
            return []  # the topic made room for others; these numbers may have been given since
        if known is not None and not known.restored:
            return []  # too late: frames that were numbered here must not be lost
        depth = max(1, message.depth)
        if not self.retained.restore(
            topic, depth, offset, message.frames, message.epochs, message.expires, now,
            message.sources,
        ):  # fmt: skip
            return []
        # Others may have missed frames that only this node had received.
        news = self._kept(topic, now)
        assert news is not None
        return [(node, news) for node in self.subscriptions.get(topic) or ()]

    def _kept(self, topic: bytes, now: int) -> wire.Retained | None:
        kept = self.retained.get(topic, now)
        if kept is None:
            return None
        times = tuple(kept.expires) if any(kept.expires) else ()
        frames = tuple(kept.frames)
        return wire.Retained(
            topic, kept.depth, kept.offset, frames, kept.epochs, times, kept.sources
        )

    def _presence(self, node: str, message: wire.Presence) -> Outbox:
        self._told_presence.add(node)
        if message.full:
            self.presence.replace(node, message.joined)
        else:
            for place in message.left:
                self.presence.leave(node, place)
            for place in message.joined:
                self.presence.join(node, place)
        told = wire.Presence(node, message.full, message.joined, message.left)
        return self._to_others(node, told)

    def _to_others(self, node: str, message: wire.Message) -> Outbox:
        return [(other, message) for other in self._nodes if other != node]
