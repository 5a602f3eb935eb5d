"""Who on this node wants which topic, and the retained frames kept for those who come later.

Most subscribers are connections, which get every frame; some are special (followers.py). Newcomers
(newcomers.py) become one or the other when they know what they missed.
"""

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from cluster.core import wire
from cluster.core.routing import RoutingTable
from cluster.pubsub.callback_subscribers import Answer, CallbackSubscriber, Special, Take
from cluster.pubsub.pending_subscribers import (
    History,
    PendingSubscriber,
    PendingSubscribers,
    Position,
    is_ahead,
)
from cluster.pubsub.retained_cache import RetainedCache

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
        self.retained_cache = RetainedCache(now)
        self._schedule = schedule
        self._subscription_changes: dict[bytes, bool] = {}
        # Each once, however often a client comes and goes: all that is kept is the answer.
        self._asks: dict[bytes, None] = {}
        self._pending = PendingSubscribers(self._asks.setdefault)
        self._arriving: dict[Any, dict[bytes, PendingSubscriber]] = {}

    # Connections.

    def subscribe(self, connection: Any, topic: bytes) -> None:
        """From now on the topic's frames go into ``lane.out``, the retained ones first."""
        connections = self.connections.get(topic)
        if connections is not None and connection in connections:
            return
        if self.connections.add(topic, connection):
            self._wants(topic)
        if self._arriving:
            self._cancel(self._arrived(connection, topic))
        special = self.special.get(topic)
        if special is not None and special.skipping.pop(connection, None) is not None:
            self._clean(topic, special)  # it had them already
        else:
            self._give_retained(topic, lambda frame, offset: connection.send_frame(frame))

    def subscribe_since(
        self, connection: Any, topic: bytes, since: Position | None, begin: Begin
    ) -> None:
        """Like subscribe, as soon as ``begin`` could be told what was missed."""

        def admit(history: History, frames: list[bytes]) -> None:
            self._arrived(connection, topic)
            try:
                missed = begin(history)
            except Exception:
                self.log.failure("what {topic} keeps could not be told", topic=topic)
                missed = history.frames
            for frame in (*missed, *frames):
                connection.send_frame(frame)
            if self.connections.add(topic, connection):
                self._wants(topic)

        self._cancel(self._arrived(connection, topic))
        pending = PendingSubscriber(topic, since, admit)
        if not self._admit_if_known(pending):
            self.connections.remove(topic, connection)  # while it waits, it waits
            self._arriving.setdefault(connection, {})[topic] = pending
        special = self.special.get(topic)
        if special is not None and special.skipping.pop(connection, None) is not None:
            self._clean(topic, special)

    def subscribe_skipping(
        self, connection: Any, topic: bytes, skipped: Callable[[], None]
    ) -> None:
        """Like subscribe, but while ``lane.blocked`` frames are left out and ``skipped`` is called.

        Skipped frames are counted in ``conflated``; the caller sends the newest value later.
        """
        special = self._special_for(topic)
        subscribed = connection in special.skipping or connection in (
            self.connections.get(topic) or ()
        )
        special.skipping[connection] = skipped
        self.connections.remove(topic, connection)
        self._cancel(self._arrived(connection, topic))
        if not subscribed:
            self._give_retained(topic, lambda frame, offset: connection.send_frame(frame))

    def unsubscribe(self, connection: Any, topic: bytes) -> None:
        """No frame published from now on goes to this connection."""
        if self.connections.remove(topic, connection):
            self._wants_perhaps_no_longer(topic)
        special = self.special.get(topic)
        if special is not None and special.skipping.pop(connection, None) is not None:
            self._clean(topic, special)
        self._cancel(self._arrived(connection, topic))

    def drop(self, connection: Any, skipping_topics: tuple[bytes, ...] = ()) -> None:
        """The connection is gone: unsubscribe it from everything."""
        for topic in self.connections.drop(connection):
            self._wants_perhaps_no_longer(topic)
        for topic in (*skipping_topics, *self._arriving.get(connection, ())):
            self.unsubscribe(connection, topic)

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
    ) -> CallbackSubscriber:
        """Call ``take(frame, offset)`` for each frame from now on, what is kept first.

        With ``since`` only what came after it; without ``replay`` only what is new. ``answer``, if
        given, is called once before. ``for_client``: it is counted in receipts.
        """
        subscriber = CallbackSubscriber(topic, take, self.retained_cache, for_client)
        if since is None and replay and answer is None:
            self._add_callback_subscriber(subscriber)
            self._give_retained(topic, subscriber.take)
            return subscriber

        def admit(history: History, frames: list[bytes]) -> None:
            self._add_callback_subscriber(subscriber)
            subscriber.begin(history, frames, replay, answer)

        pending = PendingSubscriber(topic, since, admit)
        subscriber.leave = lambda: self._cancel(pending)
        self._admit_if_known(pending)
        return subscriber

    def listen(self, topic: bytes, listener: Callable[[bytes], None]) -> None:
        """Call back with each frame of the topic, for as long as the node lives."""
        self.follow(topic, lambda frame, offset: listener(frame))

    # What the others are told.

    def take_subscription_changes(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Topics wanted, and wanted no longer, since the last call."""
        interest, self._subscription_changes = self._subscription_changes, {}
        added = tuple(topic for topic, wanted in interest.items() if wanted)
        return added, tuple(topic for topic, wanted in interest.items() if not wanted)

    @property
    def subscriptions_changed(self) -> bool:
        """Whether take_interest has anything to tell."""
        return bool(self._subscription_changes)

    def take_asks(self) -> list[wire.Query]:
        """Questions for the exchange since the last call; to be sent after the interest."""
        asks = [wire.Query(topic) for topic in self._asks if topic in self._pending]
        self._asks.clear()
        return asks

    def all_topics_wanted(self) -> tuple[bytes, ...]:
        """Every topic that is wanted here; all open questions must be asked again after it."""
        self._subscription_changes = {}
        self._asks.clear()
        self._asks.update(dict.fromkeys(self._pending.topics()))
        return tuple(dict.fromkeys((*self.connections.all_topics(), *self.special)))

    # Delivery.

    def deliver(self, topic: bytes, frame: bytes, offset: int = 0, skip: Any = None) -> int:
        """Queue a frame to all subscribers but ``skip``; returns how many it was queued to."""
        connections = self.connections.get(topic) or ()
        count = len(connections)
        for connection in connections:
            if connection is skip:
                count -= 1
            else:
                connection.send_frame(frame)
        special = self.special.get(topic)
        if special is not None:
            count += self.deliver_special(topic, special, frame, offset, skip)
        return count

    def deliver_special(
        self, topic: bytes, special: Special, frame: bytes, offset: int = 0, skip: Any = None
    ) -> int:
        """The same for the special ones; those skipped are counted in ``conflated``."""
        count = special.connections
        for connection, skipped in special.skipping.items():
            if connection is skip:
                count -= 1
            elif connection.blocked:
                self.conflated += 1
                count -= 1
                skipped()
            else:
                connection.send_frame(frame)
        for subscriber in tuple(special.callback_subscribers):
            subscriber.take(frame, offset)
        if special.waiting and not offset:
            self._pending.deliver(topic, frame)
            self._none_pending(topic, special)
        return count

    def take_retained(self, message: wire.Retained, skip: Any = None) -> None:
        """Frames of a retained topic: deliver those that were not known, let newcomers in.

        The connection ``skip`` is not to have the newest.
        """
        topic = message.topic
        if topic not in self.connections and topic not in self.special:
            return  # on its way when the last subscriber left
        news = self.retained_cache.take(message)
        if news is None:
            return
        for frame, offset in news:
            self.deliver(topic, frame, offset, skip if offset == message.offset else None)
        special = self.special.get(topic)
        if special is not None and special.waiting:
            # The answer to a question comes after the news that were on their way, and has none.
            self._pending.answered(topic, self.retained_cache.get(topic), more=bool(news))
            self._none_pending(topic, special)

    # Inside.

    def _admit_if_known(self, pending: PendingSubscriber) -> bool:
        """Let a newcomer in if what its topic keeps is known here; else it waits."""
        kept = self.retained_cache.get(pending.topic)
        if kept is not None and not is_ahead(pending.since, kept):
            pending.begin(self.retained_cache.history(pending.topic, pending.since), [])
            return True
        self._special_for(pending.topic).waiting = True
        self._pending.add(pending)
        self._schedule()
        return False

    def _arrived(self, connection: Any, topic: bytes) -> PendingSubscriber | None:
        """The connection waits no longer to be let in, as this one did."""
        arriving = self._arriving.get(connection)
        if arriving is None:
            return None
        pending = arriving.pop(topic, None)
        if not arriving:
            del self._arriving[connection]
        return pending

    def _cancel(self, pending: PendingSubscriber | None) -> None:
        if pending is not None:
            self._pending.cancel(pending)
            self._none_pending(pending.topic, self.special.get(pending.topic))

    def _none_pending(self, topic: bytes, special: Special | None) -> None:
        if special is not None and topic not in self._pending:
            special.waiting = False
            self._clean(topic, special)

    def _add_callback_subscriber(self, subscriber: CallbackSubscriber) -> None:
        special = self._special_for(subscriber.topic)
        special.callback_subscribers[subscriber] = None
        special.clients += subscriber.for_client
        subscriber.leave = lambda: self._unfollow(subscriber)

    def _unfollow(self, subscriber: CallbackSubscriber) -> None:
        special = self.special.get(subscriber.topic)
        if special is not None and special.callback_subscribers.pop(subscriber, True) is None:
            special.clients -= subscriber.for_client
            self._clean(subscriber.topic, special)

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
            self._subscription_changes[topic] = True
            self._schedule()

    def _wants_perhaps_no_longer(self, topic: bytes) -> None:
        if topic not in self.special and topic not in self.connections:
            self._subscription_changes[topic] = False
            self.retained_cache.forget(topic)
            self._schedule()

    def _give_retained(self, topic: bytes, give: Take) -> None:
        for frame, offset in self.retained_cache.history(topic, None).numbered():
            give(frame, offset)
