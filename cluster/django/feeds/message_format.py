"""The message format ``c10k.v1`` between feeds and their clients, on all three transports.

Grammar, JSON text, ``>`` client to server (WebSocket only), ``<`` server to client::

    > {"subscribe": T, "since": POSITION}       "since" is optional
    > {"unsubscribe": T}
    > {"ping": any}
    < {"pong": any}
    < {"topic": T, "recovered": bool, "id": POSITION}    the answer to a subscription
    < {"topic": T, "message": M, "id": POSITION}
    < {"error": text, "topic": T}               "topic" if the error is about one

M is a string for a text message, ``{"base64": …}`` for a binary one. "id" is there if the topic has
history. Unknown members are ignored in both directions, so that later versions can add some.

The position in a whole feed is ``T=POSITION&T=POSITION``, quoted like a query: the ``id:`` of a
server-sent event, ``since`` in a URL. This module knows neither sockets nor subscriptions.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote

from cluster.core.json_text import decode_json
from cluster.net.websocket.frames import frame_payload

SUBPROTOCOL = "c10k.v1"

MAX_REQUEST = 16 << 10
"""Characters of a client's request: a topic and a position have some hundred, and the value of a
ping, which is sent back, needs to be no more than a number."""

MAX_SINCE = 8 << 10
"""Characters of a position in a feed that are read: half of what a request's header may have."""

MEMO_BYTES = 1 << 20
"""Bytes of encoded messages kept for the next client: as much as one client's queue may hold."""

CLOSE_NOT_JSON = 1007
CLOSE_INVALID_REQUEST = 1008
"""Close codes for clients that break the grammar."""


class InvalidRequest(ValueError):
    """What a client sent is not a request of this grammar.

    Args:
        text: The reason.
        code: The close code for the client.
    """

    def __init__(self, text: str, code: int = CLOSE_INVALID_REQUEST) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to a topic, to the messages after ``since`` first."""

    topic: str
    since: str | None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Unsubscribe from a topic."""

    topic: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Send ``value`` back."""

    value: Any


ClientRequest: TypeAlias = Subscribe | Unsubscribe | Ping


def parse_request(text: str) -> ClientRequest:
    """Read a client's message.

    Raises:
        InvalidRequest: It is not JSON, or not of this grammar.
    """
    if len(text) > MAX_REQUEST:
        raise InvalidRequest(f"a request has at most {MAX_REQUEST} characters")
    try:
        request = decode_json(text)
    except (ValueError, RecursionError) as error:  # too many digits are a ValueError, too
        raise InvalidRequest("not JSON", CLOSE_NOT_JSON) from error
    if not isinstance(request, dict):
        raise InvalidRequest("a request is an object")
    match request:
        case {"subscribe": str(topic), "since": str(since)}:
            return Subscribe(topic, since)
        case {"subscribe": str(topic)} if request.get("since") is None:
            return Subscribe(topic, None)
        case {"unsubscribe": str(topic)}:
            return Unsubscribe(topic)
        case {"ping": value}:
            return Ping(value)
    raise InvalidRequest("a request has one of: subscribe, unsubscribe, ping")


def encode(**members: Any) -> bytes:
    """One message of the server, in UTF-8 and without a line break; None members are left out."""
    given = {name: value for name, value in members.items() if value is not None}
    # A topic that a client named may have half of a surrogate pair, which UTF-8 cannot encode.
    return json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_pong(value: Any) -> bytes:
    """The answer to a ping. Its value may be null."""
    return b'{"pong":' + encode_value(value) + b"}"


def encode_value(value: Any) -> bytes:
    """Any JSON value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_message(topic: str, frame: bytes, position: str | None) -> bytes:
    """Encode a published frame (net.websocket.frames); without history ``position`` is None."""
    payload, is_binary = frame_payload(frame)
    message: Any
    if is_binary:
        message = {"base64": base64.b64encode(payload).decode()}
    else:
        message = payload.decode("utf-8", "replace")
    return encode(topic=topic, message=message, id=position)


class MessageMemo:
    """Encodes each message once for all clients to which it is sent at the same moment.

    It is emptied when it has more than ``MEMO_BYTES``: the clients of a message come right after
    one another, and a client hardly ever asks for an older message.

    Args:
        encode: Encodes a message of a topic, for a client with a position.
    """

    def __init__(self, encode: Callable[[str, bytes, str | None], bytes] = encode_message) -> None:
        self._encode = encode
        self._known: dict[tuple[str, bytes, str | None], bytes] = {}
        self._size = 0

    def encode(self, topic: str, frame: bytes, position: str | None) -> bytes:
        """Like the function, but the same object is returned while it is known."""
        key = (topic, frame, position)  # bytes objects keep their hash
        known = self._known.get(key)
        if known is None:
            known = self._encode(topic, frame, position)
            self._size += len(known)
            if self._size > MEMO_BYTES:
                self._known.clear()
                self._size = len(known)
            self._known[key] = known
        return known


encode_shared = MessageMemo().encode
"""Like encode_message; clients to which a message is sent at the same moment share it."""


def format_feed_position(positions: Mapping[str, str]) -> str:
    """The position in a feed, made of those in its topics; topics without history have none."""
    return "&".join([f"{_quote(topic)}={position}" for topic, position in positions.items()])


@lru_cache(4096)  # it is part of every message to every stream
def _quote(topic: str) -> str:
    return quote(topic, safe="")


def parse_feed_position(text: str) -> dict[str, str]:
    """Read a position in a feed that a client sent: topic -> position.

    It may be of another day or another feed, so it is never an error. A topic that is not in it
    starts from the beginning of its history; one with an unknown position is not recovered.
    """
    if len(text) > MAX_SINCE:
        text = text[:MAX_SINCE].rpartition("&")[0]
    try:
        return dict(parse_qsl(text, max_num_fields=1000))
    except ValueError:
        return {}
