"""How many workers of a game are connected to each node, and what is missing. No I/O, no clock.

Each node publishes its own counts; the counts of a node that is gone vanish. A running game waits
for the cells that are not connected, but not longer than RESUME_TIMEOUT_S.
"""

from typing import Any

RESUME_TIMEOUT_S = 30.0
"""Seconds that a running game waits for workers that are not connected. A node is replaced within
three seconds and clients reconnect at once, so after this time they will not return."""


class Counts:
    """The counts of all nodes for one game of ``needed`` workers.

    ``lost`` is empty while every worker is connected: node -> how many workers it had when it was
    gone.
    """

    def __init__(self, needed: int) -> None:
        self.needed = needed
        self.lost: dict[str, int] = {}
        self._of_nodes: dict[str, tuple[int, int]] = {}
        self._missing_since: float | None = None

    @property
    def connected(self) -> int:
        """The workers that are connected, on all nodes."""
        return sum(connected for connected, _ in self._of_nodes.values())

    @property
    def subscribed(self) -> int:
        """The workers that have subscribed to their neighbours, on all nodes."""
        return sum(subscribed for _, subscribed in self._of_nodes.values())

    @property
    def missing(self) -> int:
        """The workers that are not connected."""
        return max(0, self.needed - self.connected)

    def take(self, node: str, connected: int, subscribed: int) -> None:
        """Apply the newest counts of a node."""
        self._of_nodes[node] = (connected, subscribed)
        if not self.missing:
            self.lost.clear()

    def forget(self, node: str) -> bool:
        """A node is gone. Returns whether it had workers."""
        connected, _ = self._of_nodes.pop(node, (0, 0))
        if connected:
            self.lost[node] = connected
        return connected > 0

    def keep(self, nodes: Any) -> bool:
        """Forget all nodes but these. Returns whether one of them had workers."""
        gone = [node for node in self._of_nodes if node not in nodes]
        return any([self.forget(node) for node in gone])

    def overdue(self, now: float) -> int:
        """How many workers have been missing for too long. Call this about once a second.

        now: seconds of a monotonic clock.
        """
        missing = self.missing
        if not missing:
            self._missing_since = None
            return 0
        if self._missing_since is None:
            self._missing_since = now
        return missing if now - self._missing_since >= RESUME_TIMEOUT_S else 0
