"""The board for watchers, assembled from the reports of the cells on all nodes.

Each node collects the reports of its own cells, and every few milliseconds publishes them to all
nodes as a summary. A step is complete when every cell has reported it. So the board changes from
one complete generation to the next, even when some cells are several steps ahead. This module does
not know the rules of the game.

A cell's state is coded as ``index * 2 + state`` with ``index = row * size + column``.
"""

from __future__ import annotations  # array is generic only from Python 3.12 on

import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator

MAX_STEPS_AHEAD = 4096
"""Incomplete steps that a board keeps. Correct cells are at most as many steps apart as the grid is
wide; only clients that do not wait for their neighbours are further ahead."""


class Summary:
    """One node's reports since its last summary: step -> their number, and the changed cells."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps: dict[int, tuple[list[int], array[int]]] = {}

    def report(self, step: int, code: int, changed: bool) -> None:
        """Add a cell's report; ``changed``: its state differs from that of the step before."""
        entry = self.steps.get(step)
        if entry is None:
            entry = self.steps[step] = ([0], array("I"))
        entry[0][0] += 1
        if changed:
            entry[1].append(code)

    def take(self) -> bytes:
        """Return the reports since the last call, encoded.

        For each step: u32 step, u32 reports, u32 n, n * u32 code.
        """
        words = array("I")
        for step, (count, codes) in self.steps.items():
            words.extend((step, count[0], len(codes)))
            words.extend(codes)
        self.steps = {}
        return _to_little_endian(words)


def read_summary(data: bytes) -> Iterator[tuple[int, int, array[int]]]:
    """Decode a summary: (step, number of reports, codes of the changed cells) for each step."""
    words = array("I")
    words.frombytes(data)
    if sys.byteorder == "big":
        words.byteswap()
    at = 0
    while at < len(words):
        step, count, changes = words[at : at + 3]
        yield step, count, words[at + 3 : at + 3 + changes]
        at += 3 + changes


class Board:
    """All cells' states of the newest complete step; ``step`` is -1 before the first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.step = -1
        self.bits = bytearray((size * size + 7) // 8)
        self._under_way: dict[int, tuple[list[int], array[int]]] = {}

    def apply(self, summary: bytes, each: Callable[[], object] = lambda: None) -> array[int] | None:
        """Add a node's summary; returns the changes of the steps that it completes, or None.

        If it completes several steps, the changes are those of all of them, newest last. ``each``
        is called after each of these steps, while the board shows it.
        """
        for step, count, codes in read_summary(summary):
            if not self.step < step <= self.step + MAX_STEPS_AHEAD:
                continue
            entry = self._under_way.get(step)
            if entry is None:
                entry = self._under_way[step] = ([0], array("I"))
            entry[0][0] += count
            entry[1].extend(codes)
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
        return head + _to_little_endian(codes)

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


def _to_little_endian(words: array[int]) -> bytes:
    if sys.byteorder == "big":
        words = array("I", words)
        words.byteswap()
    return words.tobytes()
