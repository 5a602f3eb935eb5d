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
from cluster.core.fields import decode_pack, encode_pack
from cluster.core.retained import RetainedFrames
from cluster.core.routing import RoutingTable
from cluster.core.sequence import SequenceTracker, Verdict

MAX_ORIGINS = 1024
"""Dead peers whose sequence numbers are remembered, so that one whose link was cut and who comes
back under the same name is held to them."""

COME_BACK_S = 5.0
"""How long publications for the peers of a dead broker are held until they join the new one."""

MAX_HELD = 400_000
"""Topics and frames held for such a peer: at 100 bytes each, 40 MB. Beyond, they are dropped and
counted (``peer_gone``)."""


class Peer:
    """Another node: the publications of this iteration for it, and the number of the last pack."""

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
        self._congested: set[str] = set()
        self._bus_full = False

    @property
    def peers(self) -> tuple[str, ...]:
        """Names of the other live nodes."""
        return tuple(self._peers)

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
        self._send_control(wire.Retain(topic, depth, frame))

    # Subscribing.

    def subscribe(self, lane: Any, topic: bytes) -> None:
        """From now on the topic's frames go into ``lane.out``."""
        if self._local.add(topic, lane):
            self._wants(topic)
        self._give_retained(topic, lane.send_frame)

    def subscribe_skipping(self, lane: Any, topic: bytes, skipped: Callable[[], None]) -> None:
        """Like subscribe, but while ``lane.blocked`` frames are left out and ``skipped`` is called.

        Skipped frames are counted in ``conflated``; the caller sends the newest value later.
        """
        self._special_for(topic).skipping[lane] = skipped
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
        if self._interest and bus.is_up:
            added = tuple(topic for topic, wanted in self._interest.items() if wanted)
            removed = tuple(topic for topic, wanted in self._interest.items() if not wanted)
            self._interest = {}
            bus.send(wire.Interest(bus.name, added, removed))
        if self._dirty_peers:
            dirty_peers, self._dirty_peers = self._dirty_peers, []
            for peer in dirty_peers:
                if not peer.present:
                    self._hold(peer)
                    continue
                items, peer.items = peer.items, []
                peer.sequence += 1
                bus.send_pack(peer.name, encode_pack(peer.sequence, items))
        if self._control and bus.is_up:
            control, self._control = self._control, []
            for message in self.barriers.merge(control):
                bus.send(message)

    # What the bus tells (IBusReceiver).

    def bus_up(self, welcome: wire.Welcome) -> None:
        absent = []
        for name, peer in list(self._peers.items()):
            peer.interest_is_old = True  # it says its interest anew; until then the old one counts
            if name not in welcome.peers:
                if welcome.epoch == self._epoch:
                    self._peer_left(name)
                else:  # another broker, whose peers come one by one
                    peer.present = False
                    absent.append(peer)
        if absent:
            self._clock.callLater(COME_BACK_S, self._give_up, welcome.epoch, absent)
        self._epoch = welcome.epoch
        for name in welcome.peers:
            self._peer_joined(name)
        self._congested.clear()
        self._congestion_changed()
        for topic in self._retained.topics():
            kept = self._retained.get(topic)
            if kept is not None:
                self.bus.send(wire.Restore(topic, kept.depth, kept.offset, tuple(kept.frames)))
        self._interest = {}
        topics = dict.fromkeys((*self._local.all_topics(), *self._special))
        self.bus.send(wire.Interest(self.bus.name, tuple(topics)))
        retains = [message for message in self._control if isinstance(message, wire.Retain)]
        self._control = []
        for message in (*self.barriers.all_arrivals(), *retains):
            self.bus.send(message)
        self.on_up()

    def bus_down(self) -> None:
        """Nothing to do: peers keep their interest, packs are queued, bus_up sorts it out."""

    def bus_full(self, full: bool) -> None:
        self._bus_full = full
        self._congestion_changed()

    def bus_message(self, message: wire.Message) -> None:
        match message:
            case wire.Interest(name, added, removed):
                peer = self._peer_joined(name)
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
        if not peer.present:
            peer.present = True
            if peer.held:
                if not peer.items:
                    self._dirty_peers.append(peer)
                peer.items = peer.held + peer.items
                peer.held = []
                self._schedule()
        return peer

    def _hold(self, peer: Peer) -> None:
        """Keep what is for a peer that is not back yet; it is dirty again when it comes."""
        peer.held += peer.items
        peer.items = []
        if len(peer.held) > MAX_HELD:
            self._drop_items(peer)

    def _give_up(self, epoch: str, peers: list[Peer]) -> None:
        for peer in peers:
            if epoch == self._epoch and not peer.present:
                self._peer_left(peer.name)

    def _drop_items(self, peer: Peer) -> None:
        self.dropped["peer_gone"] += (len(peer.items) + len(peer.held)) // 2
        peer.items = []
        peer.held = []

    def _peer_left(self, name: str) -> None:
        peer = self._peers.pop(name, None)
        if peer is None:
            return
        self._remote.drop(peer)
        self._drop_items(peer)
        peer.present = True
        self._gone_peers[name] = peer
        if len(self._gone_peers) > MAX_ORIGINS:
            del self._gone_peers[next(iter(self._gone_peers))]
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
        full = self._bus_full or bool(self._congested)
        if full != self.full:
            self.full = full
            self.on_full(full)
