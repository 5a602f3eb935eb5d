"""PubSub: the topics, barriers and retained frames of one node, on any bus.

``publish`` appends a frame to the queues of this node's connections, and to the batch of each
remote node that subscribes to the topic. Batches are sent at the end of the turn of the event loop,
so each batch has all publications of a turn, and the number of nodes hardly affects the cost of
one.

At the end of a turn a node sends, in this order: changes of its subscriptions, queries, presence,
batches, retained frames, barrier arrivals. So the exchange has a node's subscriptions before its
arrivals, and never releases a barrier before the other nodes have them.

Frames are encoded WebSocket frames (net.websocket.frames); topics are byte strings.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from cluster.core import wire
from cluster.core.broker_state.retained_topic import Position, RetainedTopic
from cluster.core.exceptions import NotPublished
from cluster.core.interfaces import Answer, Subscriber, Take
from cluster.pubsub.batches import MAX_PUBLICATION
from cluster.pubsub.bus import Bus, Clock
from cluster.pubsub.callback_subscribers import CallbackSubscriber
from cluster.pubsub.history_outbox import HistoryOutbox
from cluster.pubsub.local_barriers import LocalBarriers
from cluster.pubsub.local_presence import LocalPresence
from cluster.pubsub.remote_nodes import RemoteNodes
from cluster.pubsub.subscriptions import Begin, Subscriptions

UNSENT_LIMIT = 1 << 20
"""Bytes of publications that wait for the clients of this node, above which publishers must pause.
They wait in the memory of the node until the end of the turn, or longer if each goes to many."""


class PubSub:
    """Call ``flush`` at the end of each turn of the event loop in which ``schedule`` was called.

    ``published`` receives each connection whose ``out`` was empty, so that its owner flushes it.
    ``on_up`` is called when the bus comes up, ``remote_nodes.on_full`` when publishers must pause
    or may resume, ``on_much_unsent`` when one reason for that begins or ends: many bytes wait for
    the clients of this node. ``on_external_request`` is called with the ID and the data of an
    external request, which its owner answers with ``answer_external``. Retained frames expire by
    ``unix_time``, in seconds.

    ``dropped`` counts the publications and batches that were not delivered, by reason.
    """

    def __init__(
        self,
        bus: Bus,
        published: list[Any],  # of objects that are both a Subscriber and a loop's Output
        schedule: Callable[[], None],
        clock: Clock,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self.bus = bus
        self.dropped: Counter[str] = Counter()
        self.on_up: Callable[[], None] = lambda: None
        self.on_much_unsent: Callable[[bool], None] = lambda is_much: None
        self.on_external_request: Callable[[str, bytes], None] = lambda request_id, data: None
        self.remote_nodes = RemoteNodes(bus, schedule, clock, self.dropped)
        self.batches = self.remote_nodes.batches
        self.subscriptions = Subscriptions(
            schedule, lambda: int(unix_time() * 1000), self.dropped, published
        )
        self.batches.on_lost = self.subscriptions.frames_lost
        self.presence = LocalPresence(bus.name, schedule)
        self.remote_nodes.on_left = self.presence.remote_node_left
        self.barriers = LocalBarriers(self._send_control)
        # The hot path: one attribute lookup here instead of several for each message.
        self._connections_of = self.subscriptions.connections.get
        self._remote_nodes_of = self.remote_nodes.subscriptions.get
        self._special = self.subscriptions.special
        self._published = published
        self._unsent = 0  # bytes of publications since all were sent
        self._has_much_unsent = False
        self._schedule = schedule
        self._control: list[wire.Message] = []
        self._retained_outbox = HistoryOutbox(clock.seconds, self.batches.count)

    @property
    def full(self) -> bool:
        """Whether publishers must pause."""
        return self.remote_nodes.full

    @property
    def limit_reached(self) -> bool:
        """Whether publications are refused."""
        return self.batches.limit_reached

    @property
    def queued_bytes(self) -> int:
        """Bytes of publications that the other nodes and the exchange have not acknowledged."""
        return self.batches.unacknowledged.level

    def start(self) -> None:
        """Connect to the bus; ``on_up`` is called when that has succeeded."""
        self.bus.start(self)

    def stop(self) -> None:
        """Disconnect from the bus; nothing is sent after this."""
        self.remote_nodes.bus_down()  # handlers that end may still publish
        self.batches.stop()
        self.bus.stop()

    # Publishing. The loops are repeated rather than shared, to save a call for every message.

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to all subscribers; returns (nodes, connections of this node).

        A node whose only subscriber is a function is counted.
        """
        connections = nodes = 0
        subscribers = self._connections_of(topic)
        if subscribers is not None:
            published = self._published
            for connection in subscribers:
                out = connection.out
                if not out:
                    published.append(connection)
                out.append(frame)
            connections = len(subscribers)
        if topic in self._special:
            connections += self.subscriptions.deliver_special(topic, self._special[topic], frame)
        remote_nodes = self._remote_nodes_of(topic)
        if remote_nodes is not None:
            dirty_nodes = self.batches.dirty
            for node in remote_nodes:
                items = node.items
                if not items:
                    dirty_nodes.append(node)
                items.append(topic)
                items.append(frame)
            nodes = len(remote_nodes)
        self._unsent += len(frame)  # as _count_unsent, written out
        if self._unsent > UNSENT_LIMIT and not self._has_much_unsent:
            self._much_unsent(True)
        self._schedule()
        return (nodes + 1 if connections or topic in self._special else nodes), connections

    def publish_here(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to the subscribers on this node only; returns as ``publish`` does."""
        connections = self.subscriptions.deliver(topic, frame)
        self._count_unsent(len(frame))
        self._schedule()
        return int(self._has_subscribers_here(topic, connections)), connections

    def publish_except(self, connection: Subscriber, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to all subscribers but one connection of this node."""
        connections = self.subscriptions.deliver(topic, frame, skip=connection)
        self._count_unsent(len(frame))
        remote_nodes = self._remote_nodes_of(topic) or ()
        for node in remote_nodes:
            if not node.items:
                self.batches.dirty.append(node)
            node.items += (topic, frame)
        self._schedule()
        nodes = len(remote_nodes) + self._has_subscribers_here(topic, connections)
        return nodes, connections

    def publish_retained(
        self,
        topic: bytes,
        frame: bytes,
        depth: int,
        lifetime: int = 0,
        skip: Subscriber | None = None,
    ) -> tuple[int, int]:
        """Publish through the exchange, which retains the topic's newest ``depth`` frames, this one
        for ``lifetime`` milliseconds (0: without limit).

        All nodes, this one too, receive a retained topic's frames from the exchange, in the same
        order. The connection ``skip`` does not receive this one. Returns (nodes, connections of
        this node) that subscribe now. Raises NotPublished if too much waits for the exchange, or if
        the frame is longer than MAX_PUBLICATION. Then the topic has a gap, so that subscribers
        learn that they have not received all.
        """
        if len(frame) > MAX_PUBLICATION:
            self.dropped["too_large"] += 1
            self._leave_gap(topic, depth, lifetime)
            raise NotPublished(
                f"a publication of {len(frame):,} bytes is too long; the limit is"
                f" {MAX_PUBLICATION:,}"
            )
        if self.batches.limit_reached:
            self.dropped["bus_queue_full"] += 1
            self._leave_gap(topic, depth, lifetime)
            raise NotPublished(
                f"{self.queued_bytes >> 20} MiB of publications wait for the broker; this one is"
                " refused"
            )
        self._retained_outbox.add(topic, depth, frame, lifetime, skip)
        self._schedule()
        subscribers = self._connections_of(topic) or ()
        special = self._special.get(topic)
        connections = (
            len(subscribers) - (skip in subscribers) + (special.connections if special else 0)
        )
        nodes = len(self._remote_nodes_of(topic) or ())
        return nodes + self._has_subscribers_here(topic, connections), connections

    def _leave_gap(self, topic: bytes, depth: int, lifetime: int) -> None:
        self._retained_outbox.refused(topic, depth, lifetime)
        self._schedule()

    def _has_subscribers_here(self, topic: bytes, connections: int) -> bool:
        return connections > 0 or topic in self._special

    def answer_external(self, request_id: str, data: bytes) -> None:
        """Answer an external request at the end of this turn, after what was published in it."""
        self._send_control(wire.ExternalAnswer(request_id, data))

    # Subscribing: the methods of Subscriptions that handlers call; see their docstrings.

    def subscribe(self, connection: Subscriber, topic: bytes) -> None:
        self.subscriptions.subscribe(connection, topic)

    def subscribe_since(
        self, connection: Subscriber, topic: bytes, since: Position | None, begin: Begin
    ) -> None:
        self.subscriptions.subscribe_since(connection, topic, since, begin)

    def subscribe_skipping(
        self, connection: Subscriber, topic: bytes, skipped: Callable[[], None]
    ) -> None:
        self.subscriptions.subscribe_skipping(connection, topic, skipped)

    def unsubscribe(self, connection: Subscriber, topic: bytes) -> None:
        self.subscriptions.unsubscribe(connection, topic)

    def drop(self, connection: Subscriber, skipping_topics: tuple[bytes, ...] = ()) -> None:
        self.subscriptions.drop(connection, skipping_topics)

    def follow(
        self,
        topic: bytes,
        take: Take,
        *,
        since: Position | None = None,
        replay: bool = True,
        answer: Answer | None = None,
        for_client: bool = False,
    ) -> CallbackSubscriber:
        return self.subscriptions.follow(
            topic, take, since=since, replay=replay, answer=answer, for_client=for_client
        )

    def retained(self, topic: bytes) -> RetainedTopic | None:
        return self.subscriptions.history_cache.get(topic)

    def listen(
        self,
        topic: bytes,
        listener: Callable[[bytes], None],
        lost: Callable[[], None] | None = None,
    ) -> None:
        self.subscriptions.listen(topic, listener, lost)

    # The end of a turn.

    def flush(self) -> None:
        """Send what was queued in this turn. While the bus is down it ignores messages to the
        exchange, so that they do not accumulate: ``bus_up`` sends the whole state."""
        are_large = self._has_much_unsent
        if self._unsent and not self._published:
            self._unsent = 0
            if self._has_much_unsent:
                self._much_unsent(False)
        bus = self.bus
        if self.subscriptions.table.changed:
            added, removed = self.subscriptions.table.take_changes()
            bus.send(wire.NodeSubscriptions(bus.name, added, removed))
        for query in self.subscriptions.take_queries():
            bus.send(query)
        if self.presence.changed:
            bus.send(self.presence.take_changes())
        if self.batches.dirty:
            self.batches.flush(are_large)
        outbox = self._retained_outbox
        if outbox.has_unsent and bus.is_up and self.remote_nodes.all_synchronized:
            for retain in outbox.unsent():
                bus.send(retain)
        if self._control:
            control, self._control = self._control, []
            for message in self.barriers.merge(control):
                bus.send(message)

    # What the bus calls (BusReceiver).

    def bus_up(self, welcome: wire.Welcome) -> None:
        after_failure = bool(self.remote_nodes.epoch)
        self._retained_outbox.bus_up(welcome.epoch == self.remote_nodes.epoch)
        self.remote_nodes.bus_up(welcome)
        # Before the subscriptions, which the broker answers with the retained frames.
        for message in self.subscriptions.history_cache.restores():
            self.bus.send(message)
        topics = self.subscriptions.all_topics_wanted(after_failure)
        self.bus.send(wire.NodeSubscriptions(self.bus.name, topics))
        self.bus.send(self.presence.all_held())
        self.batches.flush(self._has_much_unsent)
        self._control = []
        for arrival in self.barriers.all_arrivals():
            self.bus.send(arrival)
        self._schedule()
        self.on_up()

    def bus_down(self) -> None:
        self._retained_outbox.bus_down()
        self.remote_nodes.bus_down()

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
                number = message.number
                skip = self._retained_outbox.acknowledged(number) if number else None
                self.subscriptions.retained_received(message, skip)
                self._count_unsent(sum(map(len, message.frames)))
                self._schedule()
            case wire.Acknowledged(number):
                self._retained_outbox.acknowledged(number)
                if self._retained_outbox.has_unsent:
                    self._schedule()
            case wire.PresenceUpdate():
                self.presence.received(message)
            case wire.Joined(name, returning):
                self.remote_nodes.joined(name, returning)
            case wire.Left():
                self.remote_nodes.left(message)
            case wire.ExternalRequest(request_id, data):
                self.on_external_request(request_id, data)
            case wire.Congested(name):
                self.remote_nodes.congested(name, True)
            case wire.Cleared(name):
                self.remote_nodes.congested(name, False)

    def bus_batch(self, origin: str, data: bytes) -> None:
        items = self.batches.unpack(origin, data)
        connections_of = self._connections_of
        special = self._special
        published = self._published
        pairs = iter(items)
        for topic, frame in zip(pairs, pairs, strict=True):
            subscribers = connections_of(topic)
            if subscribers is not None:
                for connection in subscribers:
                    out = connection.out
                    if not out:
                        published.append(connection)
                    out.append(frame)
            if topic in special:
                self.subscriptions.deliver_special(topic, special[topic], frame)
        self._count_unsent(len(data))
        self._schedule()

    def _count_unsent(self, size: int) -> None:
        self._unsent += size
        if self._unsent > UNSENT_LIMIT and not self._has_much_unsent:
            self._much_unsent(True)

    def _much_unsent(self, is_much: bool) -> None:
        self._has_much_unsent = is_much
        self.on_much_unsent(is_much)
        self.remote_nodes.output_full(is_much)

    def _send_control(self, message: wire.Message) -> None:
        self._control.append(message)
        self._schedule()
