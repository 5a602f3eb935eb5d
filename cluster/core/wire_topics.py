"""Messages about topics that keep frames, and about who is on a topic; see wire.py."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from cluster.core.exceptions import WireError
from cluster.core.presence import Place
from cluster.core.retained import parse_epochs, parse_sources
from cluster.core.wire_fields import FLAG, NUMBER, TEXT, TOKENS, Codec, Message


@dataclass(frozen=True, slots=True)
class Retain(Message):
    """Publish a frame to everyone interested, sender included, and keep the newest ``depth``.

    ``lifetime``: milliseconds after which it is not kept any more; 0 for ever. ``number``: which
    of the node's publications this is (1, 2, 3, …), so that one that is sent again counts once; 0:
    it will not be.
    """

    KIND: ClassVar[bytes] = b"K"
    topic: bytes
    depth: int
    frame: bytes
    lifetime: int = 0
    number: int = 0

    # Spelled out, because every retained publication is one, and a layout costs more.
    def to_fields(self) -> list[bytes]:
        return [
            self.topic, NUMBER.encode(self.depth), self.frame, NUMBER.encode(self.lifetime),
            NUMBER.encode(self.number),
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
class Taken(Message):
    """The exchange has the node's publications up to this number.

    A Retained says so, too, of the publication whose ``number`` it has.
    """

    KIND: ClassVar[bytes] = b"V"
    LAYOUT: ClassVar[tuple[Codec, ...]] = (NUMBER,)
    number: int


@dataclass(frozen=True, slots=True)
class Ask(Message):
    """What is kept of this topic? Answered by Retained, of depth 0 if nothing is."""

    KIND: ClassVar[bytes] = b"Q"
    topic: bytes

    def to_fields(self) -> list[bytes]:
        return [self.topic]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) != 1:
            raise WireError(f"{len(fields)} fields instead of 1")
        return cls(fields[0])


def _parsed(field: bytes, parse: Callable[[str], object]) -> str:
    text: str = TEXT.decode(field)
    try:
        parse(text)
    except ValueError as error:
        raise WireError(str(error)) from error
    return text


@dataclass(frozen=True, slots=True)
class _FramesMessage(Message):
    """Frames of a retained topic, oldest first; ``offset`` is the number of the newest.

    ``epochs`` names the numbering, and those it goes on from; ``expires`` has each frame's time, or
    is empty if none expires; ``sources`` says whose publications these were (see retained.py).
    ``number`` is that of the receiving node's own publication, if this tells of one; else 0.
    ``full``: no more than these are kept.
    """

    topic: bytes
    depth: int
    offset: int
    frames: tuple[bytes, ...]
    epochs: str = ""
    expires: tuple[int, ...] = ()
    sources: str = ""
    number: int = 0
    full: bool = True

    def to_fields(self) -> list[bytes]:
        return [
            self.topic,
            NUMBER.encode(self.depth),
            NUMBER.encode(self.offset),
            TEXT.encode(self.epochs),
            TOKENS.encode(self.expires),
            TEXT.encode(self.sources),
            NUMBER.encode(self.number),
            FLAG.encode(self.full),
            *self.frames,
        ]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) < 8:
            raise WireError("a retained topic without its offset")
        topic, depth, offset, epochs, expires, sources, number, full, *frames = fields
        times = TOKENS.decode(expires)
        if times and len(times) != len(frames):
            raise WireError(f"{len(frames)} frames with {len(times)} times")
        return cls(
            topic,
            NUMBER.decode(depth),
            NUMBER.decode(offset),
            tuple(frames),
            _parsed(epochs, parse_epochs),
            times,
            _parsed(sources, parse_sources),
            NUMBER.decode(number),
            FLAG.decode(full),
        )


@dataclass(frozen=True, slots=True)
class Restore(_FramesMessage):
    """What a node knows of a retained topic, for a broker that may have lost it."""

    KIND: ClassVar[bytes] = b"S"


@dataclass(frozen=True, slots=True)
class Retained(_FramesMessage):
    """New frames of a retained topic, or those kept for a new subscriber."""

    KIND: ClassVar[bytes] = b"T"


@dataclass(frozen=True, slots=True)
class Presence(Message):
    """Members of topics that ``node`` holds from now on, and those that it holds no longer.

    ``full``: these are all, whatever was said before.
    """

    KIND: ClassVar[bytes] = b"M"
    node: str
    full: bool
    joined: tuple[Place, ...] = ()
    left: tuple[Place, ...] = ()

    def to_fields(self) -> list[bytes]:
        fields = [TEXT.encode(self.node), FLAG.encode(self.full), NUMBER.encode(len(self.joined))]
        for topic, member in (*self.joined, *self.left):
            fields += (topic, TEXT.encode(member))
        return fields

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) < 3 or len(fields) % 2 == 0:
            raise WireError(f"a presence of {len(fields)} fields")
        count = NUMBER.decode(fields[2])
        pairs = iter(fields[3:])
        places = tuple(
            (topic, TEXT.decode(member)) for topic, member in zip(pairs, pairs, strict=True)
        )
        if count > len(places):
            raise WireError(f"{count} members announced, {len(places)} sent")
        return cls(TEXT.decode(fields[0]), FLAG.decode(fields[1]), places[:count], places[count:])
