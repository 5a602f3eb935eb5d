"""The newest frames of a topic, kept for those who subscribe late.

The rules:

* each retained topic has a depth: how many of its newest frames are kept;
* frames of a topic are numbered 1, 2, 3, … (its offset is the number of the newest);
* ``restore`` brings back what another process still knew; the higher offset wins;
* at most ``max_topics`` topics are kept: storing one more drops the one stored to longest ago,
  and ``evicted`` counts it;
* ``store`` never gives a number twice, so a topic that comes back after it made room for another
  goes on above ``floor``, the highest offset of all that did.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_TOPICS = 10_000
"""Bounds memory against a publisher that makes up topics; an application with more retained topics
than this sets its own bound."""


@dataclass(slots=True)
class RetainedTopic:
    """One topic's newest frames, oldest first; ``offset`` is the newest one's number."""

    depth: int
    offset: int = 0
    frames: deque[bytes] = field(default_factory=deque)


class RetainedFrames:
    """Topic -> its newest frames."""

    __slots__ = ("_topics", "evicted", "floor", "max_topics")

    def __init__(self, max_topics: int = MAX_TOPICS) -> None:
        if max_topics < 1:
            raise ValueError(f"there must be room for at least 1 topic, not {max_topics}")
        self.max_topics = max_topics
        self.evicted = 0
        self.floor = 0  # one number instead of one for each topic that was ever here
        self._topics: OrderedDict[bytes, RetainedTopic] = OrderedDict()

    def store(self, topic: bytes, depth: int, frame: bytes) -> int:
        """Keep a frame as the topic's newest; returns its offset. ``depth`` is at least 1."""
        entry = self._entry(topic, depth)
        entry.offset += 1
        entry.frames.append(frame)
        self._trim(entry)
        return entry.offset

    def restore(self, topic: bytes, depth: int, offset: int, frames: Iterable[bytes]) -> bool:
        """Take over frames up to ``offset`` unless as much or more is known; True if taken."""
        known = self._topics.get(topic)
        if offset <= (0 if known is None else known.offset):
            return False
        entry = self._entry(topic, depth)
        entry.offset = offset
        entry.frames = deque(frames)
        self._trim(entry)
        return True

    def get(self, topic: bytes) -> RetainedTopic | None:
        """What is kept of a topic; read it at once, it changes with the next frame."""
        return self._topics.get(topic)

    def forget(self, topic: bytes) -> None:
        """Keep nothing of this topic any more, not even its offset."""
        self._topics.pop(topic, None)

    def topics(self) -> tuple[bytes, ...]:
        """The topics something is kept of, the one stored to longest ago first."""
        return tuple(self._topics)

    def _entry(self, topic: bytes, depth: int) -> RetainedTopic:
        if depth < 1:
            raise ValueError(f"a retained topic keeps at least 1 frame, not {depth}")
        entry = self._topics.get(topic)
        if entry is None:
            while len(self._topics) >= self.max_topics:
                _, oldest = self._topics.popitem(last=False)
                self.floor = max(self.floor, oldest.offset)
                self.evicted += 1
            entry = self._topics[topic] = RetainedTopic(depth, self.floor)
        else:
            self._topics.move_to_end(topic)
            entry.depth = depth
        return entry

    @staticmethod
    def _trim(entry: RetainedTopic) -> None:
        while len(entry.frames) > entry.depth:
            entry.frames.popleft()
