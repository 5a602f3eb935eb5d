"""PubSub: the topics, barriers and retained frames of one node, on any bus.

A publication goes into the queues of this node's connections at once, and into the pack of each
peer that has said it wants the topic; the packs leave when the reactor's iteration ends. So a
publication costs the same however many nodes there are, and a pack carries what an iteration gave.

Everything that goes out at the end of an iteration goes in this order: interest, questions about
what is kept, presence, packs, then barrier arrivals and retained frames. A barrier's release is
thus never overtaken by interest.

Frames are encoded WebSocket frames (net.websocket.frames); topics are byte strings.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from cluster.core import wire
from cluster.pubsub.barriers import LocalBarriers
from cluster.pubsub.bus import Bus
from cluster.pubsub.presence import Presence
from cluster.pubsub.remote_nodes import HELD_LIMIT, RemoteNodes
from cluster.pubsub.retained_outbox import RetainedOutbox
from cluster.pubsub.subscriptions import Subscriptions


class PubSub:
    """Call ``flush`` at the end of each iteration in which something was published.

    ``dirty`` and ``schedule`` are those of the EndOfTurn the connections use. ``on_up`` is called
    whenever the bus comes up, ``peers.on_full`` when publishers must pause or may go on. The
    clock's seconds are Unix time, as Twisted's reactors have it: retained frames expire by it.
    """

    def __init__(
        self, bus: Bus, dirty: list[Any], schedule: Callable[[], None], clock: Any
    ) -> None:
        self.bus = bus
        self.on_up: Callable[[], None] = lambda: None
        self.remote_nodes = RemoteNodes(bus, schedule, clock)
        self.subscriptions = Subscriptions(schedule, lambda: int(clock.seconds() * 1000))
        self.presence = Presence(bus.name, schedule)
        self.remote_nodes.on_left = self.presence.remote_node_left
        self.barriers = LocalBarriers(self._send_control)
        self.subscribe = self.subscriptions.subscribe
        self.subscribe_since = self.subscriptions.subscribe_since
        self.subscribe_skipping = self.subscriptions.subscribe_skipping
        self.unsubscribe = self.subscriptions.unsubscribe
        self.drop = self.subscriptions.drop
        self.follow = self.subscriptions.follow
        self.listen = self.subscriptions.listen
        # Bound once, for the loops below.
        self._connections_of = self.subscriptions.connections.get
        self._remote_nodes_of = self.remote_nodes.subscriptions.get
        self._special = self.subscriptions.special
        self._dirty = dirty
        self._schedule = schedule
        self._control: list[wire.Message] = []
        self._retained_outbox = RetainedOutbox(clock.seconds, self.remote_nodes.hold)

    @property
    def full(self) -> bool:
        """Whether publishers must pause."""
        return self.remote_nodes.full

    @property
    def dropped(self) -> Counter[str]:
        """Publications and packs that were not delivered, by reason."""
        missed = self.subscriptions.retained_cache.missed
        if missed:
            self.remote_nodes.dropped["history_gap"] = missed
        return self.remote_nodes.dropped

    @property
    def queued_bytes(self) -> int:
        """Bytes of publications that wait in this node, for the bus or for peers to come back."""
        return self.remote_nodes.held.level + self.bus.queued_bytes

    def stop(self) -> None:
        """Say goodbye to the bus; nothing is sent any more."""
        self.remote_nodes.stop_waiting()
        self.bus.stop()

    # Publishing. The loops are written out: this runs for every message.

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to all subscribers; returns (nodes, local connections) it was queued to.

        A node on which only a handler listens counts, too.
        """
        connections = nodes = 0
        subscribers = self._connections_of(topic)
        if subscribers is not None:
            dirty = self._dirty
            for connection in subscribers:
                out = connection.out
                if not out:
                    dirty.append(connection)
                out.append(frame)
            connections = len(subscribers)
        if topic in self._special:
            connections += self.subscriptions.deliver_special(topic, self._special[topic], frame)
        peers = self._remote_nodes_of(topic)
        if peers is not None:
            dirty_nodes = self.remote_nodes.dirty
            for peer in peers:
                items = peer.items
                if not items:
                    dirty_nodes.append(peer)
                items.append(topic)
                items.append(frame)
            nodes = len(peers)
        self._schedule()
        return (nodes + 1 if connections or topic in self._special else nodes), connections

    def publish_here(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to the subscribers on this node only; returns like publish."""
        connections = self.subscriptions.deliver(topic, frame)
        self._schedule()
        return int(self._is_heard_here(topic, connections)), connections

    def publish_except(self, connection: Any, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to all subscribers but one connection of this node."""
        connections = self.subscriptions.deliver(topic, frame, skip=connection)
        peers = self._remote_nodes_of(topic) or ()
        for peer in peers:
            if not peer.items:
                self.remote_nodes.dirty.append(peer)
            peer.items += (topic, frame)
        self._schedule()
        return len(peers) + self._is_heard_here(topic, connections), connections

    def publish_retained(
        self, topic: bytes, frame: bytes, depth: int, lifetime: int = 0, skip: Any = None
    ) -> tuple[int, int]:
        """Publish through the exchange, which keeps the newest ``depth`` frames of the topic, each
        for ``lifetime`` milliseconds (0: for ever).

        All nodes, this one too, get the frames of a retained topic in the same order. The
        connection ``skip`` does not get this one. Returns (nodes, connections of this node) that
        are subscribed now.
        """
        if self.remote_nodes.held.level > HELD_LIMIT:
            self.dropped["bus_queue_full"] += 1
            return 0, 0
        self._retained_outbox.add(topic, depth, frame, lifetime, skip)
        self._schedule()
        subscribers = self._connections_of(topic) or ()
        special = self._special.get(topic)
        connections = (
            len(subscribers) - (skip in subscribers) + (special.connections if special else 0)
        )
        nodes = len(self._remote_nodes_of(topic) or ()) + self._is_heard_here(topic, connections)
        return nodes, connections

    def _is_heard_here(self, topic: bytes, connections: int) -> bool:
        return connections > 0 or topic in self._special

    # The end of an iteration.

    def flush(self) -> None:
        """Send what this iteration gave: interest, packs, then arrivals and retained frames.

        What is said while the bus is down is ignored there, rather than gathered here: bus_up says
        all of it anew.
        """
        bus = self.bus
        if self.subscriptions.subscriptions_changed:
            added, removed = self.subscriptions.take_subscription_changes()
            bus.send(wire.NodeSubscriptions(bus.name, added, removed))
        for ask in self.subscriptions.take_asks():
            bus.send(ask)
        if self.presence.has_news:
            bus.send(self.presence.take_news())
        if self.remote_nodes.dirty:
            self.remote_nodes.flush()
        if self._retained_outbox.has_unsent and bus.is_up and self.remote_nodes.all_heard:
            for retain in self._retained_outbox.unsent():
                bus.send(retain)
        if self._control:
            control, self._control = self._control, []
            for message in self.barriers.merge(control):
                bus.send(message)

    # What the bus tells (IBusReceiver).

    def bus_up(self, welcome: wire.Welcome) -> None:
        self._retained_outbox.bus_up(welcome.epoch == self.remote_nodes.epoch)
        self.remote_nodes.bus_up(welcome)
        for message in self.subscriptions.retained_cache.restores():
            self.bus.send(message)
        self.bus.send(wire.NodeSubscriptions(self.bus.name, self.subscriptions.all_topics_wanted()))
        self.bus.send(self.presence.all_held())
        self.remote_nodes.flush()
        self._control = []
        for arrival in self.barriers.all_arrivals():
            self.bus.send(arrival)
        self._schedule()
        self.on_up()

    def bus_down(self, unsent: list[tuple[str, bytes]]) -> None:
        self._retained_outbox.bus_down()
        self.remote_nodes.bus_down(unsent)

    def bus_full(self, full: bool) -> None:
        self.remote_nodes.bus_full(full)

    def bus_message(self, message: wire.Message) -> None:
        match message:
            case wire.NodeSubscriptions():
                self.remote_nodes.subscriptions_received(message)
            case wire.Release(name, tokens):
                self.barriers.released(name, tokens)
            case wire.Refuse(name, tokens):
                self.barriers.refused(name, tokens)
            case wire.Retained():
                skip = self._retained_outbox.taken(message.number) if message.number else None
                self.subscriptions.take_retained(message, skip)
                self._schedule()
            case wire.Acknowledged(number):
                self._retained_outbox.taken(number)
            case wire.PresenceUpdate():
                self.presence.said(message)
            case wire.Joined(name):
                self.remote_nodes.joined(name)
            case wire.Left(name):
                self.remote_nodes.left(name)
            case wire.Congested(name):
                self.remote_nodes.congested(name, True)
            case wire.Cleared(name):
                self.remote_nodes.congested(name, False)

    def bus_batch(self, origin: str, data: bytes) -> None:
        items = self.remote_nodes.unpack(origin, data)
        connections_of = self._connections_of
        special = self._special
        dirty = self._dirty
        pairs = iter(items)
        for topic, frame in zip(pairs, pairs, strict=True):
            subscribers = connections_of(topic)
            if subscribers is not None:
                for connection in subscribers:
                    out = connection.out
                    if not out:
                        dirty.append(connection)
                    out.append(frame)
            if topic in special:
                self.subscriptions.deliver_special(topic, special[topic], frame)
        self._schedule()

    def _send_control(self, message: wire.Message) -> None:
        self._control.append(message)
        self._schedule()
