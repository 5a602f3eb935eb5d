"""The queue of one other machine: what waits until its inbox takes it.

The rules:

* one payload is written at a time. If the inbox refuses it, the same payload is written again
  after ``retry``;
* a batch is not written before the events of the log that its sender had queued before it;
* batches wait in order. ``marks`` counts their bytes, so that the nodes of this machine pause their
  publishers. Above LIMIT, batches are dropped. A node sends what is not acknowledged again when
  the other node returns, so ``lost`` has the pairs of nodes for which it must seem to return.
"""

from collections import deque
from collections.abc import Iterator

from cluster.core.machines.encodings.inbox_payloads import (
    RoutedBatch,
    SnapshotPiece,
    encode_batches,
    encode_piece,
)
from cluster.core.water_marks import WaterMarks

HIGH_WATER = 64 << 20
LOW_WATER = 16 << 20
"""Bytes for one machine, as for a node that does not read (cluster.broker.queues)."""

LIMIT = 4 * HIGH_WATER
"""Bytes for one machine above which batches are dropped. Nodes pause their publishers long before,
unless handlers publish nevertheless."""

PAYLOAD_BYTES = 1 << 20
"""Bytes of one payload, if it has more than one batch. So a refused one is not too long to write
again, and a turn with payloads for many machines is not too long for the engine."""


class InboxQueue:
    """The batches and the snapshot for one member."""

    def __init__(self) -> None:
        self.marks = WaterMarks(HIGH_WATER, LOW_WATER)
        self.lost: dict[tuple[str, str], None] = {}
        """The (origin, destination) of batches that were dropped."""
        self._is_refused = False
        self._batches: deque[tuple[int, RoutedBatch]] = deque()
        self._pieces: Iterator[SnapshotPiece] = iter(())
        self._payload = b""
        self._payload_size = 0  # of its batches
        self._payload_count = 0

    @property
    def batch_count(self) -> int:
        """The batches that wait, those of a payload that is being written included."""
        return len(self._batches) + self._payload_count

    def add(self, batch: RoutedBatch, events: int) -> bool:
        """Queue a batch, behind so many events; returns False if it is dropped."""
        if self.marks.level > LIMIT:
            self.lost[batch.origin, batch.destination] = None
            return False
        self._batches.append((events, batch))
        self.marks.add(len(batch.data))
        return True

    def add_snapshot(self, pieces: Iterator[SnapshotPiece]) -> None:
        """Send a snapshot. Its member has no nodes yet, so nothing else waits."""
        self._pieces = pieces

    def payload(self, events: int) -> bytes:
        """The next payload, after so many events are written; empty if there is none."""
        if self._is_refused:
            return b""
        if not self._payload:
            piece = next(self._pieces, None)
            self._payload = self._next_batches(events) if piece is None else encode_piece(piece)
        return self._payload

    def _next_batches(self, events: int) -> bytes:
        batches: list[RoutedBatch] = []
        size = 0
        while self._batches:
            after, batch = self._batches[0]
            if after > events or (batches and size + len(batch.data) > PAYLOAD_BYTES):
                break
            self._batches.popleft()
            batches.append(batch)
            size += len(batch.data)
        self._payload_size = size
        self._payload_count = len(batches)
        return encode_batches(batches) if batches else b""

    def written(self) -> bool:
        """The payload was written; returns True if a full queue has room again."""
        size, self._payload_size = self._payload_size, 0
        self._payload = b""
        self._payload_count = 0
        return self.marks.remove(size)

    def refused(self) -> None:
        """The payload was not written; it is the next one after ``retry``."""
        self._is_refused = True

    def retry(self) -> None:
        """The inbox may have room now."""
        self._is_refused = False
