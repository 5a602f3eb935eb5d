"""Batches of publications <-> bytes. A batch carries publications from one node to another.

::

    batch = u64 number, u64 first, u64 acknowledged, u32 lost,
            fields (lost topics …, topic, frame, topic, frame, …)             (little-endian)

``number`` counts the batches to this node 1, 2, 3, …; ``first`` is the lowest one that the sender
can send again. ``acknowledged`` is the last number that the sender has received from this node. The
first ``lost`` fields are topics of which publications were dropped before this batch.

A batch with number 0 is a bare acknowledgement: it has no publications. ``first`` is then 1 if the
receiver must send again what is not acknowledged, else 0.
"""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from cluster.core.exceptions import WireError
from cluster.core.wire.fields import decode_fields, encode_fields

_HEADER = Struct("<QQQI")
_LOST_AT, _COUNT_AT, _FIELDS_END = 24, 28, 32


class Batch(NamedTuple):
    """A decoded batch; ``items`` are topic, frame, topic, frame, …"""

    number: int
    first: int
    acknowledged: int
    lost: list[bytes]
    items: list[bytes]


def encode_batch(
    number: int,
    items: Sequence[bytes],
    first: int = 1,
    acknowledged: int = 0,
    lost: Sequence[bytes] = (),
) -> bytes:
    """Encode publications (topic, frame, topic, frame, …) as one batch."""
    header = _HEADER.pack(number, first, acknowledged, len(lost))
    return header + encode_fields((*lost, *items) if lost else items)


def encode_acknowledgement(acknowledged: int, resend: bool) -> bytes:
    """Encode a bare acknowledgement. ``resend``: what is not acknowledged must be sent again."""
    return encode_batch(0, (), int(resend), acknowledged)


def decode_batch(data: bytes) -> Batch:
    """Decode a batch or a bare acknowledgement; raises WireError."""
    fields = decode_fields(data, _COUNT_AT)
    number, first, acknowledged, lost = _HEADER.unpack_from(data)
    if lost > len(fields):
        raise WireError(f"{lost} lost topics announced in {len(fields)} fields")
    if (len(fields) - lost) % 2:
        raise WireError("a batch with a topic that has no frame")
    if not number:
        if first > 1 or fields:
            raise WireError("an acknowledgement with publications")
    elif not 0 < first <= number:
        raise WireError(f"batch {number} of those from number {first} on")
    if not lost:
        return Batch(number, first, acknowledged, [], fields)
    return Batch(number, first, acknowledged, fields[:lost], fields[lost:])


def publications(batch: bytes) -> int:
    """The number of publications in a batch that encode_batch made, without decoding it."""
    count = int.from_bytes(batch[_COUNT_AT:_FIELDS_END], "little")
    return (count - int.from_bytes(batch[_LOST_AT:_COUNT_AT], "little")) // 2
