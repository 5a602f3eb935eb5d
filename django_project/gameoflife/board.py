"""The board for watchers, assembled from the reports of the cells on all nodes.

Each node collects the reports of its own cells, and every few milliseconds publishes them to all
nodes as a summary. A step is complete when every cell has reported it. So the board changes from
one complete generation to the next, even when some cells are several steps ahead. This module does
not know the rules of the game.

A cell's state is coded as ``index * 2 + state`` with ``index = row * size + column``.
"""

from __future__ import annotations  # array is generic only from Python 3.12 on

import struct
from array import array
from collections.abc import Callable, Iterable

from django_project.gameoflife.rebuild import Conflict, Rebuild
from django_project.gameoflife.summary import read_summary, to_bytes

MAX_STEPS_AHEAD = 4096
"""Incomplete steps that a board keeps. Correct cells are at most as many steps apart as the grid is
wide; only clients that do not wait for their neighbours are further ahead."""


class Board:
    """All cells' states of the newest complete step; ``step`` is -1 before the first.

    ``incomplete``: reports are missing that will not come, so the next step will never be complete.
    Then call ``rebuild``, ask all nodes for the states of their cells, and pass the answers to
    ``states``. Until it has all of them, the board stays as it is.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.step = -1
        self.incomplete = False
        self.bits = bytearray((size * size + 7) // 8)
        self._under_way: dict[int, tuple[list[int], array[int]]] = {}
        self._rebuild: Rebuild | None = None

    @property
    def waiting(self) -> bool:
        """Whether there are reports of steps that are not complete."""
        return bool(self._under_way) or self._rebuild is not None

    def rebuild(self) -> None:
        """Take nothing from summaries until each node has sent the states of its cells."""
        self.incomplete = False
        self._rebuild = Rebuild(self.size)

    def states(self, node: str, answer: bytes) -> bool:
        """Apply a node's answer. Returns whether the board has been replaced by a later one."""
        if self._rebuild is None:
            return False
        try:
            self._rebuild.states(node, answer)
        except Conflict:
            self.rebuild()
            self.incomplete = True
            return False
        return self._replaced()

    def summary(self, node: str, summary: bytes) -> bool:
        """Apply a summary while the board is rebuilt. Returns as ``states`` does."""
        if self._rebuild is None:
            return False
        self._rebuild.summary(node, summary)
        self.incomplete = self._rebuild.incomplete
        return self._replaced()

    @property
    def rebuilding(self) -> bool:
        """Whether summaries go to ``summary`` in place of ``apply``."""
        return self._rebuild is not None

    @property
    def gathered(self) -> bool:
        """Whether the nodes have answered for all cells, so that only reports are missing."""
        return self._rebuild is None or self._rebuild.gathered

    def _replaced(self) -> bool:
        rebuilt = self._rebuild
        if rebuilt is None or not rebuilt.complete:
            return False
        self._rebuild = None
        self.step, self.bits = rebuilt.step, rebuilt.bits
        self._under_way = {}
        for step, count, codes in rebuilt.later:
            self._add(step, count, codes)
        return True

    def _add(self, step: int, count: int, codes: array[int]) -> None:
        entry = self._under_way.get(step)
        if entry is None:
            entry = self._under_way[step] = ([0], array("I"))
        entry[0][0] += count
        entry[1].extend(codes)

    def apply(self, summary: bytes, each: Callable[[], object] = lambda: None) -> array[int] | None:
        """Add a node's summary; returns the changes of the steps that it completes, or None.

        If it completes several steps, the changes are those of all of them, newest last. ``each``
        is called after each of these steps, while the board shows it.
        """
        self.incomplete = False
        for step, count, codes in read_summary(summary):
            if self.step < step <= self.step + MAX_STEPS_AHEAD:
                self._add(step, count, codes)
            elif step > self.step:
                self.incomplete = True
        changes: array[int] | None = None
        while self.step + 1 in self._under_way:
            counter, codes = self._under_way[self.step + 1]
            if counter[0] < self.size * self.size:
                break
            del self._under_way[self.step + 1]
            self.step += 1
            self._set(codes)
            each()
            if changes is None:
                changes = codes
            else:
                changes.extend(codes)
        # Each cell reports its steps in order, so a complete step has no incomplete one before it.
        for counter, _ in self._under_way.values():
            if counter[0] >= self.size * self.size:
                self.incomplete = True
        return changes

    def state(self, index: int) -> int:
        """1 if the cell is alive, 0 if it is dead."""
        return self.bits[index >> 3] >> (index & 7) & 1

    def snapshot(self) -> bytes:
        """The 'S' message: u16 size, u32 step, one bit a cell (bit i of byte b is cell 8*b + i)."""
        return struct.pack("<cHI", b"S", self.size, max(0, self.step)) + bytes(self.bits)

    def delta(self, codes: array[int]) -> bytes:
        """The 'D' message: u32 step, u32 n, n * u32 code."""
        head = struct.pack("<cII", b"D", max(0, self.step), len(codes))
        return head + to_bytes(codes)

    def frames(self) -> Iterable[str]:
        """Every cell as the frame that its worker sent: "step row column state"."""
        if self.step < 0:
            return
        size, step = self.size, self.step
        for index in range(size * size):
            yield f"{step} {index // size} {index % size} {self.state(index)}"

    def _set(self, codes: array[int]) -> None:
        bits = self.bits
        for code in codes:
            index = code >> 1
            if code & 1:
                bits[index >> 3] |= 1 << (index & 7)
            else:
                bits[index >> 3] &= ~(1 << (index & 7))
