"""Subscribers of a topic that are not plain connections.

A follower is application code of this node that is called with each frame. A skipping connection is
left out while its client does not read.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from twisted.logger import Logger

from cluster.pubsub.pending_subscribers import History
from cluster.pubsub.retained_cache import RetainedCache

Take = Callable[[bytes, int], None]
"""Called with a frame and its number; 0: the topic keeps no frames."""

Answer = Callable[[bool, str, int], None]
"""Told whether all that was missed follows, the topic's epoch, and its newest offset. A topic that
keeps nothing has an empty epoch."""


class CallbackSubscriber:
    """Called until ``stop``; what it raises is logged and hurts nobody else.

    ``for_client``: what it takes goes to a client, who counts in receipts like any connection.
    """

    __slots__ = ("_retained_cache", "_take", "for_client", "leave", "topic")

    log = Logger()

    def __init__(
        self, topic: bytes, take: Take, retained_cache: RetainedCache, for_client: bool = False
    ) -> None:
        self.topic = topic
        self.for_client = for_client
        self._retained_cache = retained_cache
        self.leave: Callable[[], None] | None = lambda: None
        self._take = take

    @property
    def epoch(self) -> str:
        """The epoch of the numbers that ``take`` is called with now; "" if nothing is kept."""
        kept = self._retained_cache.get(self.topic)
        return "" if kept is None else kept.epoch

    def stop(self) -> None:
        """Hear no more; a second time does nothing."""
        leave, self.leave = self.leave, None
        if leave is not None:
            leave()

    def begin(
        self, history: History, frames: Iterable[bytes], replay: bool, answer: Answer | None
    ) -> None:
        """It is let in, with what is kept and what came meanwhile."""
        try:
            if answer is not None:
                answer(history.recovered, history.epoch, history.offset)
        except Exception:
            self.log.failure("a follower of {topic} failed", topic=self.topic)
        if replay or history.recovered:
            for frame, offset in history.numbered():
                self.take(frame, offset)
        for frame in frames:
            self.take(frame, 0)

    def take(self, frame: bytes, offset: int) -> None:
        """A frame has come."""
        if self.leave is None:  # stopped by one that was called before it
            return
        try:
            self._take(frame, offset)
        except Exception:
            self.log.failure("a follower of {topic} failed", topic=self.topic)


@dataclass(slots=True)
class Special:
    """Those of one topic."""

    skipping: dict[Any, Callable[[], None]] = field(default_factory=dict)
    callback_subscribers: dict[CallbackSubscriber, None] = field(default_factory=dict)
    waiting: bool = False
    """Whether newcomers wait."""
    clients: int = 0
    """Followers that stand for a client."""

    @property
    def connections(self) -> int:
        """How many clients hear the topic in these ways."""
        return len(self.skipping) + self.clients

    @property
    def empty(self) -> bool:
        return not (self.skipping or self.callback_subscribers or self.waiting)
