"""What a process outside the cluster and a node say to each other, <-> bytes.

A shell, a cron job or a task queue's process publishes through a Unix socket of any node. It sends
one publication at a time and waits for the answer::

    outside    node
           <- H Hello     I am there, serve this site, and speak this version
    P Publish ->      send this to all subscribers
           <- R Receipt   it went to so many nodes, and connections of the one that answers
           <- F Refusal   it did not go out, and why
           <- C Closing   this node stops: a publication that it has not answered did not go out

    message = u32 length of what follows, one byte of kind, fields     (little-endian; fields.py)

So whoever loses the connection between Publish and its answer, without Closing, cannot know whether
the publication went out, and has to say so. Nothing is sent before Hello has come: a connection may
end in the kernel's queue, when the node stops, and nobody would have said Closing.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from cluster.core.exceptions import WireError
from cluster.core.wire_fields import NUMBER, TEXT, decode_fields, encode_fields

VERSION = 1
"""A process does not publish through a node of another version, instead of guessing."""

MAX_MESSAGE = 16 << 20
"""Bytes of the longest message, so that a peer that sends garbage takes no more memory than that.
A publication of this size would already fill the queue of each of its subscribers."""


class Receipt(NamedTuple):
    """To how many nodes, and to how many connections of the node that took it, a message was
    queued. What ``publish`` returns, in a node and outside."""

    nodes: int
    connections: int


@dataclass(frozen=True, slots=True)
class Hello:
    """The node takes publications. ``site`` names whose they may be: one user may run several."""

    site: str
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Publish:
    """An encoded WebSocket frame for a topic.

    ``depth``: how many of the topic's newest are kept (0: this is not kept). ``lifetime``: for how
    many milliseconds (0: until newer ones take its place).
    """

    topic: bytes
    frame: bytes
    depth: int = 0
    lifetime: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The publication did not go out."""

    reason: str


@dataclass(frozen=True, slots=True)
class Closing:
    """The node stops; nothing that it has not answered went out."""


Message: TypeAlias = Hello | Publish | Receipt | Refusal | Closing


def encode(message: Message) -> bytes:
    """A message with its length in front; ValueError if it is longer than MAX_MESSAGE."""
    match message:
        case Hello(site, version):
            body = b"H" + encode_fields([TEXT.encode(site), NUMBER.encode(version)])
        case Publish(topic, frame, depth, lifetime):
            numbers = map(NUMBER.encode, (depth, lifetime))
            body = b"P" + encode_fields([topic, frame, *numbers])
        case Receipt():
            body = b"R" + encode_fields([*map(NUMBER.encode, message)])
        case Refusal(reason):
            body = b"F" + encode_fields([TEXT.encode(reason)])
        case _:  # Closing
            body = b"C" + encode_fields([])
    if len(body) > MAX_MESSAGE:
        raise ValueError(
            f"a publication of {len(body):,} bytes is too long: {MAX_MESSAGE:,} may be"
        )
    return len(body).to_bytes(4, "little") + body


def _decode(body: bytes) -> Message:
    fields = decode_fields(body, 1)
    match body[:1], fields:
        case b"H", [site, version]:
            return Hello(TEXT.decode(site), NUMBER.decode(version))
        case b"P", [topic, frame, depth, lifetime]:
            return Publish(topic, frame, NUMBER.decode(depth), NUMBER.decode(lifetime))
        case b"R", [nodes, connections]:
            return Receipt(NUMBER.decode(nodes), NUMBER.decode(connections))
        case b"F", [reason]:
            return Refusal(TEXT.decode(reason))
        case b"C", []:
            return Closing()
        case _:
            raise WireError(f"no message: {body[:1]!r} with {len(fields)} fields")


class Messages:
    """Messages out of a stream: ``feed`` each piece that arrives, whatever its size."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete with this; WireError: no more can be read."""
        rest = self._rest
        rest += data
        messages: list[Message] = []
        start = 0
        while len(rest) - start >= 4:
            end = start + 4 + int.from_bytes(rest[start : start + 4], "little")
            if end - start > MAX_MESSAGE + 4:
                raise WireError(f"a message of {end - start:,} bytes: {MAX_MESSAGE:,} may be")
            if len(rest) < end:
                break
            messages.append(_decode(bytes(rest[start + 4 : end])))
            start = end
        del rest[:start]
        return messages
