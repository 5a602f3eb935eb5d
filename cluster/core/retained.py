"""The newest frames of a topic, kept for those who subscribe late or come back.

The rules:

* each retained topic has a depth: how many of its newest frames are kept;
* frames of a topic are numbered 1, 2, 3, … (its offset is the number of the newest); the numbering
  has a name, its epoch, because one that starts anew gives the same numbers to other frames;
* whoever goes on with a numbering that another process began gives it a new epoch, for that process
  may have given numbers that nobody here knows. Of an earlier epoch it is remembered which was the
  last number that is also one of the new;
* of each publisher the number of its newest frame is remembered (``sources``), so that one that is
  published again, because nobody knew whether it was taken, is recognized;
* a frame may expire: it goes when its time has come and all before it are gone;
* ``restore`` brings back what another process still knew; the higher offset wins;
* at most ``max_topics`` topics and ``max_bytes`` of frames are kept: what is more drops the topics
  stored to longest ago, and ``evicted`` counts them. The newest frame is always kept;
* ``store`` never gives a number twice, so a topic that comes back after it made room for another
  goes on above ``floor``, the highest offset of all that did.

Times are Unix times in milliseconds, the same for all processes; 0 stands for never.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_TOPICS = 10_000
"""Bounds memory against a publisher that makes up topics; an application with more retained topics
than this sets its own bound."""

MAX_BYTES = 256 << 20
"""The same against large messages; 15 messages of 1,700 bytes in each of so many topics."""

MAX_PUBLISHERS = 128
"""Of each topic; the one that has published to it longest ago is forgotten first. It matters for
seconds: between a broker's death and the next one's start."""


@dataclass(slots=True)
class RetainedTopic:
    """One topic's newest frames, oldest first; ``offset`` is the newest one's number.

    ``size``: their bytes. ``expires`` are the times at which they expire. ``earlier``: epoch -> the
    last number of it that is also one of this epoch. ``restored``: the last frame was numbered by
    another process. ``published``: publisher -> the number that it gave its newest frame of this
    topic.
    """

    depth: int
    offset: int = 0
    frames: deque[bytes] = field(default_factory=deque)
    epoch: str = ""
    expires: deque[int] = field(default_factory=deque)
    earlier: dict[str, int] = field(default_factory=dict)
    restored: bool = False
    published: dict[str, int] = field(default_factory=dict)
    size: int = 0

    @property
    def sources(self) -> str:
        """``published`` as text."""
        return format_sources(self.published)

    def note(self, published: Mapping[str, int]) -> None:
        """Remember the numbers of newer frames."""
        for publisher, number in published.items():
            known = self.published.pop(publisher, 0)
            self.published[publisher] = max(known, number)
        while len(self.published) > MAX_PUBLISHERS:
            del self.published[next(iter(self.published))]

    @property
    def epochs(self) -> str:
        """The epoch, and the earlier ones of which frames may be kept, as text."""
        first = self.offset - len(self.frames)
        places = (format_position(*place) for place in self.earlier.items() if place[1] >= first)
        return " ".join((self.epoch, *places))

    def after(self, epoch: str, offset: int) -> list[bytes] | None:
        """All frames that came after one; None if some of them are not kept any more."""
        first = self.offset - len(self.frames)  # the number before the oldest that is kept
        last = self.offset if epoch == self.epoch else self.earlier.get(epoch, -1)
        if not first <= offset <= last:
            return None
        return list(self.frames)[offset - first :]

    def trim(self, now: int) -> None:
        """Drop what is too much, and what has expired."""
        frames, expires = self.frames, self.expires
        while len(frames) > self.depth or (expires and 0 < expires[0] <= now):
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Drop the oldest frame; there must be one."""
        self.size -= len(self.frames.popleft())
        self.expires.popleft()


class RetainedFrames:
    """Topic -> its newest frames. ``epoch`` names the numbering of topics that begin here."""

    __slots__ = (
        "_epochs", "_topics", "epoch", "evicted", "floor", "max_bytes", "max_topics", "size",
    )  # fmt: skip

    def __init__(
        self, max_topics: int = MAX_TOPICS, epoch: str = "", max_bytes: int = MAX_BYTES
    ) -> None:
        if max_topics < 1:
            raise ValueError(f"there must be room for at least 1 topic, not {max_topics}")
        self.max_topics = max_topics
        self.max_bytes = max_bytes
        self.size = 0  # of all frames
        self.epoch = epoch
        self.evicted = 0
        self.floor = 0  # one number instead of one for each topic that was ever here
        self._epochs = 0
        self._topics: OrderedDict[bytes, RetainedTopic] = OrderedDict()

    def store(self, topic: bytes, depth: int, frame: bytes, expires: int = 0, now: int = 0) -> int:
        """Keep a frame as the topic's newest; returns its offset. ``depth`` is at least 1."""
        entry = self._entry(topic, depth)
        if entry.restored:
            entry.restored = False
            entry.earlier[entry.epoch] = entry.offset
            self._epochs += 1
            entry.epoch = f"{self.epoch}x{self._epochs}"
        entry.offset += 1
        entry.frames.append(frame)
        entry.expires.append(expires)
        entry.size += len(frame)
        self.size += len(frame)
        self._trim(entry, now)
        self._make_room(entry)
        return entry.offset

    def restore(
        self,
        topic: bytes,
        depth: int,
        offset: int,
        frames: Iterable[bytes],
        epochs: str = "",
        expires: Iterable[int] = (),
        now: int = 0,
        sources: str = "",
    ) -> bool:
        """Take over frames up to ``offset`` unless as much or more is known; True if taken.

        ``epochs`` and ``sources`` as RetainedTopic has them; ``expires``: of each frame, or nothing
        if they never do.
        """
        known = self._topics.get(topic)
        if offset <= (0 if known is None else known.offset):
            return False
        entry = self._entry(topic, depth)
        entry.offset = offset
        entry.epoch, entry.earlier = parse_epochs(epochs)
        entry.restored = True
        entry.note(parse_sources(sources))
        entry.frames = deque(frames)
        entry.expires = deque(expires) or deque([0] * len(entry.frames))
        self.size -= entry.size
        entry.size = sum(map(len, entry.frames))
        self.size += entry.size
        self._trim(entry, now)
        self._make_room(entry)
        return True

    def get(self, topic: bytes, now: int = 0) -> RetainedTopic | None:
        """What is kept of a topic; read it at once, it changes with the next frame."""
        entry = self._topics.get(topic)
        if entry is not None and now:
            self._trim(entry, now)
        return entry

    def expire(self, now: int) -> None:
        """Drop what has expired, of all topics; their numbers are remembered."""
        for entry in self._topics.values():
            self._trim(entry, now)

    def forget(self, topic: bytes) -> None:
        """Keep nothing of this topic any more, not even its offset."""
        entry = self._topics.pop(topic, None)
        if entry is not None:
            self.size -= entry.size

    def topics(self) -> tuple[bytes, ...]:
        """The topics something is kept of, the one stored to longest ago first."""
        return tuple(self._topics)

    def _entry(self, topic: bytes, depth: int) -> RetainedTopic:
        if depth < 1:
            raise ValueError(f"a retained topic keeps at least 1 frame, not {depth}")
        entry = self._topics.get(topic)
        if entry is None:
            while len(self._topics) >= self.max_topics:
                self._evict()
            entry = self._topics[topic] = RetainedTopic(depth, self.floor, epoch=self.epoch)
        else:
            self._topics.move_to_end(topic)
            entry.depth = depth
        return entry

    def _evict(self) -> None:
        _, oldest = self._topics.popitem(last=False)
        self.size -= oldest.size
        self.floor = max(self.floor, oldest.offset)
        self.evicted += 1

    def _make_room(self, newest: RetainedTopic) -> None:
        while self.size > self.max_bytes and len(self._topics) > 1:
            self._evict()
        while self.size > self.max_bytes and len(newest.frames) > 1:
            self.size -= len(newest.frames[0])
            newest.drop_oldest()

    def _trim(self, entry: RetainedTopic, now: int) -> None:
        before = entry.size
        entry.trim(now)
        self.size -= before - entry.size


def format_position(epoch: str, offset: int) -> str:
    """A place in a topic's numbering as text: "EPOCH:OFFSET"."""
    return f"{epoch}:{offset}"


def parse_position(text: str) -> tuple[str, int]:
    """Back to (epoch, offset); ValueError if it is none."""
    epoch, colon, offset = text.rpartition(":")
    if not colon or not epoch.isalnum() or not offset.isdecimal() or not offset.isascii():
        raise ValueError(f"a position looks like EPOCH:OFFSET, not {text[:80]!r}")
    return epoch, int(offset[:20])


def format_sources(published: Mapping[str, int]) -> str:
    """Publishers, each with the number of its newest frame, as text."""
    return " ".join(f"{publisher}:{number}" for publisher, number in published.items())


def parse_sources(text: str) -> dict[str, int]:
    """Back to publisher -> number; ValueError if it is none."""
    published = {}
    for place in text.split(" ") if text else ():
        publisher, _, number = place.rpartition(":")
        if not publisher or not number.isdecimal() or not number.isascii():
            raise ValueError(f"a source looks like PUBLISHER:NUMBER, not {place[:80]!r}")
        published[publisher] = int(number[:20])
    return published


def parse_epochs(text: str) -> tuple[str, dict[str, int]]:
    """Epoch and earlier epochs from RetainedTopic's text; ValueError if it is none."""
    epoch, *places = text.split(" ")
    return epoch, dict(map(parse_position, places))
