"""PubSub: the topics, barriers and retained frames of one node, on any bus.

A publication goes into the queues of this node's connections at once, and into the pack of each
peer that has said it wants the topic; the packs leave when the reactor's iteration ends. So a
publication costs the same however many nodes there are, and a pack carries what an iteration gave.

Everything that goes out at the end of an iteration goes in this order: interest, packs, then
barrier arrivals and retained frames. A barrier's release is thus never overtaken by interest.

Frames are encoded WebSocket frames (net.frames); topics are byte strings.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.logger import Logger

from cluster.bus.barriers import LocalBarriers
from cluster.bus.interface import IBus
from cluster.core import wire
from cluster.core.exceptions import WireError
from cluster.core.fields import decode_pack, encode_pack, publications
from cluster.core.outbound import WaterMarks
from cluster.core.retained import RetainedFrames
from cluster.core.routing import RoutingTable
from cluster.core.sequence import SequenceTracker, Verdict

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


class Peer:
    """Another node: the publications of this iteration for it, and the number of the last pack.

    While it is not ``present``, be it that the bus is down or that it has not joined a new broker
    yet, packs for it are ``held``.
    """

    __slots__ = ("held", "interest_is_old", "items", "name", "present", "sequence")

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: list[bytes] = []
        self.held: list[bytes] = []
        self.sequence = 0
        self.present = True
        self.interest_is_old = False


@dataclass(slots=True)
class _Special:
    """Subscribers of a topic that are not plain connections."""

    skipping: dict[Any, Callable[[], None]] = field(default_factory=dict)
    listeners: list[Callable[[bytes], None]] = field(default_factory=list)


class PubSub:
    """Call ``flush`` at the end of each iteration in which something was published.

    ``dirty`` and ``schedule`` are those of the FlushList the connections use.
    """

    log = Logger()

    def __init__(
        self, bus: IBus, dirty: list[Any], schedule: Callable[[], None], clock: Any
    ) -> None:
        self.bus = bus
        self._clock = clock
        self._epoch = ""
        self.dropped: Counter[str] = Counter()
        self.gaps = 0
        self.conflated = 0
        self.full = False
        self.on_full: Callable[[bool], None] = lambda full: None
        self.on_up: Callable[[], None] = lambda: None
        self.barriers = LocalBarriers(self._send_control)
        self._dirty = dirty
        self._schedule = schedule
        self._local: RoutingTable[Any] = RoutingTable()
        self._remote: RoutingTable[Peer] = RoutingTable()
        self._special: dict[bytes, _Special] = {}
        self._peers: dict[str, Peer] = {}
        self._gone_peers: dict[str, Peer] = {}
        self._origins: dict[str, SequenceTracker] = {}
        self._dirty_peers: list[Peer] = []
        self._interest: dict[bytes, bool] = {}
        self._control: list[wire.Message] = []
        self._retained = RetainedFrames()
        self._retains: list[wire.Retain] = []
        self._congested: set[str] = set()
        self._bus_full = False
        self._held = WaterMarks(HELD_HIGH_WATER, HELD_LOW_WATER)
        self._unheard: set[str] = set()
        self._come_back: Any = None

    @property
    def peers(self) -> tuple[str, ...]:
        """Names of the other live nodes."""
        return tuple(self._peers)

    @property
    def queued_bytes(self) -> int:
        """Bytes of publications that wait in this node, for the bus or for peers to come back."""
        return self._held.level + self.bus.queued_bytes

    def stop(self) -> None:
        """Say goodbye to the bus; nothing is sent any more."""
        self._stop_waiting()
        self.bus.stop()

    # Publishing. The loops are written out: this runs for every message.

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to all subscribers; returns (nodes, local connections) it was queued to."""
        connections = nodes = 0
        lanes = self._local.get(topic)
        if lanes is not None:
            dirty = self._dirty
            for lane in lanes:
                out = lane.out
                if not out:
                    dirty.append(lane)
                out.append(frame)
            connections = len(lanes)
        if topic in self._special:
            connections += self._deliver_special(self._special[topic], frame)
        peers = self._remote.get(topic)
        if peers is not None:
            dirty_peers = self._dirty_peers
            for peer in peers:
                items = peer.items
                if not items:
                    dirty_peers.append(peer)
                items.append(topic)
                items.append(frame)
            nodes = len(peers)
        self._schedule()
        return (nodes + 1 if connections else nodes), connections

    def publish_here(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to the subscribers on this node only; returns like publish."""
        connections = self._deliver(topic, frame)
        self._schedule()
        return (1 if connections else 0), connections

    def publish_retained(self, topic: bytes, frame: bytes, depth: int) -> None:
        """Publish through the exchange, which keeps the newest ``depth`` frames of the topic.

        All nodes, this one too, get the frames of a retained topic in the same order.
        """
        self._retains.append(wire.Retain(topic, depth, frame))
        self._schedule()

    # Subscribing.

    def subscribe(self, lane: Any, topic: bytes) -> None:
        """From now on the topic's frames go into ``lane.out``, the retained ones first."""
        lanes = self._local.get(topic)
        if lanes is not None and lane in lanes:
            return
        if self._local.add(topic, lane):
            self._wants(topic)
        special = self._special.get(topic)
        if special is not None and special.skipping.pop(lane, None) is not None:
            self._clean(topic, special)  # it had them already
        else:
            self._give_retained(topic, lane.send_frame)

    def subscribe_skipping(self, lane: Any, topic: bytes, skipped: Callable[[], None]) -> None:
        """Like subscribe, but while ``lane.blocked`` frames are left out and ``skipped`` is called.

        Skipped frames are counted in ``conflated``; the caller sends the newest value later.
        """
        special = self._special_for(topic)
        subscribed = lane in special.skipping or lane in (self._local.get(topic) or ())
        special.skipping[lane] = skipped
        self._local.remove(topic, lane)
        if not subscribed:
            self._give_retained(topic, lane.send_frame)

    def unsubscribe(self, lane: Any, topic: bytes) -> None:
        """No frame published from now on goes to this connection."""
        if self._local.remove(topic, lane):
            self._wants_perhaps_no_longer(topic)
        special = self._special.get(topic)
        if special is not None and special.skipping.pop(lane, None) is not None:
            self._clean(topic, special)

    def drop(self, lane: Any, skipping_topics: tuple[bytes, ...] = ()) -> None:
        """The connection is gone: unsubscribe it from everything."""
        for topic in self._local.drop(lane):
            self._wants_perhaps_no_longer(topic)
        for topic in skipping_topics:
            self.unsubscribe(lane, topic)

    def listen(self, topic: bytes, listener: Callable[[bytes], None]) -> None:
        """Call back with each frame of the topic, for as long as the node lives."""
        self._special_for(topic).listeners.append(listener)
        self._give_retained(topic, listener)

    # The end of an iteration.

    def flush(self) -> None:
        """Send what this iteration gave: interest, packs, then arrivals and retained frames."""
        bus = self.bus
        is_up = bus.is_up
        if self._interest and is_up:
            added = tuple(topic for topic, wanted in self._interest.items() if wanted)
            removed = tuple(topic for topic, wanted in self._interest.items() if not wanted)
            self._interest = {}
            bus.send(wire.Interest(bus.name, added, removed))
        if self._dirty_peers:
            self._flush_packs()
        if self._retains and is_up and not self._unheard:
            retains, self._retains = self._retains, []
            for retain in retains:
                bus.send(retain)
        if self._control and is_up:
            control, self._control = self._control, []
            for message in self.barriers.merge(control):
                bus.send(message)

    def _flush_packs(self) -> None:
        dirty_peers, self._dirty_peers = self._dirty_peers, []
        for peer in dirty_peers:
            items, peer.items = peer.items, []
            if not items:
                continue
            peer.sequence += 1
            pack = encode_pack(peer.sequence, items)
            if peer.present:
                self.bus.send_pack(peer.name, pack)
            else:
                self._hold(peer, pack)

    # What the bus tells (IBusReceiver).

    def bus_up(self, welcome: wire.Welcome) -> None:
        self._stop_waiting()
        for name, peer in list(self._peers.items()):
            peer.interest_is_old = True  # it says its interest anew; until then the old one counts
            if name not in welcome.peers:
                if welcome.epoch == self._epoch:
                    self._peer_left(name)
                else:  # another broker, whose peers come one by one
                    peer.present = False
        self._epoch = welcome.epoch
        for name in welcome.peers:
            self._peer_joined(name)
        self._unheard = set(self._peers)
        if self._unheard:
            self._come_back = self._clock.callLater(COME_BACK_S, self._give_up)
        self._congested.clear()
        for topic in self._retained.topics():
            kept = self._retained.get(topic)
            if kept is not None:
                self.bus.send(wire.Restore(topic, kept.depth, kept.offset, tuple(kept.frames)))
        self._interest = {}
        topics = dict.fromkeys((*self._local.all_topics(), *self._special))
        self.bus.send(wire.Interest(self.bus.name, tuple(topics)))
        self._flush_packs()
        self._control = []
        for message in self.barriers.all_arrivals():
            self.bus.send(message)
        self._congestion_changed()
        self._schedule()
        self.on_up()

    def bus_down(self, unsent: list[tuple[str, bytes]]) -> None:
        self._stop_waiting()
        for peer in self._peers.values():
            peer.present = False
        for name, pack in unsent:
            if name in self._peers:
                self._hold(self._peers[name], pack)
            else:
                self.dropped["peer_gone"] += publications(pack)

    def bus_full(self, full: bool) -> None:
        self._bus_full = full
        self._congestion_changed()

    def bus_message(self, message: wire.Message) -> None:
        match message:
            case wire.Interest(name, added, removed):
                peer = self._peer_joined(name)
                self._heard(name)
                if peer.interest_is_old:
                    peer.interest_is_old = False
                    self._remote.drop(peer)
                for topic in removed:
                    self._remote.remove(topic, peer)
                for topic in added:
                    self._remote.add(topic, peer)
            case wire.Release(name, tokens):
                self.barriers.released(name, tokens)
            case wire.Refuse(name, tokens):
                self.barriers.refused(name, tokens)
            case wire.Retained():
                self._take_retained(message)
            case wire.Joined(name):
                self._peer_joined(name)
            case wire.Left(name):
                self._peer_left(name)
            case wire.Congested(name):
                self._congested.add(name)
                self._congestion_changed()
            case wire.Cleared(name):
                self._congested.discard(name)
                self._congestion_changed()

    def bus_pack(self, origin: str, data: bytes) -> None:
        try:
            sequence, items = decode_pack(data)
            tracker = self._origins.get(origin)
            if tracker is None:
                tracker = self._track(origin)
            verdict = tracker.observe(sequence)
        except (WireError, ValueError) as error:
            self.dropped["malformed"] += 1
            self.log.warn("dropped a pack of {origin}: {error}", origin=origin, error=error)
            return
        if verdict is not Verdict.IN_ORDER:
            if verdict is Verdict.DUPLICATE:
                self.dropped["duplicate_pack"] += 1
                return
            self.gaps += 1
            self.log.error(
                "packs of {origin} before number {sequence} were lost",
                origin=origin,
                sequence=sequence,
            )
        get = self._local.get
        special = self._special
        dirty = self._dirty
        pairs = iter(items)
        for topic, frame in zip(pairs, pairs, strict=True):
            lanes = get(topic)
            if lanes is not None:
                for lane in lanes:
                    out = lane.out
                    if not out:
                        dirty.append(lane)
                    out.append(frame)
            if topic in special:
                self._deliver_special(special[topic], frame)
        self._schedule()

    # Inside.

    def _send_control(self, message: wire.Message) -> None:
        self._control.append(message)
        self._schedule()

    def _deliver(self, topic: bytes, frame: bytes) -> int:
        lanes = self._local.get(topic) or ()
        for lane in lanes:
            lane.send_frame(frame)
        special = self._special.get(topic)
        return len(lanes) + (self._deliver_special(special, frame) if special else 0)

    def _deliver_special(self, special: _Special, frame: bytes) -> int:
        count = len(special.skipping)
        for lane, skipped in special.skipping.items():
            if lane.blocked:
                self.conflated += 1
                count -= 1
                skipped()
            else:
                lane.send_frame(frame)
        for listener in special.listeners:
            try:
                listener(frame)
            except Exception:
                self.log.failure("a listener of a topic failed")
        return count

    def _special_for(self, topic: bytes) -> _Special:
        special = self._special.get(topic)
        if special is None:
            special = self._special[topic] = _Special()
            if topic not in self._local:
                self._wants(topic)
        return special

    def _clean(self, topic: bytes, special: _Special) -> None:
        if not special.skipping and not special.listeners:
            del self._special[topic]
            self._wants_perhaps_no_longer(topic)

    def _wants(self, topic: bytes) -> None:
        if topic not in self._special or topic not in self._local:
            self._interest[topic] = True
            self._schedule()

    def _wants_perhaps_no_longer(self, topic: bytes) -> None:
        if topic not in self._special and topic not in self._local:
            self._interest[topic] = False
            self._retained.forget(topic)
            self._schedule()

    def _give_retained(self, topic: bytes, give: Callable[[bytes], None]) -> None:
        kept = self._retained.get(topic)
        if kept is not None:
            for frame in kept.frames:
                give(frame)

    def _take_retained(self, message: wire.Retained) -> None:
        if message.topic not in self._local and message.topic not in self._special:
            return  # on its way when the last subscriber left
        kept = self._retained.get(message.topic)
        known = kept.offset if kept is not None else 0
        new = message.offset - known
        if new <= 0:
            return
        frames = message.frames[-new:]
        before = tuple(kept.frames) if kept is not None else ()
        self._retained.restore(message.topic, message.depth, message.offset, (*before, *frames))
        for frame in frames:
            self.publish_here(message.topic, frame)

    def _peer_joined(self, name: str) -> Peer:
        peer = self._peers.get(name)
        if peer is None:
            peer = self._gone_peers.pop(name, None)
            if peer is None:
                peer = Peer(name)
            self._peers[name] = peer
            peer.present = self.bus.is_up
        elif not peer.present and self.bus.is_up:
            peer.present = True
            held, peer.held = peer.held, []
            for pack in held:
                self.bus.send_pack(name, pack)
            self._no_longer_held(held)
        return peer

    def _hold(self, peer: Peer, pack: bytes) -> None:
        """Keep a pack for a peer that is out of reach; it is sent when the peer joins."""
        if self._held.level > HELD_LIMIT:
            self.dropped["bus_queue_full"] += publications(pack)
            return
        peer.held.append(pack)
        if self._held.add(len(pack)):
            self._congestion_changed()

    def _no_longer_held(self, packs: list[bytes]) -> None:
        if self._held.remove(sum(map(len, packs))):
            self._congestion_changed()

    def _heard(self, name: str) -> None:
        """A peer has said all that it knows, or will never do."""
        if name in self._unheard:
            self._unheard.discard(name)
            if not self._unheard:
                self._stop_waiting()
                self._schedule()

    def _stop_waiting(self) -> None:
        self._unheard = set()
        if self._come_back is not None:
            self._come_back.cancel()
            self._come_back = None

    def _give_up(self) -> None:
        self._come_back = None
        for peer in list(self._peers.values()):
            if not peer.present:
                self._peer_left(peer.name)
        self._unheard = set()
        self._schedule()

    def _peer_left(self, name: str) -> None:
        peer = self._peers.pop(name, None)
        if peer is None:
            return
        self._remote.drop(peer)
        self.dropped["peer_gone"] += len(peer.items) // 2 + sum(map(publications, peer.held))
        held, peer.held, peer.items = peer.held, [], []
        self._no_longer_held(held)
        self._gone_peers[name] = peer
        if len(self._gone_peers) > MAX_ORIGINS:
            del self._gone_peers[next(iter(self._gone_peers))]
        self._heard(name)
        self._congested.discard(name)
        self._congestion_changed()

    def _track(self, origin: str) -> SequenceTracker:
        if len(self._origins) >= MAX_ORIGINS:
            gone = next((name for name in self._origins if name not in self._peers), None)
            if gone is not None:
                del self._origins[gone]
        tracker = self._origins[origin] = SequenceTracker()
        return tracker

    def _congestion_changed(self) -> None:
        full = self._bus_full or self._held.full or bool(self._congested)
        if full != self.full:
            self.full = full
            self.on_full(full)
