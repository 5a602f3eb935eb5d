"""The other nodes, as this one knows them: their subscriptions, whether they are there, congestion.

The rules:

* batches to a node are kept until it has acknowledged them. They are sent while the node is
  present. When it is present again, all that it has not acknowledged are sent again (batches.py);
* while the bus is down, and until a node has joined a new broker, it is not present. Its old
  subscriptions stay valid until it has sent its present ones;
* a node that the broker cannot reach is *away*: it may have died, or its process or its link may
  only be interrupted. It keeps its subscriptions. It is gone when it sends Goodbye, when another
  process has taken its place, or after AWAY_S;
* when a node is gone, its subscriptions are removed, and the publications for it are dropped and
  counted. If it returns nevertheless, it receives a notice of the loss;
* ``full`` means that publishers must pause: the queue of the bus is full, a node does not read, or
  too many bytes are not acknowledged. A node that is away does not count, and neither does one that
  is stalled (batches.py).
"""

from collections import Counter
from collections.abc import Callable

from cluster.core import wire
from cluster.core.acknowledged_batches import ALL_TOPICS
from cluster.core.machines.names import place_of
from cluster.core.routing import RoutingTable
from cluster.pubsub.batches import Batches, RemoteNode
from cluster.pubsub.bus import Bus, Clock, Timer

MAX_LEFT = 1024
"""Nodes that are gone whose batch numbers are remembered: a node whose link was lost reconnects
under the same name, and expects the numbers to continue."""

REJOIN_TIMEOUT_S = 5.0
"""Seconds for which a new broker waits for the nodes of the dead one. Nodes that have not joined it
by then count as away."""

AWAY_S = 15.0
"""Seconds after which a node that is away counts as gone. The supervisor replaces a process that
does not answer after 10 s (supervisor.heartbeat); after that the node cannot return."""


class RemoteNodes:
    """``schedule`` asks for a flush. ``on_full`` is called when ``full`` changes, ``on_left`` when
    a node is away. ``dropped`` counts publications that are not sent, by reason.
    """

    def __init__(
        self, bus: Bus, schedule: Callable[[], None], clock: Clock, dropped: Counter[str]
    ) -> None:
        self.full = False
        self.on_full: Callable[[bool], None] = lambda full: None
        self.on_left: Callable[[str], None] = lambda name: None
        self.subscriptions: RoutingTable[RemoteNode] = RoutingTable()
        self.by_name: dict[str, RemoteNode] = {}
        self.epoch = ""
        """Identifies the broker process."""
        self.batches = Batches(bus, schedule, clock, dropped, self._find, self.by_name.values)
        self.batches.on_full = self._congestion_changed
        self._dropped = dropped
        self._bus = bus
        self._schedule = schedule
        self._clock = clock
        self._left: dict[str, RemoteNode] = {}
        self._congested: set[str] = set()
        self._bus_full = False
        self._output_full = False
        self._expected: set[str] = set()  # nodes that have not sent the broker their state
        self._rejoin_timer: Timer | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The other nodes that are not gone."""
        return tuple(self.by_name)

    @property
    def all_synchronized(self) -> bool:
        """Whether each node has sent the broker its state, or is away or gone.

        Until then a new broker may not know all retained frames, and would give their offsets to
        new frames.
        """
        return not self._expected

    def bus_up(self, welcome: wire.Welcome) -> None:
        """The bus carries batches again. Nodes that are not in ``welcome`` may join later."""
        self._stop_expecting()
        if self.epoch and not all(map(self._is_known, welcome.nodes)):
            # A node has joined while this one was cut off, and did not know of it.
            self.batches.on_lost([ALL_TOPICS])
        for name, node in self.by_name.items():
            node.subscriptions_are_old = True  # it sends the present ones again
            if name not in welcome.nodes and (node.away or welcome.epoch == self.epoch):
                self._wait_for(node)
        self.epoch = welcome.epoch
        for name in welcome.nodes:
            self.joined(name)
        self._expected = {name for name, node in self.by_name.items() if not node.away}
        if self._expected:
            self._rejoin_timer = self._clock.callLater(REJOIN_TIMEOUT_S, self._give_up)
        self._congested.clear()  # the broker sends Congested again
        self._congestion_changed()

    def bus_down(self) -> None:
        """Keep all batches until the bus is up, and wait for no node; cancels all timers."""
        self._stop_expecting()
        for node in self.by_name.values():
            node.present = False
            self._stop_timer(node)

    def bus_full(self, full: bool) -> None:
        """The queue of the bus is full (True), or has room again (False)."""
        self._bus_full = full
        self._congestion_changed()

    def output_full(self, full: bool) -> None:
        """Much waits for the clients of this node (True), or has been sent (False)."""
        self._output_full = full
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

    def joined(self, name: str, returning: bool = False) -> RemoteNode:
        """A node has joined: send the batches that it has not acknowledged.

        ``returning``: it was there before.
        """
        node = self.by_name.get(name)
        if node is None:
            if returning and name not in self._left:
                # It and this one were there, but cut off from each other.
                self.batches.on_lost([ALL_TOPICS])
            node = self._left.pop(name, None)
            if node is None:
                node = RemoteNode(name)
            self.by_name[name] = node
            self._replaces_others(name)
        # If the bus is down, the message has arrived on a link that has been lost since.
        if not node.present and self._bus.is_up:
            node.present = True
            if node.away:
                node.away = False
                self._stop_timer(node)
            self.batches.set_counted(node, True)
            self.batches.send_again(node)
        return node

    def left(self, message: wire.Left) -> None:
        """The broker cannot reach a node, or the node has ended."""
        node = self.by_name.get(message.node)
        if node is not None:
            self._synchronized(message.node)
            if message.ended:
                self._gone(node)
            else:
                self._wait_for(node)

    # Nodes that are away or gone.

    def _is_known(self, name: str) -> bool:
        return name in self.by_name or name in self._left

    def _find(self, name: str) -> RemoteNode:
        node = self.by_name.get(name) or self._left.get(name)
        return self._remember(RemoteNode(name)) if node is None else node

    def _wait_for(self, node: RemoteNode) -> None:
        self._set_away(node)
        if node.away_timer is None:
            node.away_timer = self._clock.callLater(AWAY_S, lambda: self._away_for_too_long(node))

    def _away_for_too_long(self, node: RemoteNode) -> None:
        node.away_timer = None
        self._gone(node)

    def _set_away(self, node: RemoteNode) -> None:
        node.present = False
        node.subscriptions_are_old = True
        if not node.away:
            node.away = True
            self.batches.set_counted(node, False)
            self._congested.discard(node.name)
            self._congestion_changed()
            self.on_left(node.name)

    def _gone(self, node: RemoteNode) -> None:
        self._set_away(node)
        self._stop_timer(node)
        del self.by_name[node.name]
        self.subscriptions.drop(node)
        self._dropped["node_gone"] += len(node.items) // 2 + node.sent.give_up()
        node.items = []
        self._remember(node)

    def _replaces_others(self, name: str) -> None:
        """A process has joined: those that had its place (core.machines.names) are gone."""
        place = place_of(name)
        for other in list(self.by_name.values()) if place else ():
            if not other.present and other.name != name and place_of(other.name) == place:
                self._synchronized(other.name)
                self._gone(other)

    def _remember(self, node: RemoteNode) -> RemoteNode:
        self._left[node.name] = node
        if len(self._left) > MAX_LEFT:
            del self._left[next(iter(self._left))]
        return node

    @staticmethod
    def _stop_timer(node: RemoteNode) -> None:
        timer, node.away_timer = node.away_timer, None
        if timer is not None:
            timer.cancel()

    # A new broker.

    def _stop_expecting(self) -> None:
        self._expected = set()
        if self._rejoin_timer is not None:
            self._rejoin_timer.cancel()
            self._rejoin_timer = None

    def _synchronized(self, name: str) -> None:
        """A node has sent the broker its state, or is away or gone."""
        if name in self._expected:
            self._expected.discard(name)
            if not self._expected:
                self._stop_expecting()
                self._schedule()

    def _give_up(self) -> None:
        self._rejoin_timer = None
        self._expected = set()
        for node in self.by_name.values():
            if not node.present:
                self._wait_for(node)
        self._schedule()

    def _congestion_changed(self) -> None:
        is_full = self._bus_full or self._output_full or self.batches.unacknowledged.full
        full = is_full or bool(self._congested)
        if full != self.full:
            self.full = full
            self.on_full(full)
