"""Messages of the node-broker link <-> bytes.

Every message is one byte of kind, then its fields (see fields.py)::

    node -> broker                               broker -> node
    H Hello     I am this node                   W Welcome   these peers are alive
    I Interest  topics I want, or no longer      I Interest  … of a peer
    A Arrive    parties at a barrier             R Release   all parties are here
    B Withdraw  … that are gone again            F Refuse    parties that came too late
    K Retain    publish and keep                 T Retained  frames of a retained topic
    S Restore   what I know of a retained topic  J Joined, L Left   a peer came, went
    G Goodbye   I am leaving                     X Congested, Y Cleared   a peer does not drain
                                                 N NotKnown  say hello (again)
                                                 U Unwelcome you cannot take part; the reason

A pack is sent as two parts, which the broker forwards unopened: ``b"P" + node`` (to the broker the
destination, from the broker the origin) and the pack. All other messages are one part.

This file does not know who receives what, nor what is in a frame.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from cluster.core.exceptions import WireError
from cluster.core.fields import (
    FLAG,
    NUMBER,
    TEXT,
    TOKENS,
    Codec,
    decode_fields,
    encode_fields,
)

VERSION = 1
"""Nodes and broker of different versions refuse each other instead of guessing."""

PACK = b"P"


class Message:
    """Base of the messages below; their fields are sent in the order they are listed."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]  # by dataclass: the names of the fields
    KIND: ClassVar[bytes]
    LAYOUT: ClassVar[tuple[Codec, ...]] = ()
    """How each field is sent. Messages whose number of fields varies have methods of their own."""

    def to_fields(self) -> list[bytes]:
        """The fields as byte strings."""
        fields = zip(self.__match_args__, self.LAYOUT, strict=True)
        return [codec.encode(getattr(self, name)) for name, codec in fields]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        """Raises WireError if the fields are not this message's."""
        if len(fields) != len(cls.LAYOUT):
            raise WireError(f"{len(fields)} fields instead of {len(cls.LAYOUT)}")
        return cls(*[codec.decode(field) for codec, field in zip(cls.LAYOUT, fields, strict=True)])


@dataclass(frozen=True, slots=True)
class _NodeMessage(Message):
    """A message that names a node and nothing else."""

    LAYOUT: ClassVar[tuple[Codec, ...]] = (TEXT,)
    node: str


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """A node introduces itself; the broker answers Welcome or Unwelcome."""

    KIND: ClassVar[bytes] = b"H"
    LAYOUT: ClassVar[tuple[Codec, ...]] = (NUMBER,)
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Welcome(Message):
    """``epoch`` names this life of the broker; ``peers`` are the other live nodes."""

    KIND: ClassVar[bytes] = b"W"
    epoch: str
    peers: tuple[str, ...]

    def to_fields(self) -> list[bytes]:
        return [TEXT.encode(self.epoch), *map(TEXT.encode, self.peers)]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if not fields:
            raise WireError("a welcome without an epoch")
        epoch, *peers = map(TEXT.decode, fields)
        return cls(epoch, tuple(peers))


@dataclass(frozen=True, slots=True)
class Unwelcome(Message):
    """The node cannot take part; ``reason`` is for its log."""

    KIND: ClassVar[bytes] = b"U"
    LAYOUT: ClassVar[tuple[Codec, ...]] = (TEXT,)
    reason: str


@dataclass(frozen=True, slots=True)
class NotKnown(Message):
    """The broker has not had a Hello from this node (in its present life)."""

    KIND: ClassVar[bytes] = b"N"


@dataclass(frozen=True, slots=True)
class Goodbye(Message):
    """The node leaves; nothing more will come from it."""

    KIND: ClassVar[bytes] = b"G"


@dataclass(frozen=True, slots=True)
class Joined(_NodeMessage):
    """A peer is there."""

    KIND: ClassVar[bytes] = b"J"


@dataclass(frozen=True, slots=True)
class Left(_NodeMessage):
    """A peer is gone, with its interest and its arrivals."""

    KIND: ClassVar[bytes] = b"L"


@dataclass(frozen=True, slots=True)
class Congested(_NodeMessage):
    """What is sent to this peer piles up at the broker: slow down."""

    KIND: ClassVar[bytes] = b"X"


@dataclass(frozen=True, slots=True)
class Cleared(_NodeMessage):
    """The peer drains again."""

    KIND: ClassVar[bytes] = b"Y"


@dataclass(frozen=True, slots=True)
class Interest(Message):
    """Topics that ``node`` wants from now on, and topics that it wants no longer."""

    KIND: ClassVar[bytes] = b"I"
    node: str
    added: tuple[bytes, ...] = ()
    removed: tuple[bytes, ...] = ()

    def to_fields(self) -> list[bytes]:
        return [TEXT.encode(self.node), NUMBER.encode(len(self.added)), *self.added, *self.removed]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) < 2:
            raise WireError("an interest without a node")
        count = NUMBER.decode(fields[1])
        if count > len(fields) - 2:
            raise WireError(f"{count} topics announced, {len(fields) - 2} sent")
        return cls(TEXT.decode(fields[0]), tuple(fields[2 : 2 + count]), tuple(fields[2 + count :]))


@dataclass(frozen=True, slots=True)
class Arrive(Message):
    """Parties at a barrier that waits for ``expected``; ``released``: another life of the broker
    has let them go already."""

    KIND: ClassVar[bytes] = b"A"
    LAYOUT: ClassVar[tuple[Codec, ...]] = (TEXT, NUMBER, TOKENS, FLAG)
    barrier: str
    expected: int
    tokens: tuple[int, ...]
    released: bool = False


@dataclass(frozen=True, slots=True)
class _TokensMessage(Message):
    """A message about some parties of a barrier."""

    LAYOUT: ClassVar[tuple[Codec, ...]] = (TEXT, TOKENS)
    barrier: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Withdraw(_TokensMessage):
    """These parties are gone again."""

    KIND: ClassVar[bytes] = b"B"


@dataclass(frozen=True, slots=True)
class Refuse(_TokensMessage):
    """These parties came too late, or were too many."""

    KIND: ClassVar[bytes] = b"F"


@dataclass(frozen=True, slots=True)
class Release(_TokensMessage):
    """All parties are here; all interest announced before any arrival is known to this node.

    It names the parties it lets go, because others may be on their way and come too late.
    """

    KIND: ClassVar[bytes] = b"R"


@dataclass(frozen=True, slots=True)
class Retain(Message):
    """Publish a frame to everyone interested, sender included, and keep the newest ``depth``."""

    KIND: ClassVar[bytes] = b"K"
    topic: bytes
    depth: int
    frame: bytes

    # Spelled out, because every retained publication is one, and a layout costs more.
    def to_fields(self) -> list[bytes]:
        return [self.topic, NUMBER.encode(self.depth), self.frame]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) != 3:
            raise WireError(f"{len(fields)} fields instead of 3")
        return cls(fields[0], NUMBER.decode(fields[1]), fields[2])


@dataclass(frozen=True, slots=True)
class _FramesMessage(Message):
    """Frames of a retained topic, oldest first; ``offset`` is the number of the newest."""

    topic: bytes
    depth: int
    offset: int
    frames: tuple[bytes, ...]

    def to_fields(self) -> list[bytes]:
        return [self.topic, NUMBER.encode(self.depth), NUMBER.encode(self.offset), *self.frames]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) < 3:
            raise WireError("a retained topic without its offset")
        return cls(fields[0], NUMBER.decode(fields[1]), NUMBER.decode(fields[2]), tuple(fields[3:]))


@dataclass(frozen=True, slots=True)
class Restore(_FramesMessage):
    """What a node knows of a retained topic, for a broker that may have lost it."""

    KIND: ClassVar[bytes] = b"S"


@dataclass(frozen=True, slots=True)
class Retained(_FramesMessage):
    """New frames of a retained topic, or those kept for a new subscriber."""

    KIND: ClassVar[bytes] = b"T"


_KINDS: dict[bytes, type[Message]] = {
    cls.KIND: cls
    for cls in (
        Hello, Welcome, Unwelcome, NotKnown, Goodbye, Joined, Left, Congested, Cleared,
        Interest, Arrive, Withdraw, Refuse, Release, Retain, Restore, Retained,
    )
}  # fmt: skip


def encode(message: Message) -> bytes:
    """A message as bytes."""
    return message.KIND + encode_fields(message.to_fields())


def decode(data: bytes) -> Message:
    """Back to the message; raises WireError for anything that is none."""
    kind = _KINDS.get(data[:1])
    if kind is None:
        raise WireError(f"unknown message kind {data[:1]!r}")
    return kind.from_fields(decode_fields(data, 1))
