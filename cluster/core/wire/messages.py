"""Messages between a node and the broker <-> bytes.

Every message is one byte of kind, then its fields (fields.py)::

    node -> broker                                broker -> node
    H Hello     I am this node                    W Welcome   the other live nodes
                                                  U Rejected  you cannot join; the reason
                                                  N UnknownNode    send Hello (again)
    I NodeSubscriptions  I subscribe to topics,   I NodeSubscriptions  of another node
                         or unsubscribe
    A Arrive    parties at a barrier              R Release   all parties are here
    B Withdraw  parties that left the barrier     F Refuse    parties that came too late
    K Retain    publish a frame and retain it     T Retained  frames of a retained topic
                                                  V Acknowledged   your publications up to a number
    S Restore   a retained topic as I know it
    Q Query     send me what a topic retains      T Retained  the answer, even if it is empty
    M PresenceUpdate     members through me       M PresenceUpdate     members through another node
    E ExternalAnswer  of an external request      D ExternalRequest  publish for a process elsewhere
    G Goodbye   I am leaving                      J Joined, L Left     another node came or went
                                                  X Congested, Y Cleared   another node's queue
                                                              is full, has drained

A batch of publications is sent as two parts, which the broker forwards unopened: ``b"P" + node``
(to the broker the destination, from the broker the origin) and the batch (batches.py). All other
messages are one part.

The messages about retained topics and presence (K T V S Q M) are in topic_messages.py, those of
processes outside the cluster (D E) in external_requests.py. These modules do not know which process
receives a message, nor what a frame contains.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from cluster.core.exceptions import WireError
from cluster.core.wire.external_requests import ExternalAnswer, ExternalRequest
from cluster.core.wire.fields import (
    FLAG,
    NAME,
    NUMBER,
    TEXT,
    TOKENS,
    Codec,
    Message,
    decode_fields,
    encode_fields,
)
from cluster.core.wire.topic_messages import (
    Acknowledged,
    PresenceUpdate,
    Query,
    Restore,
    Retain,
    Retained,
)

__all__ = [
    "BATCH",
    "VERSION",
    "Acknowledged",
    "Arrive",
    "Cleared",
    "Congested",
    "ExternalAnswer",
    "ExternalRequest",
    "Goodbye",
    "Hello",
    "Joined",
    "Left",
    "Message",
    "NodeSubscriptions",
    "PresenceUpdate",
    "Query",
    "Refuse",
    "Rejected",
    "Release",
    "Restore",
    "Retain",
    "Retained",
    "UnknownNode",
    "Welcome",
    "Withdraw",
    "decode",
    "encode",
]

VERSION = 6
"""A broker rejects nodes of another version."""

BATCH = b"P"
"""The kind of a batch of publications."""


@dataclass(frozen=True, slots=True)
class _NodeMessage(Message):
    """A message that names a node and has no other field."""

    LAYOUT: ClassVar[tuple[Codec, ...]] = (NAME,)
    node: str


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """A node introduces itself. The broker answers Welcome or Rejected.

    ``returning``: it has received a Welcome before, and may have published since.
    """

    KIND: ClassVar[bytes] = b"H"
    LAYOUT: ClassVar[tuple[Codec, ...]] = (NUMBER, FLAG)
    version: int = VERSION
    returning: bool = False

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if fields and NUMBER.decode(fields[0]) != VERSION:
            return cls(NUMBER.decode(fields[0]))  # so that the answer says why it is rejected
        return super(Hello, cls).from_fields(fields)


@dataclass(frozen=True, slots=True)
class Welcome(Message):
    """The node has joined. ``nodes`` are the other live nodes; ``epoch`` identifies the broker."""

    KIND: ClassVar[bytes] = b"W"
    epoch: str
    nodes: tuple[str, ...]

    def to_fields(self) -> list[bytes]:
        return [TEXT.encode(self.epoch), *map(NAME.encode, self.nodes)]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if not fields:
            raise WireError("a welcome without an epoch")
        return cls(TEXT.decode(fields[0]), tuple(map(NAME.decode, fields[1:])))


@dataclass(frozen=True, slots=True)
class Rejected(Message):
    """The node cannot join. ``reason`` is for its log."""

    KIND: ClassVar[bytes] = b"U"
    LAYOUT: ClassVar[tuple[Codec, ...]] = (TEXT,)
    reason: str


@dataclass(frozen=True, slots=True)
class UnknownNode(Message):
    """This broker process has not received a Hello of this node."""

    KIND: ClassVar[bytes] = b"N"


@dataclass(frozen=True, slots=True)
class Goodbye(Message):
    """The node leaves. It sends nothing more."""

    KIND: ClassVar[bytes] = b"G"


@dataclass(frozen=True, slots=True)
class Joined(Message):
    """Another node has joined. ``returning`` is that of its Hello."""

    KIND: ClassVar[bytes] = b"J"
    LAYOUT: ClassVar[tuple[Codec, ...]] = (NAME, FLAG)
    node: str
    returning: bool = False


@dataclass(frozen=True, slots=True)
class Left(Message):
    """Another node is gone, with its subscriptions, arrivals and members.

    ``ended``: it has said Goodbye. Otherwise it may have lost its link only, and return.
    """

    KIND: ClassVar[bytes] = b"L"
    LAYOUT: ClassVar[tuple[Codec, ...]] = (NAME, FLAG)
    node: str
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Congested(_NodeMessage):
    """The broker's queue of another node is full: stop reading from publishers."""

    KIND: ClassVar[bytes] = b"X"


@dataclass(frozen=True, slots=True)
class Cleared(_NodeMessage):
    """The queue of another node has drained: read from publishers again."""

    KIND: ClassVar[bytes] = b"Y"


@dataclass(frozen=True, slots=True)
class NodeSubscriptions(Message):
    """Topics that ``node`` subscribes to, and topics that it unsubscribes from."""

    KIND: ClassVar[bytes] = b"I"
    node: str
    added: tuple[bytes, ...] = ()
    removed: tuple[bytes, ...] = ()

    def to_fields(self) -> list[bytes]:
        return [NAME.encode(self.node), NUMBER.encode(len(self.added)), *self.added, *self.removed]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) < 2:
            raise WireError("subscriptions without a node")
        count = NUMBER.decode(fields[1])
        if count > len(fields) - 2:
            raise WireError(f"{count} topics announced, {len(fields) - 2} sent")
        return cls(NAME.decode(fields[0]), tuple(fields[2 : 2 + count]), tuple(fields[2 + count :]))


@dataclass(frozen=True, slots=True)
class Arrive(Message):
    """Parties arrive at a barrier that waits for ``expected`` of them.

    ``released``: the previous broker has released them.
    """

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
    """These parties left the barrier."""

    KIND: ClassVar[bytes] = b"B"


@dataclass(frozen=True, slots=True)
class Refuse(_TokensMessage):
    """These parties came too late or in excess."""

    KIND: ClassVar[bytes] = b"F"


@dataclass(frozen=True, slots=True)
class Release(_TokensMessage):
    """All parties are here. The node has received all subscriptions sent before any arrival.

    ``tokens`` are the released parties: others may be on their way, and come too late.
    """

    KIND: ClassVar[bytes] = b"R"


_KINDS: dict[bytes, type[Message]] = {
    cls.KIND: cls
    for cls in (
        Hello, Welcome, Rejected, UnknownNode, Goodbye, Joined, Left, Congested, Cleared,
        NodeSubscriptions, Arrive, Withdraw, Refuse, Release, Retain, Acknowledged, Restore,
        Retained, Query, PresenceUpdate, ExternalRequest, ExternalAnswer,
    )
}  # fmt: skip


def encode(message: Message) -> bytes:
    """Encode a message."""
    return message.KIND + encode_fields(message.to_fields())


def decode(data: bytes) -> Message:
    """Decode a message; raises WireError for any other bytes."""
    kind = _KINDS.get(data[:1])
    if kind is None:
        raise WireError(f"unknown message kind {data[:1]!r}")
    return kind.from_fields(decode_fields(data, 1))
