"""What a gateway writes to the inbox of another one <-> bytes.

::

    payload  = batches | snapshot
    batches  = "P" fields (destination, origin, batch, destination, origin, batch, …)
    snapshot = "S" fields (log ID, number, last, piece)

A batch is one of a node (wire.batches), unopened. A snapshot is divided into pieces with the
numbers 0, 1, 2, …; see snapshot_transfer.py. ``last``: it is complete with this piece.
"""

from collections.abc import Iterable
from typing import NamedTuple

from cluster.core.exceptions import WireError
from cluster.core.wire.fields import FLAG, NAME, NUMBER, TEXT, decode_fields, encode_fields


class RoutedBatch(NamedTuple):
    """A batch with the names of its nodes."""

    destination: str
    origin: str
    data: bytes


class SnapshotPiece(NamedTuple):
    """A piece of the agreed state as it is after the log entry ``log_id``."""

    log_id: str
    number: int
    last: bool
    data: bytes


InboxPayload = tuple[RoutedBatch, ...] | SnapshotPiece


def encode_batches(batches: Iterable[RoutedBatch]) -> bytes:
    """Encode batches for the nodes of one machine."""
    fields: list[bytes] = []
    for destination, origin, data in batches:
        fields += (destination.encode(), origin.encode(), data)
    return b"P" + encode_fields(fields)


def encode_piece(piece: SnapshotPiece) -> bytes:
    """Encode a piece of a snapshot."""
    log_id, number, last, data = piece
    fields = [TEXT.encode(log_id), NUMBER.encode(number), FLAG.encode(last), data]
    return b"S" + encode_fields(fields)


def decode_inbox_payload(data: bytes) -> InboxPayload:
    """Decode batches or a piece of a snapshot; raises WireError for other bytes."""
    fields = decode_fields(data, 1)
    match data[:1], fields:
        case b"P", _ if len(fields) % 3 == 0:
            parts = iter(fields)
            return tuple(
                RoutedBatch(NAME.decode(destination), NAME.decode(origin), batch)
                for destination, origin, batch in zip(parts, parts, parts, strict=True)
            )
        case b"S", [log_id, number, last, piece]:
            return SnapshotPiece(_log_id(log_id), NUMBER.decode(number), FLAG.decode(last), piece)
    raise WireError(f"not a payload of an inbox: {data[:1]!r} with {len(fields)} fields")


def _log_id(field: bytes) -> str:
    text: str = TEXT.decode(field)
    numbers = text.split("-")
    if len(numbers) != 2 or not all(each.isdecimal() and each.isascii() for each in numbers):
        raise WireError(f"not the ID of a log entry: {text[:80]!r}")
    return text
