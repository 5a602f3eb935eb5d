"""Topics and messages: what application code passes in, and what travels.

A topic is text or bytes, and travels as UTF-8. A message is text or bytes, and travels as an
encoded WebSocket frame, text or binary. In place of a message, functions that send take ``json=``:
a value, which becomes JSON text by Django's encoder.
"""

from typing import Any, Final

from cluster.django.api.json_messages import encode_json
from cluster.net.websocket.frames import binary_frame, frame_payload, text_frame

Topic = str | bytes
Payload = str | bytes

RESERVED = b"c10k/"
"""Topics that begin with this are the cluster's own; applications must not publish to them."""

ONE_NODE = RESERVED + b"here/"
"""Reserved topics that begin with this: what an external publisher publishes reaches only the
subscribers of the node that takes it."""

AFTER_RESERVED = b"c10k0"
"""The first name, in the order of bytes, that is greater than all reserved ones."""


class NotGiven:
    """The type of NOT_GIVEN."""

    def __repr__(self) -> str:
        return "not given"


NOT_GIVEN: Final = NotGiven()
"""The default of ``json=``, for which None is a value: ``null``."""


def as_topic(topic: Topic) -> bytes:
    """A topic as it travels. Raises TypeError for anything else, such as a primary key."""
    if isinstance(topic, str):
        return topic.encode()
    if isinstance(topic, bytes):
        return topic
    raise TypeError(f"a topic is str or bytes, not {type(topic).__name__}")


def as_public_topic(topic: Topic) -> bytes:
    """A topic that applications may use. Raises TypeError, and ValueError if reserved."""
    key = as_topic(topic)
    if RESERVED <= key < AFTER_RESERVED:
        raise reserved(key)
    return key


def reserved(topic: bytes) -> ValueError:
    """The error for a topic of the cluster's own."""
    return ValueError(
        f"the topic {topic.decode(errors='replace')!r} is reserved: names that begin with"
        f" {RESERVED.decode()!r} are the cluster's own"
    )


def as_frame(message: Payload) -> bytes:
    """The frame of a message. Raises TypeError for anything else than str and bytes."""
    if isinstance(message, str):
        return text_frame(message.encode())
    try:
        return binary_frame(message)
    except TypeError:
        kind = type(message).__name__
        raise TypeError(f"a message is str or bytes, not {kind}; for JSON: json=value") from None


def frame_of(message: Payload | None, json: Any) -> bytes:
    """The frame of a message, or of a value that becomes JSON: exactly one of them is given.

    Raises TypeError if both are or none is, or for what cannot be encoded; ValueError for NaN.
    """
    if json is NOT_GIVEN:
        if message is None:
            raise TypeError("give a message, or a value as json=")
        return as_frame(message)
    if message is not None:
        raise TypeError("give either a message or json=, not both")
    return text_frame(encode_json(json).encode())


def as_message(frame: bytes) -> Payload:
    """The payload of a frame: str for text, bytes for binary."""
    payload, is_binary = frame_payload(frame)
    return payload if is_binary else payload.decode()
