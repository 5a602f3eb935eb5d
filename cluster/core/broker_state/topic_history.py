"""The newest frames of each topic, for subscribers that join late or resume.

The rules:

* each retained topic has a depth: how many of its newest frames are retained;
* frames of a topic are numbered 1, 2, 3, …; the topic's ``offset`` is the number of the newest;
* offsets belong to an ``epoch``, which identifies the process that numbers the frames. A process
  that starts to number from 1 again uses another epoch;
* a process that continues the offsets of another one starts a new epoch, because the other process
  may have numbered frames that this one never received. For each earlier epoch the topic records
  the last offset that is also valid in the new one;
* for each publisher the topic remembers the number of its newest frame (``sources``), so that it
  recognizes a frame that is published again because no acknowledgement came;
* a frame may expire: it is dropped after its lifetime, once all frames before it are dropped;
* ``GAP`` takes the offset of frames that were refused before they were numbered. So a subscriber
  with an offset below it has not received all, and does not recover. A gap does not count for the
  depth. One before the oldest frame is dropped, because offsets below it are too old anyway;
* ``restore`` takes over the frames that another process knows; the higher offset wins;
* at most ``max_topics`` topics and ``max_bytes`` of frames are retained. Above that, the least
  recently published topics are evicted, and ``evicted`` counts them. The frame that was stored last
  is always retained;
* ``store`` never gives an offset twice: when a topic that was evicted is published to again, its
  offsets continue above ``floor``, the highest offset of all evicted topics.

Times are Unix times in milliseconds, which all processes share; 0 means never.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

Position = tuple[str, int]
"""The epoch and the offset of a frame."""

MAX_TOPICS = 10_000
"""Topics that are retained. It bounds the memory that a publisher can use with ever new topics."""

MAX_BYTES = 256 << 20
"""Bytes of frames that are retained: 15 frames of 1,700 bytes in each of MAX_TOPICS topics."""

GAP = b""
"""Stands for frames that were refused. No encoded WebSocket frame is empty."""

MAX_GAPS = 1000
"""Gaps among the frames of a topic. It bounds the memory if ever more frames are refused."""

MAX_PUBLISHERS = 128
"""Publishers whose numbers a topic remembers; it forgets the least recent one. The numbers matter
for seconds only, from the death of a broker to the start of the next one."""


@dataclass(frozen=True, slots=True)
class History:
    """What a topic retains, as a subscriber receives it. The newest frame has the ``offset``.

    ``recovered``: the frames are all that the subscriber missed. ``offsets`` are those of the
    frames if there are gaps between them, else empty.
    """

    recovered: bool
    epoch: str
    offset: int
    frames: tuple[bytes, ...] = ()
    offsets: tuple[int, ...] = ()

    def numbered(self) -> Iterator[tuple[bytes, int]]:
        """Each frame with its offset."""
        if self.offsets:
            return zip(self.frames, self.offsets, strict=True)
        first = self.offset - len(self.frames) + 1
        return ((frame, first + index) for index, frame in enumerate(self.frames))


NO_HISTORY = History(False, "", 0)
"""The topic retains nothing, or this process does not know what it retains."""


@dataclass(slots=True)
class RetainedTopic:
    """A topic's newest frames, oldest first. The newest has the ``offset``.

    ``size``: the bytes of the frames. ``gaps``: how many of them are GAP. ``expires``: the times at
    which the frames expire. ``earlier``: earlier epoch -> its last offset that is also valid in
    ``epoch``. ``restored``: another process numbered the newest frame. ``published``: publisher ->
    its number for its newest frame of this topic.
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
    gaps: int = 0

    @property
    def sources(self) -> str:
        """``published`` as text; see format_sources."""
        return format_sources(self.published)

    def record_publishers(self, published: Mapping[str, int]) -> None:
        """Record the publishers of newer frames, with their numbers."""
        for publisher, number in published.items():
            known = self.published.pop(publisher, 0)
            self.published[publisher] = max(known, number)
        while len(self.published) > MAX_PUBLISHERS:
            del self.published[next(iter(self.published))]

    @property
    def epochs(self) -> str:
        """The epoch, and the earlier ones that retained frames may belong to, as text."""
        first = self.offset - len(self.frames)
        earlier = (format_position(*each) for each in self.earlier.items() if each[1] >= first)
        return " ".join((self.epoch, *earlier))

    def after(self, epoch: str, offset: int) -> list[bytes] | None:
        """All frames after a position; None if some of them are not retained any longer."""
        first = self.offset - len(self.frames)  # the one before the oldest retained frame
        last = self.offset if epoch == self.epoch else self.earlier.get(epoch, -1)
        if not first <= offset <= last:
            return None
        return list(self.frames)[offset - first :]

    def history(self, since: Position | None) -> History:
        """The frames after a position. Without one, or if it is too old: all frames."""
        missed = None if since is None else self.after(*since)
        if missed is not None and not (self.gaps and GAP in missed):
            return History(True, self.epoch, self.offset, tuple(missed))
        if not self.gaps:
            return History(False, self.epoch, self.offset, tuple(self.frames))
        first = self.offset - len(self.frames) + 1
        numbered = [(frame, first + at) for at, frame in enumerate(self.frames) if frame]
        frames, offsets = zip(*numbered, strict=True)  # the oldest one is not a gap
        return History(False, self.epoch, self.offset, frames, offsets)

    def is_behind(self, since: Position | None) -> bool:
        """Whether a position is that of a newer frame, which has not arrived here yet."""
        return since is not None and since[0] == self.epoch and since[1] > self.offset

    def trim(self, now: int) -> None:
        """Drop frames beyond the depth, frames that have expired, and gaps before all others."""
        frames, expires = self.frames, self.expires
        while frames and (
            len(frames) - self.gaps > self.depth
            or 0 < expires[0] <= now
            or frames[0] == GAP
            or self.gaps > MAX_GAPS
        ):
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Drop the oldest frame. The topic must have one."""
        frame = self.frames.popleft()
        self.size -= len(frame)
        self.gaps -= frame == GAP
        self.expires.popleft()


class RetainedFrames:
    """Topic -> its newest frames. Topics that are first numbered here have this ``epoch``."""

    __slots__ = (
        "_epochs", "_topics", "epoch", "evicted", "floor", "max_bytes", "max_topics", "size",
    )  # fmt: skip

    def __init__(
        self, max_topics: int = MAX_TOPICS, epoch: str = "", max_bytes: int = MAX_BYTES
    ) -> None:
        if max_topics < 1:
            raise ValueError(f"max_topics must be at least 1, not {max_topics}")
        self.max_topics = max_topics
        self.max_bytes = max_bytes
        self.size = 0  # bytes of all frames
        self.epoch = epoch
        self.evicted = 0
        self.floor = 0  # one number rather than one for each evicted topic
        self._epochs = 0
        self._topics: OrderedDict[bytes, RetainedTopic] = OrderedDict()

    def store(self, topic: bytes, depth: int, frame: bytes, expires: int = 0, now: int = 0) -> int:
        """Retain a frame as the topic's newest; returns its offset.

        Raises ValueError if ``depth`` is below 1.
        """
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
        entry.gaps += frame == GAP
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
        """Take over frames up to ``offset``; returns False if as much or more is known already.

        ``epochs`` and ``sources`` are texts of a RetainedTopic. ``expires`` has the time of each
        frame, or is empty if none expires. Raises ValueError if ``depth`` is below 1.
        """
        known = self._topics.get(topic)
        if offset <= (0 if known is None else known.offset):
            return False
        entry = self._entry(topic, depth)
        entry.offset = offset
        entry.epoch, entry.earlier = parse_epochs(epochs)
        entry.restored = True
        entry.record_publishers(parse_sources(sources))
        entry.frames = deque(frames)
        entry.expires = deque(expires) or deque([0] * len(entry.frames))
        self.size -= entry.size
        entry.size = sum(map(len, entry.frames))
        entry.gaps = entry.frames.count(GAP)
        self.size += entry.size
        self._trim(entry, now)
        self._make_room(entry)
        return True

    def get(self, topic: bytes, now: int = 0) -> RetainedTopic | None:
        """The retained topic, or None. Do not keep the object: the next frame changes it."""
        entry = self._topics.get(topic)
        if entry is not None and now:
            self._trim(entry, now)
        return entry

    def expire(self, now: int) -> None:
        """Drop the expired frames of all topics, but not the topics' offsets."""
        for entry in self._topics.values():
            self._trim(entry, now)

    def forget(self, topic: bytes) -> None:
        """Drop a topic, with its offset."""
        entry = self._topics.pop(topic, None)
        if entry is not None:
            self.size -= entry.size

    def topics(self) -> tuple[bytes, ...]:
        """All topics, the least recently published first."""
        return tuple(self._topics)

    def _entry(self, topic: bytes, depth: int) -> RetainedTopic:
        if depth < 1:
            raise ValueError(f"a topic retains at least 1 frame, not {depth}")
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
        self._trim(newest, 0)

    def _trim(self, entry: RetainedTopic, now: int) -> None:
        before = entry.size
        entry.trim(now)
        self.size -= before - entry.size


def format_position(epoch: str, offset: int) -> str:
    """A position in a topic's history as text: "EPOCH:OFFSET"."""
    return f"{epoch}:{offset}"


def parse_position(text: str) -> Position:
    """The (epoch, offset) of a position's text; raises ValueError."""
    epoch, colon, offset = text.rpartition(":")
    if not colon or not epoch.isalnum() or not offset.isdecimal() or not offset.isascii():
        raise ValueError(f"a position looks like EPOCH:OFFSET, not {text[:80]!r}")
    return epoch, int(offset[:20])


def format_sources(published: Mapping[str, int]) -> str:
    """Publishers with the numbers of their newest frames as text: "PUBLISHER:NUMBER …"."""
    return " ".join(f"{publisher}:{number}" for publisher, number in published.items())


def parse_sources(text: str) -> dict[str, int]:
    """The publishers and numbers of format_sources' text; raises ValueError."""
    published = {}
    for source in text.split(" ") if text else ():
        publisher, _, number = source.rpartition(":")
        if not publisher or not number.isdecimal() or not number.isascii():
            raise ValueError(f"a source looks like PUBLISHER:NUMBER, not {source[:80]!r}")
        published[publisher] = int(number[:20])
    return published


def parse_epochs(text: str) -> tuple[str, dict[str, int]]:
    """Epoch and earlier epochs of the text in RetainedTopic.epochs; raises ValueError."""
    epoch, *earlier = text.split(" ")
    if text and not epoch.isalnum():
        raise ValueError(f"an epoch consists of letters and digits, unlike {epoch[:80]!r}")
    return epoch, dict(map(parse_position, earlier))
