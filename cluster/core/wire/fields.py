"""Fields and messages <-> bytes: the encoding between nodes and broker.

::

    fields = u32 n, n * u32 length, the n byte strings one after the other    (little-endian)

and in a field that is not a topic or a frame::

    text = UTF-8        number = u64        flag = number, 0 for false        tokens = n * u64
    name = 1 to 255 printable ASCII characters: a node

Numbers are below LIMIT, so that sums of two of them are numbers, too.

Batches of publications consist of fields, too (batches.py). All lengths precede the contents, so
that one ``array`` call reads or writes them, instead of one ``struct`` call for each.
"""

import re
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from cluster.core.exceptions import WireError

_BIG_ENDIAN = sys.byteorder == "big"

LIMIT = 1 << 62

_NAME = re.compile(rb"[!-~]{1,255}")  # 255: the longest ZMQ_ROUTING_ID


def encode_fields(items: Sequence[bytes]) -> bytes:
    """Encode a list of byte strings as one."""
    header = array("I", (len(items), *map(len, items)))
    if _BIG_ENDIAN:
        header.byteswap()
    return header.tobytes() + b"".join(items)


def decode_fields(data: bytes, start: int = 0) -> list[bytes]:
    """Decode the list at ``data[start:]``; raises WireError unless the lengths add up exactly."""
    head = start + 4
    if len(data) < head:
        raise WireError(f"{len(data)} bytes are too short for fields from byte {start} on")
    count = int.from_bytes(data[start:head], "little")
    body = head + 4 * count
    if len(data) < body:
        raise WireError(f"{count} fields announced in {len(data) - start} bytes")
    lengths = array("I", data[head:body])
    if _BIG_ENDIAN:
        lengths.byteswap()
    fields = []
    at = body
    for length in lengths:
        end = at + length
        fields.append(data[at:end])
        at = end
    if at != len(data):
        raise WireError(f"fields end at {at}, the message at {len(data)}")
    return fields


class Codec(NamedTuple):
    """How one type of field is encoded. ``decode`` raises WireError for other bytes."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _text(field: bytes) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"not UTF-8: {field[:40]!r}") from error


def _from_number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _number(field: bytes) -> int:
    if len(field) != 8:
        raise WireError(f"a number of {len(field)} bytes")
    value = int.from_bytes(field, "little")
    if value >= LIMIT:
        raise WireError(f"the number {value} is too large")
    return value


def _from_tokens(tokens: Sequence[int]) -> bytes:
    return b"".join(map(_from_number, tokens))


def _tokens(field: bytes) -> tuple[int, ...]:
    if len(field) % 8:
        raise WireError(f"tokens of {len(field)} bytes")
    tokens = tuple(int.from_bytes(field[at : at + 8], "little") for at in range(0, len(field), 8))
    if tokens and max(tokens) >= LIMIT:
        raise WireError(f"the number {max(tokens)} is too large")
    return tokens


def is_name(field: bytes) -> bool:
    """Whether this can be the name of a node."""
    return _NAME.fullmatch(field) is not None


def _name(field: bytes) -> str:
    if not is_name(field):
        raise WireError(f"not the name of a node: {field[:40]!r}")
    return field.decode()


TEXT = Codec(str.encode, _text)
NAME = Codec(str.encode, _name)
NUMBER = Codec(_from_number, _number)
FLAG = Codec(_from_number, lambda field: bool(_number(field)))
TOKENS = Codec(_from_tokens, _tokens)


class Message:
    """Base of all messages between a node and the broker.

    Fields are sent in the order in which the class lists them.
    """

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]  # set by dataclass: the names of the fields
    KIND: ClassVar[bytes]
    LAYOUT: ClassVar[tuple[Codec, ...]] = ()
    """How each field is encoded. Messages with a variable number of fields override the methods."""

    def to_fields(self) -> list[bytes]:
        """Encode the fields."""
        fields = zip(self.__match_args__, self.LAYOUT, strict=True)
        return [codec.encode(getattr(self, name)) for name, codec in fields]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        """Decode the fields; raises WireError if they are not those of this message."""
        if len(fields) != len(cls.LAYOUT):
            raise WireError(f"{len(fields)} fields instead of {len(cls.LAYOUT)}")
        return cls(*[codec.decode(field) for codec, field in zip(cls.LAYOUT, fields, strict=True)])
