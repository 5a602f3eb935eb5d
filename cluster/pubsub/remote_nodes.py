"""The other nodes, as this one knows them: their subscriptions, batches to them, congestion.

The rules:

* when a node leaves, its subscriptions are removed, and the publications queued for it are dropped
  and counted;
* while the bus is down, and until a node has joined a new broker, batches to it are held. Its old
  subscriptions stay valid until it has sent its present ones;
* batches to each node are numbered, so that the receiver detects gaps (incoming_batches.py);
* ``full`` means that publishers must pause: the queue of the bus is full, a node does not read, or
  too many bytes are held.
"""

from collections import Counter
from collections.abc import Callable

from cluster.core import wire
from cluster.core.routing import RoutingTable
from cluster.core.water_marks import WaterMarks
from cluster.core.wire.fields import encode_batch, publications
from cluster.pubsub.bus import Bus, Clock, Timer

MAX_LEFT = 1024
"""Nodes that have left whose batch numbers are remembered: a node whose link was lost reconnects
under the same name, and expects the numbers to continue."""

REJOIN_TIMEOUT_S = 5.0
"""Seconds for which batches to the nodes of a dead broker are held after a new broker has come up.
Nodes that have not joined it by then count as gone."""

HELD_HIGH_WATER = 8 << 20
HELD_LOW_WATER = 2 << 20
"""Bytes of publications held for nodes out of reach. Above the first mark publishers must pause; at
or below the second they may resume."""

HELD_LIMIT = 4 * HELD_HIGH_WATER
"""Bytes above which batches are dropped (``bus_queue_full``)."""


class RemoteNode:
    """Another node. ``items`` are the publications for its next batch: topic, frame, topic, …

    ``present`` is False while the bus is down, and until the node has joined a new broker. Batches
    to it are ``held`` for that time. ``sequence`` is the number of the last batch.
    """

    __slots__ = ("held", "items", "name", "present", "sequence", "subscriptions_are_old")

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: list[bytes] = []
        self.held: list[bytes] = []
        self.sequence = 0
        self.present = True
        self.subscriptions_are_old = False


class RemoteNodes:
    """Call ``flush`` at the end of each turn in which a node was added to ``dirty``.

    ``schedule`` asks for that flush. ``on_full`` is called when ``full`` changes, ``on_left`` when
    a node is gone. ``dropped`` counts publications that are not sent, by reason.
    """

    def __init__(
        self, bus: Bus, schedule: Callable[[], None], clock: Clock, dropped: Counter[str]
    ) -> None:
        self.full = False
        self.on_full: Callable[[bool], None] = lambda full: None
        self.on_left: Callable[[str], None] = lambda name: None
        self.subscriptions: RoutingTable[RemoteNode] = RoutingTable()
        self.dirty: list[RemoteNode] = []
        """Nodes with publications for the next batch. Publishing appends a node when its ``items``
        were empty."""
        self.held = WaterMarks(HELD_HIGH_WATER, HELD_LOW_WATER)
        self.by_name: dict[str, RemoteNode] = {}
        self.epoch = ""
        """Identifies the broker process."""
        self._dropped = dropped
        self._bus = bus
        self._schedule = schedule
        self._clock = clock
        self._left: dict[str, RemoteNode] = {}
        self._congested: set[str] = set()
        self._bus_full = False
        self._expected: set[str] = set()  # nodes that have not sent the broker their state
        self._rejoin_timer: Timer | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The other live nodes."""
        return tuple(self.by_name)

    @property
    def all_synchronized(self) -> bool:
        """Whether each node has sent the broker its state, or is gone.

        Until then a new broker may not know all retained frames, and would give their offsets to
        new frames.
        """
        return not self._expected

    def flush(self) -> None:
        """Send each dirty node its batch, or hold it."""
        dirty, self.dirty = self.dirty, []
        for node in dirty:
            items, node.items = node.items, []
            if not items:
                continue
            node.sequence += 1
            batch = encode_batch(node.sequence, items)
            if node.present:
                self._bus.send_batch(node.name, batch)
            else:
                self._hold(node, batch)

    def bus_up(self, welcome: wire.Welcome) -> None:
        """The bus carries batches again. Nodes that are not in ``welcome`` may join later."""
        self.stop_waiting()
        for name, node in list(self.by_name.items()):
            node.subscriptions_are_old = True  # it sends the present ones again
            if name not in welcome.nodes:
                if welcome.epoch == self.epoch:
                    self.left(name)
                else:  # another broker, which does not know the nodes yet
                    node.present = False
        self.epoch = welcome.epoch
        for name in welcome.nodes:
            self.joined(name)
        self._expected = set(self.by_name)
        if self._expected:
            self._rejoin_timer = self._clock.callLater(REJOIN_TIMEOUT_S, self._give_up)
        self._congested.clear()  # the broker sends Congested again
        self._congestion_changed()

    def bus_down(self, unsent: list[tuple[str, bytes]]) -> None:
        """Hold all batches until the bus is up; ``unsent`` are those that the bus has not sent."""
        self.stop_waiting()
        for node in self.by_name.values():
            node.present = False
        for name, batch in unsent:
            if name in self.by_name:
                self._hold(self.by_name[name], batch)
            else:
                self._dropped["node_gone"] += publications(batch)

    def bus_full(self, full: bool) -> None:
        """The queue of the bus is full (True), or has room again (False)."""
        self._bus_full = full
        self._congestion_changed()

    def subscriptions_received(self, message: wire.NodeSubscriptions) -> None:
        """Apply changes of a node's subscriptions."""
        node = self.joined(message.node)
        self._synchronized(message.node)
        if node.subscriptions_are_old:
            node.subscriptions_are_old = False
            self.subscriptions.drop(node)
        for topic in message.removed:
            self.subscriptions.remove(topic, node)
        for topic in message.added:
            self.subscriptions.add(topic, node)

    def congested(self, name: str, is_congested: bool) -> None:
        """The broker's queue of a node is full (True), or has drained (False)."""
        (self._congested.add if is_congested else self._congested.discard)(name)
        self._congestion_changed()

    def joined(self, name: str) -> RemoteNode:
        """A node has joined: send the batches that are held for it."""
        node = self.by_name.get(name)
        if node is None:
            node = self._left.pop(name, None)
            if node is None:
                node = RemoteNode(name)
            self.by_name[name] = node
            # The message may have arrived on a link that has been lost since.
            node.present = self._bus.is_up
        elif not node.present and self._bus.is_up:
            node.present = True
            held, node.held = node.held, []
            for batch in held:
                self._bus.send_batch(name, batch)
            self._release(held)
        return node

    def left(self, name: str) -> None:
        """A node is gone."""
        node = self.by_name.pop(name, None)
        if node is None:
            return
        self.subscriptions.drop(node)
        self._dropped["node_gone"] += len(node.items) // 2 + sum(map(publications, node.held))
        held, node.held, node.items = node.held, [], []
        self._release(held)
        self._left[name] = node
        if len(self._left) > MAX_LEFT:
            del self._left[next(iter(self._left))]
        self._synchronized(name)
        self._congested.discard(name)
        self._congestion_changed()
        self.on_left(name)

    def stop_waiting(self) -> None:
        """Stop waiting for nodes to rejoin; cancels the timer."""
        self._expected = set()
        if self._rejoin_timer is not None:
            self._rejoin_timer.cancel()
            self._rejoin_timer = None

    def count_held(self, change: int) -> None:
        """Add to the bytes of publications that are held outside of this class; negative numbers
        subtract."""
        changed = self.held.add(change) if change > 0 else self.held.remove(-change)
        if changed:
            self._congestion_changed()

    def _hold(self, node: RemoteNode, batch: bytes) -> None:
        if self.held.level > HELD_LIMIT:
            self._dropped["bus_queue_full"] += publications(batch)
            return
        node.held.append(batch)
        if self.held.add(len(batch)):
            self._congestion_changed()

    def _release(self, batches: list[bytes]) -> None:
        if self.held.remove(sum(map(len, batches))):
            self._congestion_changed()

    def _synchronized(self, name: str) -> None:
        """A node has sent the broker its state, or is gone."""
        if name in self._expected:
            self._expected.discard(name)
            if not self._expected:
                self.stop_waiting()
                self._schedule()

    def _give_up(self) -> None:
        self._rejoin_timer = None
        for node in list(self.by_name.values()):
            if not node.present:
                self.left(node.name)
        self._expected = set()
        self._schedule()

    def _congestion_changed(self) -> None:
        full = self._bus_full or self.held.full or bool(self._congested)
        if full != self.full:
            self.full = full
            self.on_full(full)
