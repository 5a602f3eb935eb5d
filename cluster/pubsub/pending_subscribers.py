"""Subscribers that must hear what a topic keeps before they hear what is new.

Most subscribers take what comes. Those that say where they were (``since``), want no old frames, or
want to know their position must wait until this node knows what the topic keeps:

* it does if it has a copy already; else, or if the newcomer has heard more through another node,
  the exchange is asked;
* frames without a number that come meanwhile wait with the newcomer, at most WAITING_FRAMES; one
  more, and the newcomer is let in as one who cannot be told what was missed;
* a newcomer is let in (``begin``) exactly once, or cancelled.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cluster.core.retained import RetainedTopic

WAITING_FRAMES = 1000
"""The exchange answers in milliseconds; this is for a broker that is away."""

Position = tuple[str, int]
"""The epoch and the offset of a frame (core.retained)."""


@dataclass(frozen=True, slots=True)
class History:
    """What a newcomer is told: whether all that it missed is here, where the topic is now, and the
    frames, the newest of which has the number ``offset``.

    A topic that keeps nothing has an empty epoch.
    """

    recovered: bool
    epoch: str
    offset: int
    frames: tuple[bytes, ...] = ()

    def numbered(self) -> Iterator[tuple[bytes, int]]:
        """Each frame with its number."""
        first = self.offset - len(self.frames) + 1
        return ((frame, first + index) for index, frame in enumerate(self.frames))


NOTHING = History(False, "", 0)
"""Nothing is kept, or nobody can say what."""


def history_since(kept: RetainedTopic | None, since: Position | None) -> History:
    """What to tell a newcomer. Without ``since``, or if that is too long ago: all that is kept."""
    if kept is None:
        return NOTHING
    missed = None if since is None else kept.after(*since)
    frames = kept.frames if missed is None else missed
    return History(missed is not None, kept.epoch, kept.offset, tuple(frames))


def is_ahead(since: Position | None, kept: RetainedTopic) -> bool:
    """Whether frames are on their way here that this client knows already."""
    return since is not None and since[0] == kept.epoch and since[1] > kept.offset


@dataclass(slots=True, eq=False)
class PendingSubscriber:
    """``begin`` gets the history, and the frames without a number that came after it."""

    topic: bytes
    since: Position | None
    begin: Callable[[History, list[bytes]], None]
    frames: list[bytes] = field(default_factory=list)


class PendingSubscribers:
    """Those that wait, by topic. ``ask`` has the exchange asked about a topic."""

    def __init__(self, ask: Callable[[bytes], None]) -> None:
        self._waiting: dict[bytes, dict[PendingSubscriber, None]] = {}
        self._ask = ask

    def __contains__(self, topic: bytes) -> bool:
        return topic in self._waiting

    def topics(self) -> tuple[bytes, ...]:
        """Topics the exchange must be asked about (again)."""
        return tuple(self._waiting)

    def add(self, pending: PendingSubscriber) -> None:
        """Wait for the exchange's answer."""
        waiting = self._waiting.get(pending.topic)
        if waiting is None:
            waiting = self._waiting[pending.topic] = {}
            self._ask(pending.topic)
        waiting[pending] = None

    def cancel(self, pending: PendingSubscriber) -> None:
        """It does not want to be let in any more."""
        waiting = self._waiting.get(pending.topic)
        if waiting is not None and waiting.pop(pending, True) is None and not waiting:
            del self._waiting[pending.topic]

    def answered(self, topic: bytes, kept: RetainedTopic | None, more: bool = False) -> None:
        """What the topic keeps is known: let them in; if there may be ``more``, those that are not
        ahead of it."""
        for pending in tuple(self._waiting.get(topic, ())):
            if not (more and kept is not None and is_ahead(pending.since, kept)):
                self.cancel(pending)
                pending.begin(history_since(kept, pending.since), pending.frames)

    def deliver(self, topic: bytes, frame: bytes) -> None:
        """A frame without a number has come."""
        for pending in tuple(self._waiting[topic]):
            pending.frames.append(frame)
            if len(pending.frames) > WAITING_FRAMES:
                self.cancel(pending)
                pending.begin(NOTHING, pending.frames)
