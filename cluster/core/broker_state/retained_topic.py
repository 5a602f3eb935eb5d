"""One retained topic: its newest frames with their offsets, epochs and publishers.

topic_history.py has the rules. Times are Unix times in milliseconds; 0 means never.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Position = tuple[str, int]
"""The epoch and the offset of a frame."""

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

    def snapshot(self) -> tuple[Any, ...]:
        """All that makes a difference, as plain values for from_snapshot."""
        return (
            self.depth, self.offset, self.restored, self.epochs, self.sources,
            tuple(self.expires), tuple(self.frames),
        )  # fmt: skip

    @classmethod
    def from_snapshot(cls, values: tuple[Any, ...]) -> "RetainedTopic":
        """The topic with this snapshot; raises ValueError for a wrong text."""
        depth, offset, restored, epochs, sources, expires, frames = values
        epoch, earlier = parse_epochs(epochs)
        return cls(
            depth, offset, deque(frames), epoch, deque(expires), earlier, restored,
            parse_sources(sources), sum(map(len, frames)), frames.count(GAP),
        )  # fmt: skip


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
