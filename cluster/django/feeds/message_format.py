"""The envelope ``c10k.v1``: what feeds say to their clients, over all three transports.

Grammar, JSON text, ``>`` client to server (WebSocket only), ``<`` server to client::

    > {"subscribe": T, "since": POSITION}       "since" may be left out
    > {"unsubscribe": T}
    > {"ping": any}
    < {"pong": any}
    < {"topic": T, "recovered": bool, "id": POSITION}    the answer to a subscription
    < {"topic": T, "message": M, "id": POSITION}
    < {"error": text, "topic": T}               "topic" if it is about one

M is a string for a text message, ``{"base64": …}`` for a binary one. "id" is there if the topic has
history. Unknown members are ignored, in both directions, so that later versions may add some.

A place in a whole feed is written ``T=POSITION&T=POSITION``, quoted like a query: the ``id:`` of a
server-sent event, ``since`` in a URL. This file knows neither sockets nor topics' subscribers.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isinf
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote

from cluster.net.websocket.frames import frame_payload

SUBPROTOCOL = "c10k.v1"

MAX_REQUEST = 16 << 10
"""Characters of a client's request: a topic and a position are some hundred, and a ping's value,
which is sent back, need be no more than a number."""

MAX_SINCE = 8 << 10
"""Characters of a place in a feed that are read: half of what the header of a request may have."""

MEMO_BYTES = 1 << 20
"""Encoded messages that are kept for the next client: as much as one client's queue may hold."""


NOT_JSON = 1007
NO_REQUEST = 1008
"""Close codes for clients that break the grammar."""


class BadEnvelope(ValueError):
    """What a client sent is no request of this grammar; the text says why, ``code`` closes it."""

    def __init__(self, text: str, code: int = NO_REQUEST) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Have a topic's messages, those after ``since`` first."""

    topic: str
    since: str | None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Have them no more."""

    topic: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Say ``value`` back."""

    value: Any


ClientRequest: TypeAlias = Subscribe | Unsubscribe | Ping


def parse_request(text: str) -> ClientRequest:
    """Read a client's message; raises BadEnvelope."""
    if len(text) > MAX_REQUEST:
        raise BadEnvelope(f"a request has at most {MAX_REQUEST} characters")
    try:
        request = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # too many digits are a ValueError, too
        raise BadEnvelope("not JSON", NOT_JSON) from error
    if not isinstance(request, dict):
        raise BadEnvelope("a request is an object")
    match request:
        case {"subscribe": str(topic), "since": str(since)}:
            return Subscribe(topic, since)
        case {"subscribe": str(topic)} if request.get("since") is None:
            return Subscribe(topic, None)
        case {"unsubscribe": str(topic)}:
            return Unsubscribe(topic)
        case {"ping": value}:
            return Ping(value)
    raise BadEnvelope("a request has one of: subscribe, unsubscribe, ping")


def encode(**members: Any) -> bytes:
    """One message of the server, in UTF-8 and without a line break; None members are left out."""
    given = {name: value for name, value in members.items() if value is not None}
    # A topic that a client named may hold half of a surrogate pair, which UTF-8 cannot say.
    return json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_pong(value: Any) -> bytes:
    """The answer to a ping, whose value may be null."""
    return b'{"pong":' + encode_value(value) + b"}"


def encode_value(value: Any) -> bytes:
    """Any JSON value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_message(topic: str, frame: bytes, position: str | None) -> bytes:
    """The envelope of a published frame (net.websocket.frames); ``position`` None: no history."""
    payload, is_binary = frame_payload(frame)
    message: Any
    if is_binary:
        message = {"base64": base64.b64encode(payload).decode()}
    else:
        message = payload.decode("utf-8", "replace")
    return encode(topic=topic, message=message, id=position)


class MessageMemo:
    """Encodes each message once, however many clients are sent it at the same moment.

    What it knows is forgotten when it is more than ``MEMO_BYTES``: the clients of one message come
    right after one another, and those of an older one hardly ever.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes, str | None], bytes] = {}
        self._size = 0

    def encode(self, topic: str, frame: bytes, position: str | None) -> bytes:
        """Like encode_message; the result is the same object as long as it is known."""
        key = (topic, frame, position)  # the frame's hash is kept in the object itself
        known = self._known.get(key)
        if known is None:
            known = encode_message(topic, frame, position)
            self._size += len(known)
            if self._size > MEMO_BYTES:
                self._known.clear()
                self._size = len(known)
            self._known[key] = known
        return known


def format_place(positions: Mapping[str, str]) -> str:
    """A place in a feed: topic -> position; topics without history have none."""
    return "&".join([f"{_quote(topic)}={position}" for topic, position in positions.items()])


@lru_cache(4096)  # every message to every stream has it
def _quote(topic: str) -> str:
    return quote(topic, safe="")


def parse_place(text: str) -> dict[str, str]:
    """The same from what a client says; what makes no sense is left out.

    It may be of another day or another feed, so it is never an error: a topic that is not in it
    begins anew, and one whose position nobody knows says so ("recovered" is false).
    """
    if len(text) > MAX_SINCE:
        text = text[:MAX_SINCE].rpartition("&")[0]
    try:
        return dict(parse_qsl(text, max_num_fields=1000))
    except ValueError:
        return {}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise ValueError("the number is too large")
    return number
