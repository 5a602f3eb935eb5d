"""Messages of the node-broker link <-> bytes.

Every message is one byte of kind, then its fields (see fields.py)::

    node -> broker                               broker -> node
    H Hello     I am this node                   W Welcome   these peers are alive
    I NodeSubscriptions  topics I want,          I NodeSubscriptions  … of a peer
                         or no longer
    A Arrive    parties at a barrier             R Release   all parties are here
    B Withdraw  … that are gone again            F Refuse    parties that came too late
    K Retain    publish and keep                 T Retained  frames of a retained topic
                                                 V Taken     … the exchange has what you published
    S Restore   what I know of a retained topic  J Joined, L Left   a peer came, went
    Q Ask       what is kept of a topic?         T Retained  … be it nothing
    M Presence  who is on a topic through me     M Presence  … through a peer
    G Goodbye   I am leaving                     X Congested, Y Cleared   a peer does not drain
                                                 N NotKnown  say hello (again)
                                                 U Unwelcome you cannot take part; the reason

A pack is sent as two parts, which the broker forwards unopened: ``b"P" + node`` (to the broker the
destination, from the broker the origin) and the pack. All other messages are one part.

The messages about what topics keep and who is on them (K T V S Q M) are in wire_topics.py. These
files do not know who receives what, nor what is in a frame.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from cluster.core.exceptions import WireError
from cluster.core.wire_fields import (
    FLAG,
    NUMBER,
    TEXT,
    TOKENS,
    Codec,
    Message,
    decode_fields,
    encode_fields,
)
from cluster.core.wire_topics import Ask, Presence, Restore, Retain, Retained, Taken

__all__ = [
    "BATCH",
    "VERSION",
    "Arrive",
    "Ask",
    "Cleared",
    "Congested",
    "Goodbye",
    "Hello",
    "Joined",
    "Left",
    "Message",
    "NodeSubscriptions",
    "NotKnown",
    "Presence",
    "Refuse",
    "Release",
    "Restore",
    "Retain",
    "Retained",
    "Taken",
    "Unwelcome",
    "Welcome",
    "Withdraw",
    "decode",
    "encode",
]

VERSION = 4
"""Nodes and broker of different versions refuse each other instead of guessing."""

BATCH = b"P"


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
class NodeSubscriptions(Message):
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


_KINDS: dict[bytes, type[Message]] = {
    cls.KIND: cls
    for cls in (
        Hello, Welcome, Unwelcome, NotKnown, Goodbye, Joined, Left, Congested, Cleared,
        NodeSubscriptions, Arrive, Withdraw, Refuse, Release, Retain, Taken, Restore, Retained, Ask,
        Presence,
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
