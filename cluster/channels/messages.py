"""Messages and envelopes as bytes, in MessagePack.

The specification of channel layers allows byte strings, text, integers of 64 bits, floats, lists,
dicts with keys of text, booleans and None; tuples become lists. MessagePack has exactly these
types, and decoding it runs no code, unlike pickle.

An envelope is what travels on a topic: ``[sender, kind, name, body]``. ``sender`` is the process
that sent it, ``body`` an encoded message or what ``kind`` says.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import msgpack
from channels.exceptions import MessageTooLarge

from cluster.core.exceptions import WireError

MAX_MESSAGE_BYTES = 8 << 20
"""Bytes of the longest encoded message. The specification asks for 1 MB at least; a batch of the
bus has as many (cluster.pubsub.batches)."""


class Kind(IntEnum):
    """What an envelope asks for; ``name`` and ``body`` depend on it."""

    GROUP = 0
    """Deliver the message to the members of the group ``name``."""
    SEND = 1
    """Deliver the message to the channel ``name``."""
    ADD = 2
    """Add the channel ``name`` to the group that ``body`` names."""
    DISCARD = 3
    """Remove the channel ``name`` from the group that ``body`` names."""
    FLUSH = 4
    """Forget everything, and answer the process ``name`` with FLUSHED and the same ``body``."""
    FLUSHED = 5
    """Everything is forgotten."""
    RELAY = 6
    """Deliver the message to a reader of the channel ``name``, in any process."""


class Envelope(NamedTuple):
    """What travels on a topic."""

    sender: str
    kind: int
    name: str
    body: bytes


def encode_message(message: dict[str, Any]) -> bytes:
    """Encode a message.

    Raises TypeError or ValueError for what a message must not contain, MessageTooLarge if it is
    longer than MAX_MESSAGE_BYTES.
    """
    if not isinstance(message, dict):
        raise TypeError(f"a message is a dict, not {type(message).__name__}")
    try:
        body: bytes = msgpack.packb(message)
    except OverflowError:
        raise ValueError("an integer in a message has 64 bits at most") from None
    _check_keys(message)
    if len(body) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(
            f"a message of {len(body):,} bytes is too long; the limit is {MAX_MESSAGE_BYTES:,}"
        )
    return body


def decode_message(body: bytes) -> dict[str, Any]:
    """Decode a message: each call returns a new one, so that receivers share nothing."""
    message: dict[str, Any] = msgpack.unpackb(body)
    return message


def encode_envelope(sender: str, kind: Kind, name: str, body: bytes) -> bytes:
    """Encode an envelope."""
    data: bytes = msgpack.packb((sender, int(kind), name, body))
    return data


def decode_envelope(data: bytes | str) -> Envelope:
    """Decode an envelope. Raises WireError if it is none."""
    try:
        envelope = Envelope(*msgpack.unpackb(data))
    except Exception as error:  # msgpack has several errors without a common base
        raise WireError(f"no envelope: {error}") from None
    if tuple(map(type, envelope)) != (str, int, str, bytes):
        raise WireError(f"no envelope: {envelope!r:.100}")
    return envelope


def _check_keys(value: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> None:
    """Raise TypeError for a key that is not text. The nesting is bounded: packb refuses more."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the keys in a message are str, not {type(key).__name__}: {key!r}")
        parts: Any = value.values()
    else:
        parts = value
    for part in parts:
        if isinstance(part, dict | list | tuple):
            _check_keys(part)
