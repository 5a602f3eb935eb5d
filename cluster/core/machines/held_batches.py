"""Batches that have arrived before the log entries that their sender had applied.

A node subscribes to a topic, then asks another node for an answer on it: the subscription is in the
log, the request in an inbox. Both streams are read together, but not as one. So a gateway holds a
payload until it has applied the entry that the sender names, and delivers the payloads of a sender
in their order.
"""

from collections import deque

from cluster.core.machines.engine import log_order
from cluster.core.machines.inbox_payloads import RoutedBatch

Batches = tuple[RoutedBatch, ...]


class HeldBatches:
    """The payloads that wait, by sender. ``count`` is their number."""

    def __init__(self) -> None:
        self.count = 0
        self._by_sender: dict[str, deque[tuple[tuple[int, int], Batches]]] = {}

    def add(self, sender: str, after: str, batches: Batches) -> None:
        """Hold a payload until the log entry ``after`` is applied."""
        self._by_sender.setdefault(sender, deque()).append((log_order(after), batches))
        self.count += 1

    def release(self, applied: str) -> list[RoutedBatch]:
        """The batches to deliver, now that this log entry is applied."""
        if not self.count:
            return []
        released: list[RoutedBatch] = []
        order = log_order(applied)
        for sender, held in list(self._by_sender.items()):
            while held and held[0][0] <= order:
                released += held.popleft()[1]
                self.count -= 1
            if not held:
                del self._by_sender[sender]
        return released
