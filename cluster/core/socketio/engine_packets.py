"""Engine.IO packets and payloads <-> bytes (Engine.IO protocol, revision 4, "Packet encoding").

Grammar::

    packet     type data          type: one digit; data: UTF-8
    frame      packet             over WebSocket: a text frame; binary data is a binary frame
    payload    item *(0x1E item)  over HTTP
    item       packet / "b" base64

Binary data is always that of a message. The types are plain integers, and packets plain tuples:
``(type, data, is_binary)``, because one is made for each message over polling.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence

from cluster.core.exceptions import WireError

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = range(7)

SEPARATOR = b"\x1e"
"""Between two packets of a payload."""

_ZERO = ord("0")
_BINARY = ord("b")


class InvalidPacket(WireError):
    """The client has sent what is not a packet."""


def decode_packet(data: bytes, is_binary: bool) -> tuple[int, bytes, bool]:
    """Decode a WebSocket message.

    Args:
        data: The message; text is valid UTF-8.
        is_binary: Whether it is binary.

    Returns:
        The type, the data, and whether the data is binary.

    Raises:
        InvalidPacket: It does not begin with a type.
    """
    if is_binary:
        return MESSAGE, data, True
    kind = data[0] - _ZERO if data else -1
    if not OPEN <= kind <= NOOP:
        raise InvalidPacket("a packet must begin with its type")
    return kind, data[1:], False


def decode_payload(body: bytes, max_packets: int) -> list[tuple[int, bytes, bool]]:
    """Decode the body of a POST request.

    Args:
        body: The body.
        max_packets: How many packets it may have.

    Returns:
        The packets, as ``decode_packet`` returns them.

    Raises:
        InvalidPacket: It is not UTF-8, a packet is invalid, or there are too many.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise InvalidPacket("a payload must be UTF-8") from None
    items = body.split(SEPARATOR, max_packets)
    if len(items) > max_packets:
        raise InvalidPacket(f"a payload may have {max_packets} packets")
    return [_decode_item(item) for item in items]


def _decode_item(item: bytes) -> tuple[int, bytes, bool]:
    if item and item[0] == _BINARY:
        try:
            return MESSAGE, b64decode(item[1:], validate=True), True
        except ValueError:
            raise InvalidPacket("binary data must be base64") from None
    return decode_packet(item, False)


def encode_payload(packets: Iterable[tuple[bytes, bool]]) -> bytes:
    """Encode the response to a GET request.

    Args:
        packets: Whole text packets and False, or binary data and True.
    """
    return SEPARATOR.join(
        [b"b" + b64encode(data) if is_binary else data for data, is_binary in packets]
    )


def open_packet(
    sid: str,
    upgrades: Sequence[str],
    ping_interval_ms: int,
    ping_timeout_ms: int,
    max_payload: int,
) -> bytes:
    """Encode the first packet of a session.

    Args:
        sid: The session's id.
        upgrades: The transports to which the client may change.
        ping_interval_ms: Milliseconds between two pings.
        ping_timeout_ms: Milliseconds that the client has to answer one.
        max_payload: Bytes of the largest body of a POST request.
    """
    return (
        b"0"
        + json.dumps(
            {
                "sid": sid,
                "upgrades": list(upgrades),
                "pingInterval": ping_interval_ms,
                "pingTimeout": ping_timeout_ms,
                "maxPayload": max_payload,
            },
            separators=(",", ":"),
        ).encode()
    )
