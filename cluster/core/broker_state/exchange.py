"""Exchange: the broker's state machine.

The rules:

* a node is live from its Hello until its Goodbye, or until the caller reports with ``leave`` that
  it is gone;
* the exchange forwards the subscriptions and the members of a node to all other nodes. It sends a
  node that joins those of all nodes that have sent theirs, even if they are empty;
* it sends the Release of a barrier after all subscriptions that it received before the last
  arrival. Links are FIFO, so a node that has received the Release has received the subscriptions;
* it numbers the frames of a retained topic, so that all nodes deliver them in the same order;
* a node numbers its retained publications, and sends them again after its link was lost. The
  exchange does not store a publication twice. It does not store one that comes after a gap either,
  because the node sends that again, too;
* a node that is gone loses its subscriptions, its arrivals and its members.

``receive`` and ``leave`` return the messages to send, as (node, message) in order. ``now`` is Unix
time in milliseconds; retained frames expire by it. This module does not know how messages are sent.
In a cluster of one node it runs in that node, without a broker.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

from cluster.core import wire
from cluster.core.broker_state.barrier import Barrier
from cluster.core.broker_state.presence import PresenceTable
from cluster.core.broker_state.retained_topic import format_sources
from cluster.core.broker_state.topic_history import RetainedFrames
from cluster.core.routing import RoutingTable

Outgoing: TypeAlias = list[tuple[str, wire.Message]]

MAX_BARRIERS = 100_000
"""Barriers at a time, for applications that use ever new names and never leave a barrier."""

EXPIRE_EVERY = 10_000
"""Milliseconds between two searches of all retained topics for expired frames, which free memory.
Expired frames that are still in memory are not sent."""

RESEND = -1
"""Instead of a node's last number: publications are missing, and the node must send them again."""


class Exchange:
    """The state of one broker process, which ``epoch`` identifies."""

    def __init__(self, epoch: str, max_barriers: int = MAX_BARRIERS) -> None:
        self.epoch = epoch
        self.max_barriers = max_barriers
        self.subscriptions: RoutingTable[str] = RoutingTable()
        self.retained = RetainedFrames(epoch=epoch)
        self.on_retained: Callable[[wire.Retained], object] = lambda message: None
        """Called with new frames of a topic, or with all that it retains after ``Restore``."""
        self.presence = PresenceTable()
        self._nodes: dict[str, None] = {}
        self._sent_subscriptions: set[str] = set()
        self._sent_presence: set[str] = set()
        self._barriers: dict[str, Barrier] = {}
        self._expire_at = 0
        self._last_numbers: dict[str, int] = {}  # node -> its last retained publication, or RESEND

    def __contains__(self, node: str) -> bool:
        """Whether a node is live."""
        return node in self._nodes

    @property
    def nodes(self) -> tuple[str, ...]:
        """The live nodes, in the order in which they joined."""
        return tuple(self._nodes)

    def receive(self, node: str, message: wire.Message, now: int = 0) -> Outgoing:
        """Process a message of a node; returns what to send because of it."""
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY
            self.retained.expire(now)
        if isinstance(message, wire.Hello):
            return self._hello(node, message)
        if node not in self:
            return [(node, wire.UnknownNode())]
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
                return self.restore(message, now)
            case wire.Query(topic):
                return [(node, self.history(topic, now) or wire.Retained(topic, 0, 0, ()))]
            case wire.PresenceUpdate():
                return self._presence_update(node, message)
            case wire.Goodbye():
                return self.leave(node, ended=True)
        return [(node, wire.Rejected(f"a node does not send {type(message).__name__}"))]

    def load(self, messages: Iterable[wire.Restore], now: int) -> None:
        """Take over what an earlier exchange has retained. Call it before any node joins."""
        for message in messages:
            self.restore(message, now)

    def leave(self, node: str, ended: bool = False) -> Outgoing:
        """Remove a node that is gone; returns what to send because of it.

        ``ended``: it will not return.
        """
        if node not in self:
            return []
        outgoing = self._remove(node, ended)
        for name, barrier in self._barriers.items():
            outgoing += self._release_if_ready(name, barrier)
        return outgoing

    def _hello(self, node: str, message: wire.Hello) -> Outgoing:
        if message.version != wire.VERSION:
            reason = (
                f"the broker uses version {wire.VERSION} of the link, "
                f"node {node} version {message.version}"
            )
            return [*self.leave(node), (node, wire.Rejected(reason))]
        # A live node sends Hello again after its link was lost, because messages may be lost.
        # It has not left, and ``leave`` could release barriers without it, so do not call that.
        outgoing = self._remove(node) if node in self else []
        others = self.nodes
        self._nodes[node] = None
        self._last_numbers.pop(node, None)
        outgoing += self._welcome(node, others)
        return outgoing + self._to_others(node, wire.Joined(node, message.returning))

    def _welcome(self, node: str, others: tuple[str, ...]) -> Outgoing:
        state = (message for other in others for message in self.state_of(other))
        return [(node, message) for message in (wire.Welcome(self.epoch, others), *state)]

    def state_of(self, node: str) -> list[wire.Message]:
        """What another node must receive about a live node, after Welcome or Joined."""
        state: list[wire.Message] = []
        # Nothing for a node that has not sent its subscriptions yet, rather than none: the receiver
        # may remember its subscriptions from the previous broker.
        if node in self._sent_subscriptions:
            state.append(wire.NodeSubscriptions(node, self.subscriptions.topics(node)))
        # Even if it is empty: the receiver may remember members that have left meanwhile.
        if node in self._sent_presence:
            state.append(wire.PresenceUpdate(node, True, self.presence.memberships(node)))
        return state

    def _remove(self, node: str, ended: bool = False) -> Outgoing:
        del self._nodes[node]
        self._last_numbers.pop(node, None)
        self._sent_subscriptions.discard(node)
        self._sent_presence.discard(node)
        self.subscriptions.drop(node)
        self.presence.drop(node)
        for name, barrier in list(self._barriers.items()):
            barrier.forget(node)
            if barrier.empty:
                del self._barriers[name]
        return self._to_others(node, wire.Left(node, ended))

    def _node_subscriptions(
        self, node: str, added: tuple[bytes, ...], removed: tuple[bytes, ...], now: int
    ) -> Outgoing:
        self._sent_subscriptions.add(node)
        for topic in removed:
            self.subscriptions.remove(topic, node)
        for topic in added:
            self.subscriptions.add(topic, node)
        outgoing = self._to_others(node, wire.NodeSubscriptions(node, added, removed))
        for topic in added:
            history = self.history(topic, now)
            if history is not None:
                outgoing.append((node, history))
        return outgoing

    def _arrive(
        self, node: str, name: str, expected: int, tokens: tuple[int, ...], released: bool
    ) -> Outgoing:
        barrier = self._barriers.get(name)
        if barrier is None:
            if len(self._barriers) >= self.max_barriers:
                return [(node, wire.Refuse(name, tokens))]
            barrier = self._barriers[name] = Barrier(expected)
        if barrier.expected != expected:
            return [(node, wire.Refuse(name, tokens))]
        outgoing: Outgoing = []
        if released:
            barrier.rejoin(node, tokens)
        else:
            refused = barrier.arrive(node, tokens)
            if refused:
                outgoing.append((node, wire.Refuse(name, tuple(refused))))
        if barrier.empty:
            del self._barriers[name]
        return outgoing + self._release_if_ready(name, barrier)

    def _withdraw(self, node: str, name: str, tokens: Iterable[int]) -> Outgoing:
        barrier = self._barriers.get(name)
        if barrier is not None:
            barrier.withdraw(node, tokens)
            if barrier.empty:
                del self._barriers[name]
        return []

    def _release_if_ready(self, name: str, barrier: Barrier) -> Outgoing:
        if not barrier.ready(self._nodes):
            return []
        return [(node, wire.Release(name, tokens)) for node, tokens in barrier.release().items()]

    def _retain(self, node: str, message: wire.Retain, now: int) -> Outgoing:
        topic, depth, frame = message.topic, max(1, message.depth), message.frame
        number = message.number
        if number:
            last = self._last_numbers.get(node)
            # A new connection can carry publications before the node's Hello on it, while the last
            # ones on the old connection are lost. Storing what comes after such a gap would change
            # the order, so the exchange asks for a Hello, once. The node then sends again all that
            # was not acknowledged. After a Hello any number is accepted as the first.
            if last is not None and number != last + 1:
                if last == RESEND:
                    return []
                self._last_numbers[node] = RESEND
                return [(node, wire.UnknownNode())]
            self._last_numbers[node] = number
            # The topic itself knows the numbers of its publishers, also those that were restored
            # from other nodes. So this holds when the previous broker stored the publication and
            # died before it acknowledged it.
            known = self.retained.get(topic)
            if known is not None and known.published.get(node, 0) >= number:
                return [(node, wire.Acknowledged(number))]
        expires = now + message.lifetime if message.lifetime else 0
        offset = self.retained.store(topic, depth, frame, expires, now)
        entry = self.retained.get(topic)
        assert entry is not None
        times = (expires,) if expires else ()
        sources = ""
        if number:
            published = {node: number}
            entry.record_publishers(published)
            sources = format_sources(published)
        full = len(entry.frames) <= 1  # none is retained if this is a gap (topic_history)
        news = wire.Retained(topic, depth, offset, (frame,), entry.epochs, times, sources, 0, full)
        self.on_retained(news)
        subscribers = self.subscriptions.get(topic) or {}
        if not number:
            return [(other, news) for other in subscribers]
        # The publisher's copy carries the acknowledgement, if the publisher subscribes.
        outgoing: Outgoing = [
            (other, news if other != node else replace(news, number=number))
            for other in subscribers
        ]
        if node not in subscribers:
            outgoing.append((node, wire.Acknowledged(number)))
        return outgoing

    def lacks(self, message: wire.Restore) -> bool:
        """Whether ``restore`` would have an effect."""
        known = self.retained.get(message.topic)
        if known is None:  # up to the floor, other frames may have these offsets since
            return message.offset > self.retained.floor
        # Frames that were numbered here must not be replaced.
        return known.restored and message.offset > known.offset

    def restore(self, message: wire.Restore, now: int) -> Outgoing:
        """Take over a topic that another process knows; returns what to send to subscribers."""
        if not self.lacks(message):
            return []
        topic, offset, depth = message.topic, message.offset, max(1, message.depth)
        self.retained.restore(
            topic, depth, offset, message.frames, message.epochs, message.expires, now,
            message.sources,
        )  # fmt: skip
        # Other nodes may have missed frames that only this node had received.
        history = self.history(topic, now)
        assert history is not None
        self.on_retained(history)
        return [(node, history) for node in self.subscriptions.get(topic) or ()]

    def history(self, topic: bytes, now: int) -> wire.Retained | None:
        """What a topic retains, as a new subscriber's node receives it; None if nothing."""
        entry = self.retained.get(topic, now)
        if entry is None:
            return None
        times = tuple(entry.expires) if any(entry.expires) else ()
        frames = tuple(entry.frames)
        return wire.Retained(
            topic, entry.depth, entry.offset, frames, entry.epochs, times, entry.sources
        )

    def _presence_update(self, node: str, message: wire.PresenceUpdate) -> Outgoing:
        self._sent_presence.add(node)
        if message.full:
            self.presence.replace(node, message.joined)
        else:
            for membership in message.left:
                self.presence.leave(node, membership)
            for membership in message.joined:
                self.presence.join(node, membership)
        update = wire.PresenceUpdate(node, message.full, message.joined, message.left)
        return self._to_others(node, update)

    def _to_others(self, node: str, message: wire.Message) -> Outgoing:
        return [(other, message) for other in self._nodes if other != node]
