"""Barrier: waits for a number of parties, then lets all go at once.

The rules:

* a party is a (node, token) pair; arriving twice counts once;
* with ``expected`` parties the barrier is released when that many have arrived; with EVERY_NODE,
  when each live node has at least one party here;
* until then a party may withdraw, and a node that dies takes its parties with it;
* once released it stays released: whoever arrives later, or in excess, is refused;
* a barrier that another life of the broker had released is ``rejoin``ed; its missing parties, whose
  release may have been lost on the way, are let go as they arrive;
* a barrier nobody is part of any more can be forgotten (``empty``).
"""

from collections.abc import Collection, Iterable

EVERY_NODE = 0
"""Stands for a number of parties: one of each node that is alive."""


class Barrier:
    """The parties of one barrier. Callers check ``ready`` after each change and then release."""

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
        """Count parties in; returns the tokens that are refused."""
        refused = []
        mine = self._parties.setdefault(node, set())
        for token in tokens:
            if token in mine:
                continue
            full = self.expected and self._count >= self.expected
            if full or (self.released and not self.restored):
                refused.append(token)
                continue
            mine.add(token)
            self._count += 1
        if not mine:
            del self._parties[node]
        return refused

    def rejoin(self, node: str, tokens: Iterable[int]) -> None:
        """Count in parties that another life of the broker has let go already."""
        back = set(tokens)
        if not back:
            return
        self._parties.setdefault(node, set()).update(back)
        self._count = sum(map(len, self._parties.values()))
        self.restored = True

    def withdraw(self, node: str, tokens: Iterable[int]) -> None:
        """Take parties back; unknown ones are ignored."""
        mine = self._parties.get(node)
        if mine is None:
            return
        before = len(mine)
        mine.difference_update(tokens)
        self._count -= before - len(mine)
        if not mine:
            del self._parties[node]

    def forget(self, node: str) -> None:
        """Take back every party of a node that is gone."""
        self._count -= len(self._parties.pop(node, ()))

    def ready(self, live_nodes: Collection[str]) -> bool:
        """True if there are parties to let go now."""
        if self.restored:
            return True
        if self.released:
            return False
        if self.expected:
            return self._count >= self.expected
        return bool(live_nodes) and all(node in self._parties for node in live_nodes)

    def release(self) -> dict[str, tuple[int, ...]]:
        """Let all go; returns each node's parties."""
        self.released = True
        return {node: tuple(sorted(tokens)) for node, tokens in self._parties.items()}

    @property
    def count(self) -> int:
        """How many parties have arrived."""
        return self._count

    @property
    def empty(self) -> bool:
        """True if nobody is part of it."""
        return not self._parties
