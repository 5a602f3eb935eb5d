"""A snapshot of the agreed state, on its way to a member that has joined.

::

    snapshot = (u32 length, encoded record) …       (little-endian; plain_values.py)

It is divided into pieces of at most PIECE_BYTES, anywhere. The sender keeps the records as plain
values, whose frames it shares with its state, and encodes a piece when its turn comes. So sending
hardly takes memory, even if the state is large.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from cluster.core.exceptions import WireError
from cluster.core.machines.encodings.inbox_payloads import SnapshotPiece
from cluster.core.machines.encodings.plain_values import decode_value, encode_value

PIECE_BYTES = 1 << 20
"""Bytes of a piece: little enough that a turn with it is written in milliseconds."""

Record = tuple[Any, ...]
"""A part of a snapshot, as plain values."""


def divide(log_id: str, records: Iterable[Record]) -> Iterator[SnapshotPiece]:
    """The pieces of a snapshot that was taken after a log entry. Do not change the records."""
    waiting = bytearray()
    number = 0
    for record in records:
        data = encode_value(record)
        waiting += len(data).to_bytes(4, "little") + data
        at = 0
        while len(waiting) - at > PIECE_BYTES:
            yield SnapshotPiece(log_id, number, False, bytes(waiting[at : at + PIECE_BYTES]))
            at += PIECE_BYTES
            number += 1
        del waiting[:at]
    yield SnapshotPiece(log_id, number, True, bytes(waiting))


class SnapshotReceiver:
    """Puts the pieces of snapshots together. A sender that is gone may leave one incomplete."""

    def __init__(self) -> None:
        self._sender = ""
        self._log_id = ""
        self._next = 0
        self._data = bytearray()

    @property
    def size(self) -> int:
        """The bytes of the pieces."""
        return len(self._data)

    def receive(self, sender: str, piece: SnapshotPiece) -> list[Record] | None:
        """Take a piece of a member; returns the records when it completes a snapshot.

        Raises WireError if the pieces do not fit together.
        """
        log_id, number, last, data = piece
        if number == 0:
            self._sender, self._log_id, self._next = sender, log_id, 0
            self._data.clear()
        if (sender, log_id, number) != (self._sender, self._log_id, self._next):
            raise WireError(f"piece {number} of {sender}, not {self._next} of {self._sender}")
        self._next += 1
        self._data += data
        return list(self._records()) if last else None

    def _records(self) -> Iterator[Record]:
        data = bytes(self._data)
        self._data.clear()
        at = 0
        while at < len(data):
            end = at + 4 + int.from_bytes(data[at : at + 4], "little")
            if end > len(data):
                raise WireError(f"a record ends at {end}, the snapshot at {len(data)}")
            record = decode_value(data[at + 4 : end])
            if not isinstance(record, tuple):
                raise WireError("a record that is no tuple")
            yield record
            at = end
