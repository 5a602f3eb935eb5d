"""What the client managers of python-socketio send each other, on a topic of the cluster.

Grammar, in text messages of the topic ``c10k/socketio/CHANNEL``::

    message = sender object
    sender  = 32 hexadecimal digits, the host_id of a server; EXTERNAL for all other senders
    object  = {"method": "emit", "event": str, "data": [...], "namespace": str, "room": room, ...}
            | {"method": "callback", "host_id": str, "sid": str, "id": int, "args": [...], ...}
            | {"method": "disconnect", "sid": str, "namespace": str, ...}
            | {"method": "enter_room" or "leave_room", "sid": str, "namespace": str, "room": room}
            | {"method": "close_room", "namespace": str, "room": room, ...}
    room    = text, a number, null, or a list of them

The objects are those of ``socketio.AsyncPubSubManager``, in JSON and never pickled. The sender
precedes the object, so that a server skips its own messages without parsing them. ``host_id`` of a
callback is the server that waits for the acknowledgement.

Names that begin with ``c10k/`` are reserved: neither ``publish`` nor handlers publish to them.
"""

from typing import Any

from cluster.django.api.publication import Publication
from cluster.net.websocket.frames import text_frame

EXTERNAL = "0" * 32
"""The sender of messages that every server acts upon."""

MAX_SIZE = 16 << 20
"""Bytes of one message, unless the manager was made with another limit. An emit is encoded and
parsed in the event loop, which is blocked meanwhile: for about 0.1 s by 16 MiB."""

_SENDER = len(EXTERNAL)
_HEXADECIMAL = frozenset("0123456789abcdef")

_FIELDS: dict[str, dict[str, type]] = {
    "emit": {"event": str, "data": list, "namespace": str},
    "callback": {"host_id": str, "sid": str, "id": int, "args": list},
    "disconnect": {"sid": str, "namespace": str},
    "enter_room": {"sid": str, "namespace": str},
    "leave_room": {"sid": str, "namespace": str},
    "close_room": {"namespace": str},
}


class InvalidMessage(ValueError):
    """A message is not of this grammar."""


def topic_of(channel: str) -> bytes:
    """The topic of a channel.

    Raises:
        ValueError: The channel is not a non-empty text.
    """
    if not isinstance(channel, str) or not channel:
        raise ValueError(f"the channel of Socket.IO servers is a non-empty str, not {channel!r}")
    return b"c10k/socketio/" + channel.encode()


def checked_limit(name: str, limit: int) -> int:
    """Return the limit that was given as ``name``; raises ValueError if it is none."""
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ValueError(f"{name} is a number above 0, not {limit!r}")
    return limit


def encode_message(
    topic: bytes, sender: str, message: dict[str, Any], json: Any, max_size: int
) -> Publication:
    """Encode a message for the other servers.

    Args:
        topic: From ``topic_of``.
        sender: The ``host_id`` of a server, or EXTERNAL.
        message: One of the objects above.
        json: A module with ``dumps``.
        max_size: Bytes that it may have.

    Raises:
        TypeError: It has a value that is not JSON.
        ValueError: It is too large.
    """
    payload = (sender + json.dumps(message)).encode()
    if len(payload) > max_size:
        raise ValueError(
            f"a message of {len(payload):,} bytes for Socket.IO clients is too large for the"
            f" cluster: max_size is {max_size:,}"
        )
    return Publication(topic, text_frame(payload))


def decode_message(text: str | bytes, json: Any) -> dict[str, Any]:
    """Read a message.

    Args:
        text: The message as it was received.
        json: A module with ``loads``.

    Returns:
        The object, with the sender as "host_id" unless it is a callback.

    Raises:
        InvalidMessage: It is not of the grammar.
    """
    if not isinstance(text, str) or not _HEXADECIMAL.issuperset(text[:_SENDER]):
        raise InvalidMessage("no sender")
    try:
        message = json.loads(text[_SENDER:])
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("not JSON") from error
    if not isinstance(message, dict):
        raise InvalidMessage("not an object")
    method = message.get("method")
    fields = _FIELDS.get(method) if isinstance(method, str) else None
    if fields is None:
        raise InvalidMessage(f"the method {str(method)[:40]!r} is not known")
    for name, kind in fields.items():
        if type(message.get(name)) is not kind:
            raise InvalidMessage(f"{name!r} of {method!r} is not {kind.__name__}")
    if not _is_room(message.get("room")) or not _is_room(message.get("skip_sid")):
        raise InvalidMessage(f"a room of {method!r} is neither a name nor a list of names")
    if method != "callback":
        message["host_id"] = text[:_SENDER]
    return message


def _is_room(room: object) -> bool:
    if isinstance(room, list):
        return all(isinstance(each, str | int | float | None) for each in room)
    return isinstance(room, str | int | float | None)
