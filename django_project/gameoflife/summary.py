"""Arrays of 32-bit words as little-endian bytes, and the summaries that consist of them."""

from __future__ import annotations  # array is generic only from Python 3.12 on

import sys
from array import array
from collections.abc import Iterator


def to_bytes(words: array[int]) -> bytes:
    """Encode words as little-endian bytes."""
    if sys.byteorder == "big":
        words = array("I", words)
        words.byteswap()
    return words.tobytes()


def from_bytes(data: bytes) -> array[int]:
    """Decode little-endian bytes as words."""
    words = array("I")
    words.frombytes(data)
    if sys.byteorder == "big":
        words.byteswap()
    return words


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
        return to_bytes(words)


def read_summary(data: bytes) -> Iterator[tuple[int, int, array[int]]]:
    """Decode a summary: (step, number of reports, codes of the changed cells) for each step."""
    words = from_bytes(data)
    at = 0
    while at < len(words):
        step, count, changes = words[at : at + 3]
        yield step, count, words[at + 3 : at + 3 + changes]
        at += 3 + changes
