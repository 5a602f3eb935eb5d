"""Messages between a node and an external publisher <-> bytes.

An external publisher is a process outside the cluster: a shell, a cron job, a worker of a task
queue. It connects to the Unix socket of any node and sends publications, which the node answers in
order::

    publisher     node
               <- H Greeting   the node serves this site, and uses this version
    P Publish  ->              send this to all subscribers
               <- R Accepted   to how many nodes and connections it was queued
               <- F Rejection  it was not published, and why
               <- C Closing    the node stops

    message = u32 length of the rest, one byte of kind, fields    (little-endian; fields.py)

After Rejection and Closing the node closes the connection: publications without an answer were not
published, and may be sent to another node. If the connection ends after Publish without an answer,
Rejection or Closing, the publisher cannot know whether the message was published, and must report
that.

The publisher sends nothing before the Greeting: the kernel may accept a connection that the node,
which is stopping, never accepts itself and therefore never closes with Closing.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from cluster.core.exceptions import WireError
from cluster.core.wire.fields import NUMBER, TEXT, decode_fields, encode_fields

VERSION = 1
"""An external publisher does not publish through a node of another version."""

MAX_MESSAGE = 16 << 20
"""Bytes of the longest message. It bounds the memory that a process can use by sending garbage. A
publication of this size would fill the send queue of each subscriber 16 times."""


class Accepted(NamedTuple):
    """How many subscribers a publication was queued to.

    Attributes:
        nodes: The nodes of the cluster that have subscribers.
        connections: The subscribed connections of the node that published it, not of the others.
    """

    nodes: int
    connections: int


@dataclass(frozen=True, slots=True)
class Greeting:
    """The node accepts publications of ``site``; one user may run the clusters of several sites."""

    site: str
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Publish:
    """An encoded WebSocket frame for a topic.

    The topic retains its newest ``depth`` frames (0: not this one), this one for ``lifetime``
    milliseconds (0: until newer ones replace it).
    """

    topic: bytes
    frame: bytes
    depth: int = 0
    lifetime: int = 0


@dataclass(frozen=True, slots=True)
class Rejection:
    """The message was not published."""

    reason: str


@dataclass(frozen=True, slots=True)
class Closing:
    """The node stops. A publication without an answer was not published."""


ExternalMessage: TypeAlias = Greeting | Publish | Accepted | Rejection | Closing


def encode(message: ExternalMessage) -> bytes:
    """Encode a message with its length; raises ValueError if it is longer than MAX_MESSAGE."""
    match message:
        case Greeting(site, version):
            body = b"H" + encode_fields([TEXT.encode(site), NUMBER.encode(version)])
        case Publish(topic, frame, depth, lifetime):
            numbers = map(NUMBER.encode, (depth, lifetime))
            body = b"P" + encode_fields([topic, frame, *numbers])
        case Accepted():
            body = b"R" + encode_fields([*map(NUMBER.encode, message)])
        case Rejection(reason):
            body = b"F" + encode_fields([TEXT.encode(reason)])
        case _:  # Closing
            body = b"C" + encode_fields([])
    if len(body) > MAX_MESSAGE:
        raise ValueError(
            f"a publication of {len(body):,} bytes is too long; the limit is {MAX_MESSAGE:,} bytes"
        )
    return len(body).to_bytes(4, "little") + body


def _decode(body: bytes) -> ExternalMessage:
    fields = decode_fields(body, 1)
    match body[:1], fields:
        case b"H", [site, version]:
            return Greeting(TEXT.decode(site), NUMBER.decode(version))
        case b"P", [topic, frame, depth, lifetime]:
            return Publish(topic, frame, NUMBER.decode(depth), NUMBER.decode(lifetime))
        case b"R", [nodes, connections]:
            return Accepted(NUMBER.decode(nodes), NUMBER.decode(connections))
        case b"F", [reason]:
            return Rejection(TEXT.decode(reason))
        case b"C", []:
            return Closing()
        case _:
            raise WireError(f"not a message: kind {body[:1]!r} with {len(fields)} fields")


class MessageDecoder:
    """Decodes the messages of a stream. Pass each piece that arrives to ``feed``."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[ExternalMessage]:
        """Returns the messages that this piece completes.

        Raises WireError if the stream is invalid; it cannot be read any further.
        """
        rest = self._rest
        rest += data
        messages: list[ExternalMessage] = []
        start = 0
        while len(rest) - start >= 4:
            end = start + 4 + int.from_bytes(rest[start : start + 4], "little")
            if end - start > MAX_MESSAGE + 4:
                raise WireError(f"a message of {end - start:,} bytes; the limit is {MAX_MESSAGE:,}")
            if len(rest) < end:
                break
            messages.append(_decode(bytes(rest[start + 4 : end])))
            start = end
        del rest[:start]
        return messages
