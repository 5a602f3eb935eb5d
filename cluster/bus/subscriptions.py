"""Who on this node wants which topic, and the retained frames kept for those who come later.

Most subscribers are connections, which get every frame; some are special (followers.py). Newcomers
(newcomers.py) become one or the other when they know what they missed.
"""

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from cluster.bus.copies import Copies
from cluster.bus.followers import Answer, Follower, Special, Take
from cluster.bus.newcomers import History, Newcomer, Newcomers, Position, is_ahead
from cluster.core import wire
from cluster.core.routing import RoutingTable

Begin = Callable[[History], tuple[bytes, ...]]
"""Told what was missed; returns the frames to send."""


class Subscriptions:
    """``schedule`` asks for a flush, at which ``take_interest`` and ``take_asks`` are told to the
    others; ``copies`` are the retained frames known here; ``now`` gives Unix time in ms."""

    log = Logger()

    def __init__(self, schedule: Callable[[], None], now: Callable[[], int]) -> None:
        self.conflated = 0
        self.connections: RoutingTable[Any] = RoutingTable()
        self.special: dict[bytes, Special] = {}
        self.copies = Copies(now)
        self._schedule = schedule
        self._interest: dict[bytes, bool] = {}
        # Each once, however often a client comes and goes: all that is kept is the answer.
        self._asks: dict[bytes, None] = {}
        self._newcomers = Newcomers(self._asks.setdefault)
        self._arriving: dict[Any, dict[bytes, Newcomer]] = {}

    # Connections.

    def subscribe(self, lane: Any, topic: bytes) -> None:
        """From now on the topic's frames go into ``lane.out``, the retained ones first."""
        lanes = self.connections.get(topic)
        if lanes is not None and lane in lanes:
            return
        if self.connections.add(topic, lane):
            self._wants(topic)
        if self._arriving:
            self._cancel(self._arrived(lane, topic))
        special = self.special.get(topic)
        if special is not None and special.skipping.pop(lane, None) is not None:
            self._clean(topic, special)  # it had them already
        else:
            self._give_retained(topic, lambda frame, offset: lane.send_frame(frame))

    def subscribe_since(
        self, lane: Any, topic: bytes, since: Position | None, begin: Begin
    ) -> None:
        """Like subscribe, as soon as ``begin`` could be told what was missed."""

        def let_in(history: History, frames: list[bytes]) -> None:
            self._arrived(lane, topic)
            try:
                missed = begin(history)
            except Exception:
                self.log.failure("what {topic} keeps could not be told", topic=topic)
                missed = history.frames
            for frame in (*missed, *frames):
                lane.send_frame(frame)
            if self.connections.add(topic, lane):
                self._wants(topic)

        self._cancel(self._arrived(lane, topic))
        newcomer = Newcomer(topic, since, let_in)
        if not self._let_in_if_known(newcomer):
            self.connections.remove(topic, lane)  # while it waits, it waits
            self._arriving.setdefault(lane, {})[topic] = newcomer
        special = self.special.get(topic)
        if special is not None and special.skipping.pop(lane, None) is not None:
            self._clean(topic, special)

    def subscribe_skipping(self, lane: Any, topic: bytes, skipped: Callable[[], None]) -> None:
        """Like subscribe, but while ``lane.blocked`` frames are left out and ``skipped`` is called.

        Skipped frames are counted in ``conflated``; the caller sends the newest value later.
        """
        special = self._special_for(topic)
        subscribed = lane in special.skipping or lane in (self.connections.get(topic) or ())
        special.skipping[lane] = skipped
        self.connections.remove(topic, lane)
        self._cancel(self._arrived(lane, topic))
        if not subscribed:
            self._give_retained(topic, lambda frame, offset: lane.send_frame(frame))

    def unsubscribe(self, lane: Any, topic: bytes) -> None:
        """No frame published from now on goes to this connection."""
        if self.connections.remove(topic, lane):
            self._wants_perhaps_no_longer(topic)
        special = self.special.get(topic)
        if special is not None and special.skipping.pop(lane, None) is not None:
            self._clean(topic, special)
        self._cancel(self._arrived(lane, topic))

    def drop(self, lane: Any, skipping_topics: tuple[bytes, ...] = ()) -> None:
        """The connection is gone: unsubscribe it from everything."""
        for topic in self.connections.drop(lane):
            self._wants_perhaps_no_longer(topic)
        for topic in (*skipping_topics, *self._arriving.get(lane, ())):
            self.unsubscribe(lane, topic)

    # Followers.

    def follow(
        self,
        topic: bytes,
        take: Take,
        *,
        since: Position | None = None,
        replay: bool = True,
        answer: Answer | None = None,
        for_client: bool = False,
    ) -> Follower:
        """Call ``take(frame, offset)`` for each frame from now on, what is kept first.

        With ``since`` only what came after it; without ``replay`` only what is new. ``answer``, if
        given, is called once before. ``for_client``: it is counted in receipts.
        """
        follower = Follower(topic, take, self.copies, for_client)
        if since is None and replay and answer is None:
            self._add_follower(follower)
            self._give_retained(topic, follower.take)
            return follower

        def let_in(history: History, frames: list[bytes]) -> None:
            self._add_follower(follower)
            follower.begin(history, frames, replay, answer)

        newcomer = Newcomer(topic, since, let_in)
        follower.leave = lambda: self._cancel(newcomer)
        self._let_in_if_known(newcomer)
        return follower

    def listen(self, topic: bytes, listener: Callable[[bytes], None]) -> None:
        """Call back with each frame of the topic, for as long as the node lives."""
        self.follow(topic, lambda frame, offset: listener(frame))

    # What the others are told.

    def take_interest(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Topics wanted, and wanted no longer, since the last call."""
        interest, self._interest = self._interest, {}
        added = tuple(topic for topic, wanted in interest.items() if wanted)
        return added, tuple(topic for topic, wanted in interest.items() if not wanted)

    @property
    def interest_changed(self) -> bool:
        """Whether take_interest has anything to tell."""
        return bool(self._interest)

    def take_asks(self) -> list[wire.Ask]:
        """Questions for the exchange since the last call; to be sent after the interest."""
        asks = [wire.Ask(topic) for topic in self._asks if topic in self._newcomers]
        self._asks.clear()
        return asks

    def all_interest(self) -> tuple[bytes, ...]:
        """Every topic that is wanted here; all open questions must be asked again after it."""
        self._interest = {}
        self._asks.clear()
        self._asks.update(dict.fromkeys(self._newcomers.topics()))
        return tuple(dict.fromkeys((*self.connections.all_topics(), *self.special)))

    # Delivery.

    def deliver(self, topic: bytes, frame: bytes, offset: int = 0, skip: Any = None) -> int:
        """Queue a frame to all subscribers but ``skip``; returns how many it was queued to."""
        lanes = self.connections.get(topic) or ()
        count = len(lanes)
        for lane in lanes:
            if lane is skip:
                count -= 1
            else:
                lane.send_frame(frame)
        special = self.special.get(topic)
        if special is not None:
            count += self.deliver_special(topic, special, frame, offset, skip)
        return count

    def deliver_special(
        self, topic: bytes, special: Special, frame: bytes, offset: int = 0, skip: Any = None
    ) -> int:
        """The same for the special ones; those skipped are counted in ``conflated``."""
        count = special.connections
        for lane, skipped in special.skipping.items():
            if lane is skip:
                count -= 1
            elif lane.blocked:
                self.conflated += 1
                count -= 1
                skipped()
            else:
                lane.send_frame(frame)
        for follower in tuple(special.followers):
            follower.take(frame, offset)
        if special.waiting and not offset:
            self._newcomers.deliver(topic, frame)
            self._no_newcomers(topic, special)
        return count

    def take_retained(self, message: wire.Retained, skip: Any = None) -> None:
        """Frames of a retained topic: deliver those that were not known, let newcomers in.

        The connection ``skip`` is not to have the newest.
        """
        topic = message.topic
        if topic not in self.connections and topic not in self.special:
            return  # on its way when the last subscriber left
        news = self.copies.take(message)
        if news is None:
            return
        for frame, offset in news:
            self.deliver(topic, frame, offset, skip if offset == message.offset else None)
        special = self.special.get(topic)
        if special is not None and special.waiting:
            # The answer to a question comes after the news that were on their way, and has none.
            self._newcomers.answered(topic, self.copies.get(topic), more=bool(news))
            self._no_newcomers(topic, special)

    # Inside.

    def _let_in_if_known(self, newcomer: Newcomer) -> bool:
        """Let a newcomer in if what its topic keeps is known here; else it waits."""
        kept = self.copies.get(newcomer.topic)
        if kept is not None and not is_ahead(newcomer.since, kept):
            newcomer.begin(self.copies.history(newcomer.topic, newcomer.since), [])
            return True
        self._special_for(newcomer.topic).waiting = True
        self._newcomers.add(newcomer)
        self._schedule()
        return False

    def _arrived(self, lane: Any, topic: bytes) -> Newcomer | None:
        """The connection waits no longer to be let in, as this one did."""
        arriving = self._arriving.get(lane)
        if arriving is None:
            return None
        newcomer = arriving.pop(topic, None)
        if not arriving:
            del self._arriving[lane]
        return newcomer

    def _cancel(self, newcomer: Newcomer | None) -> None:
        if newcomer is not None:
            self._newcomers.cancel(newcomer)
            self._no_newcomers(newcomer.topic, self.special.get(newcomer.topic))

    def _no_newcomers(self, topic: bytes, special: Special | None) -> None:
        if special is not None and topic not in self._newcomers:
            special.waiting = False
            self._clean(topic, special)

    def _add_follower(self, follower: Follower) -> None:
        special = self._special_for(follower.topic)
        special.followers[follower] = None
        special.clients += follower.for_client
        follower.leave = lambda: self._unfollow(follower)

    def _unfollow(self, follower: Follower) -> None:
        special = self.special.get(follower.topic)
        if special is not None and special.followers.pop(follower, True) is None:
            special.clients -= follower.for_client
            self._clean(follower.topic, special)

    def _special_for(self, topic: bytes) -> Special:
        special = self.special.get(topic)
        if special is None:
            special = self.special[topic] = Special()
            if topic not in self.connections:
                self._wants(topic)
        return special

    def _clean(self, topic: bytes, special: Special) -> None:
        if special.empty and self.special.get(topic) is special:
            del self.special[topic]
            self._wants_perhaps_no_longer(topic)

    def _wants(self, topic: bytes) -> None:
        if topic not in self.special or topic not in self.connections:
            self._interest[topic] = True
            self._schedule()

    def _wants_perhaps_no_longer(self, topic: bytes) -> None:
        if topic not in self.special and topic not in self.connections:
            self._interest[topic] = False
            self.copies.forget(topic)
            self._schedule()

    def _give_retained(self, topic: bytes, give: Take) -> None:
        for frame, offset in self.copies.history(topic, None).numbered():
            give(frame, offset)
