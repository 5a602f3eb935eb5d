"""Plain values <-> bytes, for snapshots.

::

    value = "b" bytes | "s" UTF-8 | "i" decimal digits | "0" | "1" | "t" fields (value …)

These are bytes, str, int, False, True and tuple; fields are those of wire.fields.
"""

from typing import Any

from cluster.core.exceptions import WireError
from cluster.core.wire.fields import TEXT, decode_fields, encode_fields

MAX_DEPTH = 8
"""Tuples inside tuples. A snapshot has four levels."""

MAX_DIGITS = 20
"""Digits of a number, with its sign: a little more than 64 bits."""


def encode_value(value: Any) -> bytes:
    """Encode bytes, str, int, bool, or a tuple or list of such values."""
    match value:
        case bytes():
            return b"b" + value
        case str():
            return b"s" + value.encode()
        case bool():
            return b"1" if value else b"0"
        case int():
            return b"i%d" % value
        case _:
            return b"t" + encode_fields([encode_value(each) for each in value])


def decode_value(data: bytes, depth: int = 0) -> Any:
    """Decode what encode_value returns; raises WireError for other bytes. Lists become tuples."""
    kind, rest = data[:1], data[1:]
    match kind:
        case b"b":
            return rest
        case b"s":
            return TEXT.decode(rest)
        case b"0" | b"1" if not rest:
            return kind == b"1"
        case b"i" if len(rest) <= MAX_DIGITS and rest.removeprefix(b"-").isdigit():
            return int(rest)
        case b"t" if depth < MAX_DEPTH:
            return tuple(decode_value(each, depth + 1) for each in decode_fields(rest))
    raise WireError(f"not a plain value: {data[:40]!r}")
