"""Socket.IO packets <-> text and attachments (Socket.IO protocol, revision 5, "Packet encoding").

Grammar, without the type of Engine.IO's packet around it::

    packet       type [attachments "-"] [namespace ","] [id] [data]
    type         one digit
    attachments  number of binary messages that follow, from 1 on; only of BINARY_EVENT and
                 BINARY_ACK
    namespace    begins with "/", has no comma; the main namespace "/" is left out
    id           decimal, of the acknowledgement that is asked for or given
    data         JSON; {"_placeholder": true, "num": N} stands for attachment N

A packet that is not valid raises InvalidPacket; the server then closes the client.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from cluster.core.json_text import decode_json, text_encoder
from cluster.core.socketio.engine_packets import InvalidPacket
from cluster.core.socketio.placeholders import without_binary

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)

MAIN = "/"
"""The main namespace."""

RESERVED_EVENTS = frozenset(
    ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
)
"""Names that neither side may send as an event."""

_HEADER = re.compile(r"([0-6])(?:(\d+)-)?(?:(/[^,]*)(?:,|\Z))?(\d+)?", re.ASCII)
_BINARY_TYPES = (BINARY_EVENT, BINARY_ACK)
_ZERO = ord("0")


class PacketLimits(NamedTuple):
    """Limits of what is decoded.

    Attributes:
        attachments: Attachments of a packet.
        attachment_bytes: Bytes of all attachments of a packet.
        namespace: Characters of a namespace.
        id_digits: Digits of an id.
        depth: Lists and objects in each other. Data that is nested more deeply could be decoded
            and not encoded again.
    """

    attachments: int = 10
    attachment_bytes: int = 4 << 20
    namespace: int = 200
    id_digits: int = 15
    depth: int = 100


DEFAULT_LIMITS = PacketLimits()


class Packet(NamedTuple):
    """A packet.

    Attributes:
        type: CONNECT … BINARY_ACK.
        namespace: The namespace.
        data: The value of its JSON; None without one.
        id: The number of the acknowledgement, or None.
        attachments: How many attachments follow; ``data`` has placeholders for them.
    """

    type: int
    namespace: str
    data: Any
    id: int | None
    attachments: int


_encode_json = text_encoder(json.JSONEncoder(allow_nan=False, separators=(",", ":")))
_new_packet = tuple.__new__


def decode(text: bytes, limits: PacketLimits = DEFAULT_LIMITS) -> Packet:
    """Decode a packet.

    Args:
        text: The packet, in UTF-8.
        limits: What it may have.

    Returns:
        The packet. Attachments that it announces follow: see Reassembly.

    Raises:
        InvalidPacket: It is not a packet, or exceeds a limit.
    """
    try:
        string = text.decode()
        # Most packets are events of the main namespace, which need no regular expression.
        start = string.find("[", 1, 2 + limits.id_digits) if string.startswith("2") else -1
        digits = string[1:start] if start > 1 else ""
        if start == 1 or (digits.isdigit() and digits.isascii()):
            number = int(digits) if digits else None
            kind, data = EVENT, decode_json(string, start)
            packet: Packet = _new_packet(Packet, (EVENT, MAIN, data, number, 0))
        else:
            packet = _decode(string, limits)
            kind, data = packet.type, packet.data
    except (ValueError, RecursionError) as error:
        raise InvalidPacket(f"not a packet: {error}") from None
    # Each level has two brackets; few packets have so many, and text may have them, too.
    if len(string) > 2 * limits.depth and string.count("[") + string.count("{") > limits.depth:
        _check_depth(data, limits.depth)
    _check_data(kind, data)
    return packet


def _decode(string: str, limits: PacketLimits) -> Packet:
    header = _HEADER.match(string)
    if header is None:
        raise InvalidPacket("a packet must begin with its type")
    digit, announced, namespace, id = header.groups()
    kind = ord(digit) - _ZERO
    attachments = 0
    if (announced is not None) != (kind in _BINARY_TYPES):
        raise InvalidPacket("packets announce attachments if, and only if, they have a binary type")
    if announced is not None:
        # Longer numbers than the limit's are not converted.
        attachments = int(announced) if len(announced) < limits.id_digits else 1 << 60
        if not 0 < attachments <= limits.attachments:
            raise InvalidPacket(f"a packet may announce 1 to {limits.attachments} attachments")
    if namespace is None:
        namespace = MAIN
    elif len(namespace) > limits.namespace:
        raise InvalidPacket(f"a namespace may have {limits.namespace} characters")
    if id is not None and len(id) > limits.id_digits:
        raise InvalidPacket(f"an id may have {limits.id_digits} digits")
    end = header.end()
    data = decode_json(string, end) if end < len(string) else None
    number = None if id is None else int(id)
    packet: Packet = _new_packet(Packet, (kind, namespace, data, number, attachments))
    return packet


def _check_data(kind: int, data: Any) -> None:
    """Raise InvalidPacket if the data is not that of the type."""
    if kind in (EVENT, BINARY_EVENT):
        name = data[0] if data.__class__ is list and data else None
        if name.__class__ is str:
            if name in RESERVED_EVENTS:
                raise InvalidPacket(f"the event {name!r} is reserved")
        elif name.__class__ is not int and name.__class__ is not float:
            raise InvalidPacket("the data of an event is a list that begins with its name")
    elif kind in (ACK, BINARY_ACK):
        if data.__class__ is not list:
            raise InvalidPacket("the data of an acknowledgement is a list")
    elif kind == CONNECT:
        if data is not None and data.__class__ is not dict:
            raise InvalidPacket("the data of a CONNECT packet is an object")
    elif kind == DISCONNECT:
        if data is not None:
            raise InvalidPacket("a DISCONNECT packet has no data")
    elif data.__class__ is not dict and data.__class__ is not str:
        raise InvalidPacket("the data of a CONNECT_ERROR packet is an object")


def _check_depth(data: Any, depth: int) -> None:
    """Raise InvalidPacket if more lists and objects are in each other."""
    level = [data]
    for _ in range(depth + 1):
        inner = []
        for value in level:
            if value.__class__ is list:
                inner += value
            elif value.__class__ is dict:
                inner += value.values()
        level = inner
        if not level:
            return
    raise InvalidPacket(f"data may have {depth} lists and objects in each other")


def encode(
    type: int,
    namespace: str,
    data: Any = None,
    id: int | None = None,
    dumps: Callable[[Any], str] = _encode_json,
) -> tuple[bytes, tuple[bytes, ...]]:
    """Encode a packet.

    Args:
        type: EVENT, ACK and so on; EVENT and ACK become BINARY_EVENT and BINARY_ACK if the data has
            binary parts.
        namespace: The namespace, without a comma.
        data: The data; bytes, bytearray and memoryview in it become attachments. None for none.
        id: The number of the acknowledgement.
        dumps: Encodes a value as JSON; raises TypeError for what it cannot encode.

    Returns:
        The text, and the attachments.

    Raises:
        TypeError: The data has a value that ``dumps`` cannot encode.
        ValueError: The data is nested too deeply, or what ``dumps`` raises: it must refuse NaN and
            infinity, which are not JSON.
    """
    attachments: tuple[bytes, ...] = ()
    try:
        # Binary data is found by the error that it causes: most packets have none, and a walk would
        # cost more than the encoding.
        try:
            encoded = "" if data is None else dumps(data)
        except TypeError:
            found: list[bytes] = []
            data = without_binary(data, found)
            if not found:
                raise
            encoded, attachments = dumps(data), tuple(found)
    except RecursionError:
        raise ValueError("the data of a packet is nested too deeply") from None
    header = ""
    if attachments:
        type = BINARY_ACK if type == ACK else BINARY_EVENT
        header = f"{len(attachments)}-"
    if namespace != MAIN:
        header += namespace + ","
    if id is None:
        return f"{type}{header}{encoded}".encode(), attachments
    return f"{type}{header}{id}{encoded}".encode(), attachments
