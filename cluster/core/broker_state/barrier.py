"""Barrier: waits for a number of parties, then releases all of them at once.

The rules:

* a party is a (node, token) pair; arriving twice counts once;
* with ``expected`` parties the barrier is released when that many have arrived; with EVERY_NODE,
  when each live node has at least one party;
* before the release a party may withdraw, and a node that dies loses its parties;
* a released barrier stays released: it refuses parties that arrive later or in excess;
* ``rejoin`` restores a barrier that the previous broker released. The release may not have reached
  all parties, so the others are released as they arrive;
* a barrier without parties (``empty``) can be forgotten.
"""

from collections.abc import Collection, Iterable
from typing import Any

EVERY_NODE = 0
"""Pass this as ``expected`` to wait for one party of each live node."""


class Barrier:
    """The parties of one barrier.

    After each change call ``ready``, and ``release`` if it returns True.

    Raises ValueError if ``expected`` is negative.
    """

    __slots__ = ("_count", "_parties", "expected", "released", "restored")

    def __init__(self, expected: int) -> None:
        if expected < 0:
            raise ValueError(f"a barrier waits for 1 or more parties, not {expected}")
        self.expected = expected
        self.released = False
        self.restored = False
        self._parties: dict[str, set[int]] = {}
        self._count = 0

    def arrive(self, node: str, tokens: Iterable[int]) -> list[int]:
        """Add parties; returns the tokens that are refused."""
        refused = []
        arrived = self._parties.setdefault(node, set())
        for token in tokens:
            if token in arrived:
                continue
            full = self.expected and self._count >= self.expected
            if full or (self.released and not self.restored):
                refused.append(token)
                continue
            arrived.add(token)
            self._count += 1
        if not arrived:
            del self._parties[node]
        return refused

    def rejoin(self, node: str, tokens: Iterable[int]) -> None:
        """Add parties that the previous broker has released."""
        released = set(tokens)
        if not released:
            return
        self._parties.setdefault(node, set()).update(released)
        self._count = sum(map(len, self._parties.values()))
        self.restored = True

    def withdraw(self, node: str, tokens: Iterable[int]) -> None:
        """Remove parties; unknown tokens are ignored."""
        arrived = self._parties.get(node)
        if arrived is None:
            return
        before = len(arrived)
        arrived.difference_update(tokens)
        self._count -= before - len(arrived)
        if not arrived:
            del self._parties[node]

    def forget(self, node: str) -> None:
        """Remove all parties of a node that is gone."""
        self._count -= len(self._parties.pop(node, ()))

    def ready(self, live_nodes: Collection[str]) -> bool:
        """Whether there are parties to release now."""
        if self.restored:
            return True
        if self.released:
            return False
        if self.expected:
            return self._count >= self.expected
        return bool(live_nodes) and all(node in self._parties for node in live_nodes)

    def release(self) -> dict[str, tuple[int, ...]]:
        """Mark the barrier as released; returns the tokens of each node."""
        self.released = True
        return {node: tuple(sorted(tokens)) for node, tokens in self._parties.items()}

    def snapshot(self) -> tuple[Any, ...]:
        """All of it, as plain values for from_snapshot."""
        parties = tuple((node, tuple(sorted(tokens))) for node, tokens in self._parties.items())
        return (self.expected, self.released, self.restored, parties)

    @classmethod
    def from_snapshot(cls, values: tuple[Any, ...]) -> "Barrier":
        """The barrier with this snapshot."""
        expected, released, restored, parties = values
        barrier = cls(expected)
        barrier.released = released
        barrier.restored = restored
        barrier._parties = {node: set(tokens) for node, tokens in parties}
        barrier._count = sum(map(len, barrier._parties.values()))
        return barrier

    @property
    def count(self) -> int:
        """How many parties have arrived."""
        return self._count

    @property
    def empty(self) -> bool:
        """Whether the barrier has no parties."""
        return not self._parties
