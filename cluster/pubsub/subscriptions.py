"""What the subscribers of this node receive: a topic's history, then each new frame.

Most subscribers are connections, which receive every frame; some are special
(callback_subscribers.py). Before either of them resumes, it waits for the history
(waiting_for_history.py).
"""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from twisted.logger import Logger

from cluster.core import wire
from cluster.core.acknowledged_batches import ALL_TOPICS
from cluster.core.broker_state.retained_topic import GAP, History, Position
from cluster.core.interfaces import Answer, Subscriber, Take
from cluster.pubsub.callback_subscribers import CallbackSubscriber, SpecialSubscribers
from cluster.pubsub.history_cache import HistoryCache
from cluster.pubsub.subscriber_table import SubscriberTable
from cluster.pubsub.waiting_for_history import PendingSubscriber, PendingSubscribers

Begin = Callable[[History], tuple[bytes, ...]]
"""Called with the topic's history; returns the frames to send."""


class Subscriptions:
    """``schedule`` asks for a flush, at which the caller sends the changes of ``table``, then the
    queries of ``take_queries``. ``now`` returns Unix time in milliseconds. ``published`` receives
    each connection whose ``out`` was empty when a frame was delivered to it."""

    log = Logger()

    def __init__(
        self,
        schedule: Callable[[], None],
        now: Callable[[], int],
        dropped: Counter[str],
        published: list[Any],
    ) -> None:
        self.conflated = 0
        """Frames that skipping connections did not receive."""
        self.history_cache = HistoryCache(now, dropped)
        self.history_cache.on_gap = self._frames_lost
        self.table = SubscriberTable(schedule, self.history_cache.forget)
        self.connections = self.table.connections
        self.special = self.table.special
        self._schedule = schedule
        self._published = published
        # A dict, so that a client that subscribes repeatedly causes one query: each answer has the
        # whole history.
        self._queries: dict[bytes, None] = {}
        self._pending = PendingSubscribers(self._queries.setdefault)
        self._pending_of: dict[Subscriber, dict[bytes, PendingSubscriber]] = {}

    # For operators.

    def counts(self) -> dict[bytes, int]:
        """The number of subscribed clients of each topic; topics without clients are left out."""
        counts = {topic: len(self.connections.get(topic) or ()) for topic in self.connections}
        for topic, special in self.special.items():
            if special.connections:
                counts[topic] = counts.get(topic, 0) + special.connections
        return counts

    # Connections.

    def subscribe(self, connection: Subscriber, topic: bytes) -> None:
        """Queue the topic's frames on the connection from now on, the retained ones first."""
        if self.table.has_connection(connection, topic):
            return
        self.table.add(connection, topic)
        if self._pending_of:
            self._cancel(self._remove_pending(connection, topic))
        if not self.table.remove_skipping(connection, topic):  # else it has received them
            connection.send_history(self.history_cache.history(topic, None).frames)

    def subscribe_since(
        self, connection: Subscriber, topic: bytes, since: Position | None, begin: Begin
    ) -> None:
        """Subscribe as soon as the history is known: ``begin(history)`` returns what to send."""

        def admit(history: History, frames: list[bytes]) -> None:
            self._remove_pending(connection, topic)
            try:
                missed = begin(history)
            except Exception:
                self.log.failure("the history of {topic} could not be delivered", topic=topic)
                missed = history.frames
            connection.send_history(missed)
            for frame in frames:
                connection.send_frame(frame)
            self.table.add(connection, topic)

        self._cancel(self._remove_pending(connection, topic))
        pending = PendingSubscriber(topic, since, admit)
        if not self._admit_if_known(pending):
            self.table.remove(connection, topic)  # no frames until the history is known
            self._pending_of.setdefault(connection, {})[topic] = pending
        self.table.remove_skipping(connection, topic)

    def subscribe_skipping(
        self, connection: Subscriber, topic: bytes, skipped: Callable[[], None]
    ) -> None:
        """Subscribe, but call ``skipped`` instead of queueing while the connection is blocked.

        The caller sends the newest frame later. Skipped frames are counted in ``conflated``.
        """
        special = self.table.special_of(topic)
        subscribed = connection in special.skipping or self.table.has_connection(connection, topic)
        special.skipping[connection] = skipped
        self.table.remove(connection, topic)
        self._cancel(self._remove_pending(connection, topic))
        if not subscribed:
            connection.send_history(self.history_cache.history(topic, None).frames)

    def unsubscribe(self, connection: Subscriber, topic: bytes) -> None:
        """Stop queueing the topic's frames on the connection."""
        self.table.remove(connection, topic)
        self.table.remove_skipping(connection, topic)
        self._cancel(self._remove_pending(connection, topic))

    def drop(self, connection: Subscriber, skipping_topics: tuple[bytes, ...] = ()) -> None:
        """Unsubscribe a closed connection from all topics.

        The caller passes the topics that it subscribed to with ``subscribe_skipping``.
        """
        self.table.drop(connection)
        for topic in (*skipping_topics, *self._pending_of.get(connection, ())):
            self.unsubscribe(connection, topic)

    # Functions.

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
        """Call ``take(frame, offset)`` for each frame, the retained ones first.

        With ``since`` only the frames after that position; without ``replay`` only new ones.
        ``answer``, if given, is called once before, and again if frames are lost. ``for_client``:
        the function counts as a connection in receipts.
        """
        subscriber = CallbackSubscriber(topic, take, self.history_cache, for_client, answer)
        if since is None and replay and answer is None:
            self._begin_at_once(subscriber)
            return subscriber

        def admit(history: History, frames: list[bytes]) -> None:
            self.table.add_callback(subscriber)
            subscriber.begin(history, frames, replay)

        pending = PendingSubscriber(topic, since, admit)
        subscriber.leave = lambda: self._cancel(pending)
        self._admit_if_known(pending)
        return subscriber

    def listen(
        self,
        topic: bytes,
        listener: Callable[[bytes], None],
        lost: Callable[[], None] | None = None,
    ) -> None:
        """Call the function with each frame, also with retained ones, until the node stops.

        It does not wait for the history, which may be out of reach: that is delivered when it
        arrives. ``lost`` is called when frames are lost that the topic has retained.
        """

        def answer(recovered: bool, epoch: str, offset: int) -> None:
            if epoch and lost is not None:  # without an epoch, the topic has retained nothing
                lost()

        subscriber = CallbackSubscriber(
            topic, lambda frame, offset: listener(frame), self.history_cache, answer=answer
        )
        self._begin_at_once(subscriber)

    # For the exchange.

    def take_queries(self) -> list[wire.Query]:
        """Queries since the last call. Send them after the changes of ``table``."""
        queries = [wire.Query(topic) for topic in self._queries if topic in self._pending]
        self._queries.clear()
        return queries

    def all_topics_wanted(self, after_failure: bool = False) -> tuple[bytes, ...]:
        """All wanted topics, for a bus that has just come up. Open queries are repeated.

        ``after_failure``: it was up before, and frames may be lost.
        """
        self._queries.clear()
        self._queries.update(dict.fromkeys(self._pending.topics()))
        topics = self.table.all_topics()
        if after_failure:
            self.history_cache.uncertain.update(topics)
        return topics

    # Delivery.

    def deliver(
        self, topic: bytes, frame: bytes, offset: int = 0, skip: Subscriber | None = None
    ) -> int:
        """Queue a frame to all subscribers except ``skip``; returns the number of connections."""
        connections = self.connections.get(topic) or ()
        count = len(connections)
        for connection in connections:
            if connection is skip:
                count -= 1
            else:
                self._queue(connection, frame)
        special = self.special.get(topic)
        if special is not None:
            count += self.deliver_special(topic, special, frame, offset, skip)
        return count

    def deliver_special(
        self,
        topic: bytes,
        special: SpecialSubscribers,
        frame: bytes,
        offset: int = 0,
        skip: Subscriber | None = None,
    ) -> int:
        """The same for the special subscribers; skipped frames are counted in ``conflated``."""
        count = special.connections
        for connection, skipped in special.skipping.items():
            if connection is skip:
                count -= 1
            elif connection.blocked:
                self.conflated += 1
                count -= 1
                skipped()
            else:
                self._queue(connection, frame)
        for subscriber in tuple(special.callbacks):
            subscriber.take(frame, offset)
        if special.pending and not offset:  # frames with an offset are part of the history
            self._pending.deliver(topic, frame)
            self._update_pending(topic, special)
        return count

    def retained_received(self, message: wire.Retained, skip: Subscriber | None = None) -> None:
        """Deliver the new frames of a retained topic, and begin pending subscribers.

        The connection ``skip`` does not receive the newest frame.
        """
        topic = message.topic
        if topic not in self.table:
            return  # the last subscriber left while the message was on its way
        new = self.history_cache.receive(message)
        if new is None:
            return
        if len(new) > 1 and skip is None and all(frame != GAP for frame, _ in new):
            self._deliver_history(topic, new)
        else:
            for frame, offset in new:
                if frame == GAP:
                    self._frames_lost(topic)
                    continue
                self.deliver(topic, frame, offset, skip if offset == message.offset else None)
        special = self.special.get(topic)
        if special is not None and special.pending:
            # A message without new frames is the answer to a query. One with new frames may have
            # been sent before the query arrived, and the answer comes after it.
            self._pending.answered(topic, self.history_cache.get(topic), more=bool(new))
            self._update_pending(topic, special)

    def frames_lost(self, topics: Collection[bytes]) -> None:
        """Frames without an offset are lost on the way to this node; ALL_TOPICS: of any topic."""
        if ALL_TOPICS in topics:
            topics = {*self.connections, *self.special}
        for topic in topics:
            # Lost frames of a retained topic are detected by their offsets.
            if self.history_cache.get(topic) is None:
                self._frames_lost(topic)

    # Internal.

    def _deliver_history(self, topic: bytes, new: list[tuple[bytes, int]]) -> None:
        """Deliver many frames: connections send them as they read, like those of a cached topic."""
        frames = [frame for frame, _ in new]
        for connection in self.connections.get(topic) or ():
            connection.send_history(frames)
        special = self.special.get(topic)
        if special is None:
            return
        for connection, skipped in special.skipping.items():
            if connection.blocked:
                self.conflated += len(frames)
                skipped()
            else:
                connection.send_history(frames)
        for frame, offset in new:
            for subscriber in tuple(special.callbacks):
                subscriber.take(frame, offset)

    def _frames_lost(self, topic: bytes) -> None:
        special = self.special.get(topic)
        subscribers: list[Subscriber | CallbackSubscriber] = [*(self.connections.get(topic) or ())]
        if special is not None:
            subscribers += (*special.skipping, *special.callbacks)
        for subscriber in subscribers:
            subscriber.frames_lost(topic)

    def _queue(self, connection: Subscriber, frame: bytes) -> None:
        out = connection.out
        if not out:
            self._published.append(connection)
        out.append(frame)

    def _admit_if_known(self, pending: PendingSubscriber) -> bool:
        """Begin if the topic's history is cached, else add a pending subscriber."""
        kept = self.history_cache.get(pending.topic)
        if kept is not None and not kept.is_behind(pending.since):
            pending.begin(kept.history(pending.since), [])
            return True
        self.table.special_of(pending.topic).pending = True
        self._pending.add(pending)
        self._schedule()
        return False

    def _remove_pending(self, connection: Subscriber, topic: bytes) -> PendingSubscriber | None:
        of_connection = self._pending_of.get(connection)
        if of_connection is None:
            return None
        pending = of_connection.pop(topic, None)
        if not of_connection:
            del self._pending_of[connection]
        return pending

    def _cancel(self, pending: PendingSubscriber | None) -> None:
        if pending is not None:
            self._pending.cancel(pending)
            special = self.special.get(pending.topic)
            if special is not None:
                self._update_pending(pending.topic, special)

    def _update_pending(self, topic: bytes, special: SpecialSubscribers) -> None:
        if topic not in self._pending:
            special.pending = False
            self.table.remove_if_empty(topic, special)

    def _begin_at_once(self, subscriber: CallbackSubscriber) -> None:
        """Begin with the frames that are cached, without waiting for others."""
        self.table.add_callback(subscriber)
        for frame, offset in self.history_cache.history(subscriber.topic, None).numbered():
            subscriber.take(frame, offset)
