"""Subscribers that wait for a topic's history before they receive new frames.

Most subscribers begin at once. Those that resume from a position (``since``), want no old frames,
or want to know their position must wait until this node knows what the topic retains:

* if the node has the topic in its cache, they begin at once. It asks the exchange if the topic is
  not cached, or if the subscriber has received newer frames through another node;
* frames without an offset that arrive meanwhile are queued with the subscriber, at most
  WAITING_FRAMES. When one more arrives, the subscriber begins without a history, as not recovered;
* each pending subscriber begins exactly once, or is cancelled.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.core.broker_state.retained_topic import NO_HISTORY, History, Position, RetainedTopic

WAITING_FRAMES = 1000
"""Frames that are queued for one pending subscriber. The exchange answers in milliseconds, so there
are more only while the broker is down."""


@dataclass(slots=True, eq=False)
class PendingSubscriber:
    """``begin`` is called with the history, and the frames without an offset that came after it."""

    topic: bytes
    since: Position | None
    begin: Callable[[History, list[bytes]], None]
    frames: list[bytes] = field(default_factory=list)


class PendingSubscribers:
    """The pending subscribers by topic. ``query`` asks the exchange what a topic retains."""

    def __init__(self, query: Callable[[bytes], None]) -> None:
        self._waiting: dict[bytes, dict[PendingSubscriber, None]] = {}
        self._query = query

    def __contains__(self, topic: bytes) -> bool:
        return topic in self._waiting

    def topics(self) -> tuple[bytes, ...]:
        """The topics for which the exchange has not answered yet."""
        return tuple(self._waiting)

    def add(self, pending: PendingSubscriber) -> None:
        """Wait for the exchange's answer."""
        waiting = self._waiting.get(pending.topic)
        if waiting is None:
            waiting = self._waiting[pending.topic] = {}
            self._query(pending.topic)
        waiting[pending] = None

    def cancel(self, pending: PendingSubscriber) -> None:
        """Do not begin. Does nothing if it has begun."""
        waiting = self._waiting.get(pending.topic)
        if waiting is not None and waiting.pop(pending, True) is None and not waiting:
            del self._waiting[pending.topic]

    def answered(self, topic: bytes, kept: RetainedTopic | None, more: bool = False) -> None:
        """Begin the subscribers of a topic whose retained frames are known now.

        ``more``: newer frames may follow, so subscribers with a newer position keep waiting.
        """
        for pending in tuple(self._waiting.get(topic, ())):
            if not (more and kept is not None and kept.is_behind(pending.since)):
                self.cancel(pending)
                history = NO_HISTORY if kept is None else kept.history(pending.since)
                pending.begin(history, pending.frames)

    def deliver(self, topic: bytes, frame: bytes) -> None:
        """Queue a frame without an offset for the pending subscribers of a topic."""
        for pending in tuple(self._waiting[topic]):
            pending.frames.append(frame)
            if len(pending.frames) > WAITING_FRAMES:
                self.cancel(pending)
                pending.begin(NO_HISTORY, pending.frames)
