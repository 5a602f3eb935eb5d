"""What a gateway writes to the log <-> bytes.

::

    payload = "R" | "S", fields (node, message, node, message, …)

A message is that of a node of this machine to its broker (wire.messages), as the node sent it. Two
more events have the same form: Left says that the broker has lost the node; Restore with an empty
name comes from the gateway itself. "R" says that the member is ready: from here on it has the state
that all agree on.
"""

from collections.abc import Iterable
from typing import NamedTuple

from cluster.core import wire
from cluster.core.exceptions import WireError
from cluster.core.machines.names import machine_of
from cluster.core.wire.fields import NAME, decode_fields, encode_fields

READY, SAME = b"R", b"S"

GATEWAY = ""
"""In place of a node: the gateway itself."""

_OF_NODES = (
    wire.Hello, wire.NodeSubscriptions, wire.PresenceUpdate, wire.Arrive, wire.Withdraw,
    wire.Retain, wire.Restore, wire.Query, wire.Goodbye, wire.Left,
)  # fmt: skip

Event = tuple[str, wire.Message]
"""A node and its message."""


class LogPayload(NamedTuple):
    """One turn of a member. ``ready``: it is ready from this turn on."""

    ready: bool
    events: tuple[Event, ...]


def encode_event(node: str, message: wire.Message) -> tuple[bytes, bytes]:
    """The two fields of an event."""
    return node.encode(), wire.encode(message)


def encode_log_payload(ready: bool, events: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encode events that encode_event has encoded."""
    fields = [field for event in events for field in event]
    return (READY if ready else SAME) + encode_fields(fields)


def says_ready(data: bytes) -> bool:
    """Whether a payload says that its member is ready, without decoding it."""
    return data[:1] == READY


def decode_log_payload(data: bytes, machine: str) -> LogPayload:
    """Decode the payload of a member of this machine.

    Raises WireError for other bytes, for messages that nodes do not send, and for names of nodes of
    other machines.
    """
    if data[:1] not in (READY, SAME):
        raise WireError(f"not a turn: {data[:1]!r}")
    fields = decode_fields(data, 1)
    if len(fields) % 2:
        raise WireError("a node without a message")
    events = []
    pairs = iter(fields)
    for name, message in zip(pairs, pairs, strict=True):
        event = (NAME.decode(name) if name else GATEWAY, wire.decode(message))
        _check(event, machine)
        events.append(event)
    return LogPayload(says_ready(data), tuple(events))


def _check(event: Event, machine: str) -> None:
    node, message = event
    kind = type(message).__name__
    if node == GATEWAY:
        if not isinstance(message, wire.Restore):
            raise WireError(f"a gateway does not write {kind}")
    elif machine_of(node) != machine:
        raise WireError(f"{node} is not a node of machine {machine}")
    elif not isinstance(message, _OF_NODES):
        raise WireError(f"a node does not send {kind}")
