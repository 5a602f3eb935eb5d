"""Messages about retained topics and about presence; see wire.py."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self

from cluster.core.broker_state.presence import Membership
from cluster.core.broker_state.retained_topic import parse_epochs, parse_sources
from cluster.core.exceptions import WireError
from cluster.core.wire.fields import FLAG, LIMIT, NAME, NUMBER, TEXT, TOKENS, Codec, Message

MAX_RESTORED = LIMIT >> 1
"""The highest offset from which an exchange continues: it can number as many frames again."""


@dataclass(frozen=True, slots=True)
class Retain(Message):
    """Publish a frame to all subscribers, the sender's included, and retain it.

    The topic retains its newest ``depth`` frames, this one for ``lifetime`` milliseconds (0:
    without limit). An empty frame stands for some that the node refused (retained_topic.GAP).
    ``number`` counts the node's retained publications 1, 2, 3, …, so that the exchange recognizes
    one that is sent again; 0: the node does not send it again.
    """

    KIND: ClassVar[bytes] = b"K"
    topic: bytes
    depth: int
    frame: bytes
    lifetime: int = 0
    number: int = 0

    # Written out rather than a LAYOUT, which is slower: this runs for every retained publication.
    def to_fields(self) -> list[bytes]:
        return [
            self.topic, self.depth.to_bytes(8, "little"), self.frame,
            self.lifetime.to_bytes(8, "little"), self.number.to_bytes(8, "little"),
        ]  # fmt: skip

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) != 5:
            raise WireError(f"{len(fields)} fields instead of 5")
        topic, depth, frame, lifetime, number = fields
        return cls(
            topic, NUMBER.decode(depth), frame, NUMBER.decode(lifetime), NUMBER.decode(number)
        )


@dataclass(frozen=True, slots=True)
class Acknowledged(Message):
    """The exchange has stored the node's retained publications up to this number.

    A Retained message with a ``number`` acknowledges it, too.
    """

    KIND: ClassVar[bytes] = b"V"
    LAYOUT: ClassVar[tuple[Codec, ...]] = (NUMBER,)
    number: int


@dataclass(frozen=True, slots=True)
class Query(Message):
    """Ask what a topic retains. The answer is Retained, with depth 0 if it retains nothing."""

    KIND: ClassVar[bytes] = b"Q"
    topic: bytes

    def to_fields(self) -> list[bytes]:
        return [self.topic]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) != 1:
            raise WireError(f"{len(fields)} fields instead of 1")
        return cls(fields[0])


_FALSE, _TRUE = map(FLAG.encode, (False, True))


def _parsed(field: bytes, parse: Callable[[str], object]) -> str:
    text: str = TEXT.decode(field)
    try:
        parse(text)
    except ValueError as error:
        raise WireError(str(error)) from error
    return text


@lru_cache(maxsize=1024)
def _epochs(field: bytes) -> str:
    """Cached, because all messages about the topics of one broker have the same epoch."""
    return _parsed(field, parse_epochs)


@dataclass(frozen=True, slots=True)
class _FramesMessage(Message):
    """Frames of a retained topic, oldest first. The newest has the ``offset``.

    ``epochs`` has the epoch of the offsets and the earlier ones that it continues; ``expires`` has
    each frame's time, or is empty if none expires; ``sources`` has the frames' publishers with
    their numbers (see topic_history.py for all three). ``number`` is that of the receiving node's
    own publication, if this message acknowledges one, else 0. ``full``: the topic retains only
    these.
    """

    HIGHEST: ClassVar[int] = LIMIT - 1
    topic: bytes
    depth: int
    offset: int
    frames: tuple[bytes, ...]
    epochs: str = ""
    expires: tuple[int, ...] = ()
    sources: str = ""
    number: int = 0
    full: bool = True

    # Written out, as in Retain.
    def to_fields(self) -> list[bytes]:
        return [
            self.topic,
            self.depth.to_bytes(8, "little"),
            self.offset.to_bytes(8, "little"),
            self.epochs.encode(),
            TOKENS.encode(self.expires) if self.expires else b"",
            self.sources.encode(),
            self.number.to_bytes(8, "little"),
            _TRUE if self.full else _FALSE,
            *self.frames,
        ]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) < 8:
            raise WireError("a retained topic without its offset")
        topic, depth, offset, epochs, expires, sources, number, full, *frames = fields
        times = TOKENS.decode(expires) if expires else ()
        if times and len(times) != len(frames):
            raise WireError(f"{len(frames)} frames with {len(times)} times")
        last = NUMBER.decode(offset)
        if not len(frames) <= last <= cls.HIGHEST:
            raise WireError(f"{len(frames)} frames up to offset {last}")
        retains = NUMBER.decode(depth)
        numbering = _epochs(epochs)
        if last and not (retains and numbering):
            raise WireError(f"a retained topic with depth {retains} and epoch {numbering[:80]!r}")
        return cls(
            topic,
            retains,
            last,
            tuple(frames),
            numbering,
            times,
            _parsed(sources, parse_sources) if sources else "",
            NUMBER.decode(number),
            FLAG.decode(full),
        )


@dataclass(frozen=True, slots=True)
class Restore(_FramesMessage):
    """A retained topic as a node knows it, for a broker that may not know it."""

    KIND: ClassVar[bytes] = b"S"
    HIGHEST: ClassVar[int] = MAX_RESTORED


@dataclass(frozen=True, slots=True)
class Retained(_FramesMessage):
    """New frames of a retained topic, or all of them for a new subscriber."""

    KIND: ClassVar[bytes] = b"T"


@dataclass(frozen=True, slots=True)
class PresenceUpdate(Message):
    """Members that joined and left topics through ``node``.

    ``full``: ``joined`` are all members through this node; it replaces earlier updates.
    """

    KIND: ClassVar[bytes] = b"M"
    node: str
    full: bool
    joined: tuple[Membership, ...] = ()
    left: tuple[Membership, ...] = ()

    def to_fields(self) -> list[bytes]:
        fields = [NAME.encode(self.node), FLAG.encode(self.full), NUMBER.encode(len(self.joined))]
        for topic, member in (*self.joined, *self.left):
            fields += (topic, TEXT.encode(member))
        return fields

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) < 3 or len(fields) % 2 == 0:
            raise WireError(f"a presence update of {len(fields)} fields")
        count = NUMBER.decode(fields[2])
        pairs = iter(fields[3:])
        memberships = tuple(
            (topic, TEXT.decode(member)) for topic, member in zip(pairs, pairs, strict=True)
        )
        if count > len(memberships):
            raise WireError(f"{count} members announced, {len(memberships)} sent")
        return cls(
            NAME.decode(fields[0]), FLAG.decode(fields[1]), memberships[:count], memberships[count:]
        )
