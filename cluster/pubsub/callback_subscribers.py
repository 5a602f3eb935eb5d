"""Subscribers of a topic that are not plain connections.

A callback subscriber is a function of this node that is called with each frame. A skipping
connection receives no frames while its client does not read.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from twisted.logger import Logger

from cluster.core.broker_state.retained_topic import History
from cluster.core.interfaces import Answer, Subscriber, Take
from cluster.pubsub.history_cache import HistoryCache


class CallbackSubscriber:
    """A function that is called with each frame until ``stop`` is called.

    Its exceptions are logged, and do not affect other subscribers. ``for_client``: the function
    sends the frames to a client, which counts as a connection in receipts.
    """

    __slots__ = ("_answer", "_history_cache", "_take", "for_client", "leave", "topic")

    log = Logger()

    def __init__(
        self,
        topic: bytes,
        take: Take,
        history_cache: HistoryCache,
        for_client: bool = False,
        answer: Answer | None = None,
    ) -> None:
        self.topic = topic
        self.for_client = for_client
        self._history_cache = history_cache
        self.leave: Callable[[], None] | None = lambda: None
        """Ends the subscription; None after ``stop``."""
        self._take = take
        self._answer = answer

    @property
    def epoch(self) -> str:
        """The epoch of the offsets that the function receives; empty if nothing is retained."""
        kept = self._history_cache.get(self.topic)
        return "" if kept is None else kept.epoch

    def stop(self) -> None:
        """Do not call the function any more. Idempotent."""
        leave, self.leave = self.leave, None
        if leave is not None:
            leave()

    def begin(self, history: History, frames: Iterable[bytes], replay: bool) -> None:
        """Begin with the topic's history, and the frames that arrived while this waited for it."""
        self._send_answer(history.recovered, history.epoch, history.offset)
        if replay or history.recovered:
            for frame, offset in history.numbered():
                self.take(frame, offset)
        for frame in frames:
            self.take(frame, 0)

    def frames_lost(self, topic: bytes) -> None:
        """Frames of the topic are lost; those that follow are not."""
        kept = self._history_cache.get(topic)
        if kept is None:
            self._send_answer(False, "", 0)
        else:
            self._send_answer(False, kept.epoch, kept.offset)

    def _send_answer(self, recovered: bool, epoch: str, offset: int) -> None:
        if self.leave is None or self._answer is None:
            return
        try:
            self._answer(recovered, epoch, offset)
        except Exception:
            self.log.failure("a callback subscriber of {topic} failed", topic=self.topic)

    def take(self, frame: bytes, offset: int) -> None:
        """Call the function with a frame."""
        if self.leave is None:  # stopped by a subscriber that was called just before
            return
        try:
            self._take(frame, offset)
        except Exception:
            self.log.failure("a callback subscriber of {topic} failed", topic=self.topic)


@dataclass(slots=True)
class SpecialSubscribers:
    """The subscribers of one topic that are not plain connections."""

    skipping: dict[Subscriber, Callable[[], None]] = field(default_factory=dict)
    """Skipping connections, and what to call instead of queueing a frame."""
    callbacks: dict[CallbackSubscriber, None] = field(default_factory=dict)
    pending: bool = False
    """Whether subscribers wait for the topic's history (waiting_for_history.py)."""
    clients: int = 0
    """The number of callback subscribers that count as connections."""

    @property
    def connections(self) -> int:
        """How many of these subscribers count as connections in receipts."""
        return len(self.skipping) + self.clients

    @property
    def empty(self) -> bool:
        """Whether there are no such subscribers."""
        return not (self.skipping or self.callbacks or self.pending)
