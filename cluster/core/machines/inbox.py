"""Inbox: what other gateways and external processes send to this one.

A node subscribes to a topic, then asks another node for an answer on it: the subscription is in the
log, the request in an inbox. Both are read together, but not as one: an inbox entry may arrive
first. So batches are held until the log entry that their sender names is applied, and those of one
sender keep their order.
"""

from collections import Counter, deque

from cluster.core.exceptions import WireError
from cluster.core.machines.encodings.inbox_payloads import (
    RoutedBatch,
    SnapshotPiece,
    decode_inbox_payload,
)
from cluster.core.machines.engine import EXTERNAL, START, InboxEntry, log_order

Requests = list[tuple[str, bytes]]
"""External requests: their IDs and contents."""


class Inbox:
    """``last`` is the last entry that was taken. ``dropped`` counts what is malformed."""

    def __init__(self, dropped: Counter[str]) -> None:
        self.last = START
        self._dropped = dropped
        self._held: dict[str, deque[tuple[tuple[int, int], tuple[RoutedBatch, ...]]]] = {}
        self._requests: Requests = []

    def take(self, entry: InboxEntry) -> SnapshotPiece | None:
        """Take the next entry; one that was taken before has no effect.

        Returns a piece of a snapshot, because nothing must hold it.
        """
        if log_order(entry.id) <= log_order(self.last):
            return None
        self.last = entry.id
        if entry.kind == EXTERNAL:
            self._requests.append((entry.member, entry.data))
            return None
        try:
            payload = decode_inbox_payload(entry.data)
        except WireError:
            self._dropped["malformed"] += 1
            return None
        if isinstance(payload, SnapshotPiece):
            return payload
        self._held.setdefault(entry.member, deque()).append((log_order(entry.after), payload))
        return None

    def release(self, applied: str) -> list[RoutedBatch]:
        """The batches to deliver, now that this log entry is applied."""
        if not self._held:
            return []
        released: list[RoutedBatch] = []
        order = log_order(applied)
        for sender, held in list(self._held.items()):
            while held and held[0][0] <= order:
                released += held.popleft()[1]
            if not held:
                del self._held[sender]
        return released

    def requests(self) -> Requests:
        """The external requests since the last call."""
        requests, self._requests = self._requests, []
        return requests

    def clear(self) -> None:
        """Forget everything, and count it: the inbox is another one."""
        self._dropped["external_requests"] += len(self._requests)
        for held in self._held.values():
            self._dropped["machine_gone"] += sum(len(batches) for _, batches in held)
        self._held.clear()
        self._requests.clear()
        self.last = START
