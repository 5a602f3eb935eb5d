"""The other nodes, as this one knows them: their interest, packs for them, packs of them.

The rules:

* a peer that leaves takes its interest with it; what was for it is dropped and counted;
* while the bus is down, and until a peer has joined a new broker, packs for it are held and its old
  interest counts, until it has said the new one;
* packs to and from each peer are numbered; a number left out is a gap, counted and logged;
* ``full`` says that publishers must pause: the bus does not take more, a peer does not drain, or
  too much is held.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from cluster.core import wire
from cluster.core.exceptions import WireError
from cluster.core.routing import RoutingTable
from cluster.core.sequence import SequenceTracker, Verdict
from cluster.core.water_marks import WaterMarks
from cluster.core.wire_fields import decode_batch, encode_batch, publications
from cluster.pubsub.bus import Bus

MAX_ORIGINS = 1024
"""Dead peers whose sequence numbers are remembered, so that one whose link was cut and who comes
back under the same name is held to them."""

COME_BACK_S = 5.0
"""How long packs for the peers of a dead broker are held once there is a new one, until they join
it."""

HELD_HIGH_WATER = 8 << 20
HELD_LOW_WATER = 2 << 20
"""Bytes of packs held for peers out of reach, above which publishers are told to stop and below
which they may go on."""

HELD_LIMIT = 4 * HELD_HIGH_WATER
"""Bytes at which packs are dropped instead (``bus_queue_full``)."""


class RemoteNode:
    """Another node: the publications of this iteration for it, and the number of the last pack.

    While it is not ``present``, be it that the bus is down or that it has not joined a new broker
    yet, packs for it are ``held``.
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
    """Call ``flush`` at the end of each iteration in which something was added to ``dirty``.

    ``schedule`` asks for that flush; ``on_full`` is called when ``full`` changes, ``on_left`` when
    a peer is gone.
    """

    log = Logger()

    def __init__(self, bus: Bus, schedule: Callable[[], None], clock: Any) -> None:
        self.dropped: Counter[str] = Counter()
        self.gaps = 0
        self.full = False
        self.on_full: Callable[[bool], None] = lambda full: None
        self.on_left: Callable[[str], None] = lambda name: None
        self.subscriptions: RoutingTable[RemoteNode] = RoutingTable()
        self.dirty: list[RemoteNode] = []
        """Peers with publications for the next pack. Hot code appends a peer when its ``items``
        were empty."""
        self.held = WaterMarks(HELD_HIGH_WATER, HELD_LOW_WATER)
        self.by_name: dict[str, RemoteNode] = {}
        self.origins: dict[str, SequenceTracker] = {}
        self._bus = bus
        self._schedule = schedule
        self._clock = clock
        self.epoch = ""
        """Names the broker's life."""
        self._gone: dict[str, RemoteNode] = {}
        self._congested: set[str] = set()
        self._bus_full = False
        self._unheard: set[str] = set()
        self._come_back: Any = None

    @property
    def names(self) -> tuple[str, ...]:
        """The other live nodes."""
        return tuple(self.by_name)

    @property
    def all_heard(self) -> bool:
        """Whether every peer of this broker's life has said what it knows, or never will."""
        return not self._unheard

    def flush(self) -> None:
        """Send each dirty peer its pack, or hold it."""
        dirty_nodes, self.dirty = self.dirty, []
        for peer in dirty_nodes:
            items, peer.items = peer.items, []
            if not items:
                continue
            peer.sequence += 1
            batch = encode_batch(peer.sequence, items)
            if peer.present:
                self._bus.send_batch(peer.name, batch)
            else:
                self._hold(peer, batch)

    def bus_up(self, welcome: wire.Welcome) -> None:
        """The bus carries packs again; those of its peers that were missed come one by one."""
        self.stop_waiting()
        for name, peer in list(self.by_name.items()):
            peer.subscriptions_are_old = (
                True  # it says its interest anew; until then the old one counts
            )
            if name not in welcome.nodes:
                if welcome.epoch == self.epoch:
                    self.left(name)
                else:  # another broker, whose peers come one by one
                    peer.present = False
        self.epoch = welcome.epoch
        for name in welcome.nodes:
            self.joined(name)
        self._unheard = set(self.by_name)
        if self._unheard:
            self._come_back = self._clock.callLater(COME_BACK_S, self._give_up)
        self._congested.clear()
        self._congestion_changed()

    def bus_down(self, unsent: list[tuple[str, bytes]]) -> None:
        """Hold all packs until the bus is up; ``unsent`` are those that it had not taken."""
        self.stop_waiting()
        for peer in self.by_name.values():
            peer.present = False
        for name, batch in unsent:
            if name in self.by_name:
                self._hold(self.by_name[name], batch)
            else:
                self.dropped["node_gone"] += publications(batch)

    def bus_full(self, full: bool) -> None:
        """The bus's own queue is full, or no longer."""
        self._bus_full = full
        self._congestion_changed()

    def subscriptions_received(self, message: wire.NodeSubscriptions) -> None:
        """A peer wants topics, or wants them no longer."""
        peer = self.joined(message.node)
        self._heard(message.node)
        if peer.subscriptions_are_old:
            peer.subscriptions_are_old = False
            self.subscriptions.drop(peer)
        for topic in message.removed:
            self.subscriptions.remove(topic, peer)
        for topic in message.added:
            self.subscriptions.add(topic, peer)

    def congested(self, name: str, is_congested: bool) -> None:
        """What is sent to a peer piles up at the broker, or no longer."""
        (self._congested.add if is_congested else self._congested.discard)(name)
        self._congestion_changed()

    def unpack(self, origin: str, data: bytes) -> list[bytes]:
        """The publications (topic, frame, topic, frame, …) of a pack that has come.

        Empty if it is malformed or was delivered before; both are counted.
        """
        try:
            sequence, items = decode_batch(data)
            tracker = self.origins.get(origin)
            if tracker is None:
                tracker = self._track(origin)
            verdict = tracker.observe(sequence)
        except (WireError, ValueError) as error:
            self.dropped["malformed"] += 1
            self.log.warn("dropped a pack of {origin}: {error}", origin=origin, error=error)
            return []
        if verdict is not Verdict.IN_ORDER:
            if verdict is Verdict.DUPLICATE:
                self.dropped["duplicate_batch"] += 1
                return []
            self.gaps += 1
            self.log.error(
                "packs of {origin} before number {sequence} were lost",
                origin=origin,
                sequence=sequence,
            )
        return items

    def joined(self, name: str) -> RemoteNode:
        """A peer is there; packs held for it are sent."""
        peer = self.by_name.get(name)
        if peer is None:
            peer = self._gone.pop(name, None)
            if peer is None:
                peer = RemoteNode(name)
            self.by_name[name] = peer
            peer.present = self._bus.is_up
        elif not peer.present and self._bus.is_up:
            peer.present = True
            held, peer.held = peer.held, []
            for batch in held:
                self._bus.send_batch(name, batch)
            self._no_longer_held(held)
        return peer

    def left(self, name: str) -> None:
        """A peer is gone."""
        peer = self.by_name.pop(name, None)
        if peer is None:
            return
        self.subscriptions.drop(peer)
        self.dropped["node_gone"] += len(peer.items) // 2 + sum(map(publications, peer.held))
        held, peer.held, peer.items = peer.held, [], []
        self._no_longer_held(held)
        self._gone[name] = peer
        if len(self._gone) > MAX_ORIGINS:
            del self._gone[next(iter(self._gone))]
        self._heard(name)
        self._congested.discard(name)
        self._congestion_changed()
        self.on_left(name)

    def stop_waiting(self) -> None:
        """Expect nobody back; no timer is left behind."""
        self._unheard = set()
        if self._come_back is not None:
            self._come_back.cancel()
            self._come_back = None

    def hold(self, size: int) -> None:
        """So many bytes more wait besides packs; less, if negative."""
        changed = self.held.add(size) if size > 0 else self.held.remove(-size)
        if changed:
            self._congestion_changed()

    def _hold(self, peer: RemoteNode, batch: bytes) -> None:
        """Keep a pack for a peer that is out of reach; it is sent when the peer joins."""
        if self.held.level > HELD_LIMIT:
            self.dropped["bus_queue_full"] += publications(batch)
            return
        peer.held.append(batch)
        if self.held.add(len(batch)):
            self._congestion_changed()

    def _no_longer_held(self, batches: list[bytes]) -> None:
        if self.held.remove(sum(map(len, batches))):
            self._congestion_changed()

    def _heard(self, name: str) -> None:
        """A peer has said all that it knows, or will never do."""
        if name in self._unheard:
            self._unheard.discard(name)
            if not self._unheard:
                self.stop_waiting()
                self._schedule()

    def _give_up(self) -> None:
        self._come_back = None
        for peer in list(self.by_name.values()):
            if not peer.present:
                self.left(peer.name)
        self._unheard = set()
        self._schedule()

    def _track(self, origin: str) -> SequenceTracker:
        if len(self.origins) >= MAX_ORIGINS:
            gone = next((name for name in self.origins if name not in self.by_name), None)
            if gone is not None:
                del self.origins[gone]
        tracker = self.origins[origin] = SequenceTracker()
        return tracker

    def _congestion_changed(self) -> None:
        full = self._bus_full or self.held.full or bool(self._congested)
        if full != self.full:
            self.full = full
            self.on_full(full)
