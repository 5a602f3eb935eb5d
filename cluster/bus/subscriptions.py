"""Who on this node wants which topic, and the retained frames kept for those who come later.

Most subscribers are connections, which get every frame. A few topics have special ones: connections
that are skipped while their client does not read, and listeners of the application.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.logger import Logger

from cluster.core import wire
from cluster.core.retained import RetainedFrames
from cluster.core.routing import RoutingTable


@dataclass(slots=True)
class Special:
    """Subscribers of a topic that are not plain connections."""

    skipping: dict[Any, Callable[[], None]] = field(default_factory=dict)
    listeners: list[Callable[[bytes], None]] = field(default_factory=list)


class Subscriptions:
    """``schedule`` asks for a flush, at which ``take_interest`` is told to the others."""

    log = Logger()

    def __init__(self, schedule: Callable[[], None]) -> None:
        self.conflated = 0
        self.connections: RoutingTable[Any] = RoutingTable()
        self.special: dict[bytes, Special] = {}
        self.retained = RetainedFrames()
        self._schedule = schedule
        self._interest: dict[bytes, bool] = {}

    def subscribe(self, lane: Any, topic: bytes) -> None:
        """From now on the topic's frames go into ``lane.out``, the retained ones first."""
        lanes = self.connections.get(topic)
        if lanes is not None and lane in lanes:
            return
        if self.connections.add(topic, lane):
            self._wants(topic)
        special = self.special.get(topic)
        if special is not None and special.skipping.pop(lane, None) is not None:
            self._clean(topic, special)  # it had them already
        else:
            self._give_retained(topic, lane.send_frame)

    def subscribe_skipping(self, lane: Any, topic: bytes, skipped: Callable[[], None]) -> None:
        """Like subscribe, but while ``lane.blocked`` frames are left out and ``skipped`` is called.

        Skipped frames are counted in ``conflated``; the caller sends the newest value later.
        """
        special = self._special_for(topic)
        subscribed = lane in special.skipping or lane in (self.connections.get(topic) or ())
        special.skipping[lane] = skipped
        self.connections.remove(topic, lane)
        if not subscribed:
            self._give_retained(topic, lane.send_frame)

    def unsubscribe(self, lane: Any, topic: bytes) -> None:
        """No frame published from now on goes to this connection."""
        if self.connections.remove(topic, lane):
            self._wants_perhaps_no_longer(topic)
        special = self.special.get(topic)
        if special is not None and special.skipping.pop(lane, None) is not None:
            self._clean(topic, special)

    def drop(self, lane: Any, skipping_topics: tuple[bytes, ...] = ()) -> None:
        """The connection is gone: unsubscribe it from everything."""
        for topic in self.connections.drop(lane):
            self._wants_perhaps_no_longer(topic)
        for topic in skipping_topics:
            self.unsubscribe(lane, topic)

    def listen(self, topic: bytes, listener: Callable[[bytes], None]) -> None:
        """Call back with each frame of the topic, for as long as the node lives."""
        self._special_for(topic).listeners.append(listener)
        self._give_retained(topic, listener)

    def take_interest(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Topics wanted, and wanted no longer, since the last call."""
        interest, self._interest = self._interest, {}
        added = tuple(topic for topic, wanted in interest.items() if wanted)
        return added, tuple(topic for topic, wanted in interest.items() if not wanted)

    @property
    def interest_changed(self) -> bool:
        """Whether take_interest has anything to tell."""
        return bool(self._interest)

    def restores(self) -> list[wire.Restore]:
        """The retained frames known here, for a broker that may have lost them."""
        kept = ((topic, self.retained.get(topic)) for topic in self.retained.topics())
        return [
            wire.Restore(topic, entry.depth, entry.offset, tuple(entry.frames))
            for topic, entry in kept
            if entry is not None
        ]

    def all_interest(self) -> tuple[bytes, ...]:
        """Every topic that is wanted here."""
        self._interest = {}
        return tuple(dict.fromkeys((*self.connections.all_topics(), *self.special)))

    def deliver(self, topic: bytes, frame: bytes) -> int:
        """Queue a frame to all subscribers; returns how many it was queued to."""
        lanes = self.connections.get(topic) or ()
        for lane in lanes:
            lane.send_frame(frame)
        special = self.special.get(topic)
        return len(lanes) + (self.deliver_special(special, frame) if special else 0)

    def deliver_special(self, special: Special, frame: bytes) -> int:
        """The same for the special ones; those skipped are counted in ``conflated``."""
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

    def take_retained(self, message: wire.Retained) -> None:
        """New frames of a retained topic: deliver those that were not known."""
        if message.topic not in self.connections and message.topic not in self.special:
            return  # on its way when the last subscriber left
        kept = self.retained.get(message.topic)
        known = kept.offset if kept is not None else 0
        new = message.offset - known
        if new <= 0:
            return
        frames = message.frames[-new:]
        before = tuple(kept.frames) if kept is not None else ()
        self.retained.restore(message.topic, message.depth, message.offset, (*before, *frames))
        for frame in frames:
            self.deliver(message.topic, frame)

    def _special_for(self, topic: bytes) -> Special:
        special = self.special.get(topic)
        if special is None:
            special = self.special[topic] = Special()
            if topic not in self.connections:
                self._wants(topic)
        return special

    def _clean(self, topic: bytes, special: Special) -> None:
        if not special.skipping and not special.listeners:
            del self.special[topic]
            self._wants_perhaps_no_longer(topic)

    def _wants(self, topic: bytes) -> None:
        if topic not in self.special or topic not in self.connections:
            self._interest[topic] = True
            self._schedule()

    def _wants_perhaps_no_longer(self, topic: bytes) -> None:
        if topic not in self.special and topic not in self.connections:
            self._interest[topic] = False
            self.retained.forget(topic)
            self._schedule()

    def _give_retained(self, topic: bytes, give: Callable[[bytes], None]) -> None:
        kept = self.retained.get(topic)
        if kept is not None:
            for frame in kept.frames:
                give(frame)
