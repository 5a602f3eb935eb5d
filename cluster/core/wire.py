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

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from cluster.core.exceptions import WireError
from cluster.core.fields import decode_fields, encode_fields

VERSION = 1
"""Nodes and broker of different versions refuse each other instead of guessing."""

PACK = b"P"


def _text(field: bytes) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"not UTF-8: {field[:40]!r}") from error


def _number(field: bytes) -> int:
    if len(field) != 8:
        raise WireError(f"a number of {len(field)} bytes")
    return int.from_bytes(field, "little")


def _from_number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _tokens(field: bytes) -> tuple[int, ...]:
    if len(field) % 8:
        raise WireError(f"tokens of {len(field)} bytes")
    return tuple(int.from_bytes(field[at : at + 8], "little") for at in range(0, len(field), 8))


def _from_tokens(tokens: Iterable[int]) -> bytes:
    return b"".join(map(_from_number, tokens))


def _expect(fields: list[bytes], count: int) -> list[bytes]:
    if len(fields) != count:
        raise WireError(f"{len(fields)} fields instead of {count}")
    return fields


class Message:
    """Base of the messages below; their fields are listed in the order they are sent."""

    __slots__ = ()
    KIND: ClassVar[bytes]

    def to_fields(self) -> list[bytes]:
        """The fields as byte strings."""
        return []

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        """Raises WireError if the fields are not this message's."""
        _expect(fields, 0)
        return cls()


@dataclass(frozen=True, slots=True)
class _NodeMessage(Message):
    """A message that names a node and nothing else."""

    node: str

    def to_fields(self) -> list[bytes]:
        return [self.node.encode()]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        return cls(_text(_expect(fields, 1)[0]))


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """A node introduces itself; the broker answers Welcome or Unwelcome."""

    KIND: ClassVar[bytes] = b"H"
    version: int = VERSION

    def to_fields(self) -> list[bytes]:
        return [_from_number(self.version)]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        return cls(_number(_expect(fields, 1)[0]))


@dataclass(frozen=True, slots=True)
class Welcome(Message):
    """``epoch`` names this life of the broker; ``peers`` are the other live nodes."""

    KIND: ClassVar[bytes] = b"W"
    epoch: str
    peers: tuple[str, ...]

    def to_fields(self) -> list[bytes]:
        return [self.epoch.encode(), *(peer.encode() for peer in self.peers)]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if not fields:
            raise WireError("a welcome without an epoch")
        epoch, *peers = map(_text, fields)
        return cls(epoch, tuple(peers))


@dataclass(frozen=True, slots=True)
class Unwelcome(Message):
    """The node cannot take part; ``reason`` is for its log."""

    KIND: ClassVar[bytes] = b"U"
    reason: str

    def to_fields(self) -> list[bytes]:
        return [self.reason.encode()]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        return cls(_text(_expect(fields, 1)[0]))


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
        return [self.node.encode(), _from_number(len(self.added)), *self.added, *self.removed]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) < 2:
            raise WireError("an interest without a node")
        count = _number(fields[1])
        if count > len(fields) - 2:
            raise WireError(f"{count} topics announced, {len(fields) - 2} sent")
        return cls(_text(fields[0]), tuple(fields[2 : 2 + count]), tuple(fields[2 + count :]))


@dataclass(frozen=True, slots=True)
class Arrive(Message):
    """Parties at a barrier that waits for ``expected``; ``released``: another life of the broker
    has let them go already."""

    KIND: ClassVar[bytes] = b"A"
    barrier: str
    expected: int
    tokens: tuple[int, ...]
    released: bool = False

    def to_fields(self) -> list[bytes]:
        return [
            self.barrier.encode(),
            _from_number(self.expected),
            _from_tokens(self.tokens),
            _from_number(self.released),
        ]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        barrier, expected, tokens, released = _expect(fields, 4)
        return cls(_text(barrier), _number(expected), _tokens(tokens), bool(_number(released)))


@dataclass(frozen=True, slots=True)
class _TokensMessage(Message):
    """A message about some parties of a barrier."""

    barrier: str
    tokens: tuple[int, ...]

    def to_fields(self) -> list[bytes]:
        return [self.barrier.encode(), _from_tokens(self.tokens)]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        barrier, tokens = _expect(fields, 2)
        return cls(_text(barrier), _tokens(tokens))


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

    def to_fields(self) -> list[bytes]:
        return [self.topic, _from_number(self.depth), self.frame]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        topic, depth, frame = _expect(fields, 3)
        return cls(topic, _number(depth), frame)


@dataclass(frozen=True, slots=True)
class _FramesMessage(Message):
    """Frames of a retained topic, oldest first; ``offset`` is the number of the newest."""

    topic: bytes
    depth: int
    offset: int
    frames: tuple[bytes, ...]

    def to_fields(self) -> list[bytes]:
        return [self.topic, _from_number(self.depth), _from_number(self.offset), *self.frames]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) < 3:
            raise WireError("a retained topic without its offset")
        return cls(fields[0], _number(fields[1]), _number(fields[2]), tuple(fields[3:]))


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
