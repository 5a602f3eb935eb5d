"""Rebuilds a board whose summaries are incomplete, because a node was killed or started late.

A node that needs the board asks all nodes for the states of their cells. Each node answers with the
step and state of each cell, then continues with its summaries. Messages of one node arrive in its
order, so its answer and the summaries after it have each report once. The cells are at different
steps; the board is complete at the highest of them, as soon as every cell has reached it.

The answer of a node: for each of its cells u32 code, u32 step.
"""

from __future__ import annotations  # array is generic only from Python 3.12 on

from array import array
from collections import Counter
from collections.abc import Iterable

from django_project.gameoflife.summary import from_bytes, read_summary, to_bytes


class Conflict(Exception):
    """Two nodes have answered for one cell, which has moved from one to the other: ask again."""


def encode_states(cells: Iterable[tuple[int, int]]) -> bytes:
    """Encode a node's answer: (code, step) of each of its cells."""
    words = array("I")
    for cell in cells:
        words.extend(cell)
    return to_bytes(words)


class Rebuild:
    """Call ``states`` with each node's answer and ``summary`` with each summary.

    When ``complete`` is True, ``bits`` is the board at ``step``, and ``later`` has the summaries
    that have reports of later steps.
    """

    def __init__(self, size: int) -> None:
        self.bits = bytearray((size * size + 7) // 8)
        self.step = -1
        self.later: list[tuple[int, int, array[int]]] = []
        self._cells = size * size
        self._steps: dict[int, int] = {}  # index -> step
        self._alive: set[int] = set()
        self._answered: set[str] = set()
        self._summaries: list[bytes] = []
        self._later_counts: Counter[int] = Counter()
        self._needed = -1  # reports up to ``step`` that are missing; -1: not all cells are known

    @property
    def incomplete(self) -> bool:
        """Whether reports up to ``step`` are missing that will not come: a later step, in which
        each cell has reported, is complete."""
        return self._needed > 0 and any(n >= self._cells for n in self._later_counts.values())

    @property
    def gathered(self) -> bool:
        """Whether each cell's state of some step is known."""
        return self._needed >= 0

    @property
    def complete(self) -> bool:
        """Whether every cell's state of ``step`` is known."""
        return self._needed == 0

    def states(self, node: str, answer: bytes) -> None:
        """Apply a node's answer. Raises Conflict."""
        if node in self._answered:
            return
        self._answered.add(node)
        words = from_bytes(answer)
        for code, step in zip(words[::2], words[1::2], strict=True):
            index = code >> 1
            if index in self._steps:
                raise Conflict
            self._steps[index] = step
            if code & 1:
                self._alive.add(index)
        if len(self._steps) == self._cells:
            self.step = max(self._steps.values())
            self._needed = sum(self.step - step for step in self._steps.values())
            summaries, self._summaries = self._summaries, []
            for data in summaries:
                self._apply(data)
            self._finish()

    def summary(self, node: str, data: bytes) -> None:
        """Apply a summary of a node that has answered; earlier ones are in its answer."""
        if node not in self._answered:
            return
        if self._needed < 0:
            self._summaries.append(data)
        else:
            self._apply(data)
            self._finish()

    def _apply(self, data: bytes) -> None:
        # By step: a cell's newest state must be applied last.
        for step, count, codes in sorted(read_summary(data), key=lambda entry: entry[0]):
            if step > self.step:
                self.later.append((step, count, codes))
                self._later_counts[step] += count
                continue
            self._needed -= count
            for code in codes:
                (self._alive.add if code & 1 else self._alive.discard)(code >> 1)

    def _finish(self) -> None:
        if self.complete:
            for index in self._alive:
                self.bits[index >> 3] |= 1 << (index & 7)
