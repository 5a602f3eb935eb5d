"""Sequence numbers per origin: in order, duplicate or gap.

The rules:

* an origin numbers the batches that it sends to one destination 1, 2, 3, …;
* a number that is not above the last one is a DUPLICATE: the batch must not be delivered again;
* a number beyond the next one is a GAP. Links are FIFO, so the batches in between are lost; the
  batch itself is delivered;
* numbers below 1 are invalid.
"""

from enum import Enum


class Verdict(Enum):
    """The relation of a sequence number to the numbers before it."""

    IN_ORDER = "in order"
    DUPLICATE = "duplicate"
    GAP = "gap"


class SequenceTracker:
    """Follows the numbers of one origin; ``missing`` counts the numbers that gaps skipped."""

    __slots__ = ("last", "missing")

    def __init__(self) -> None:
        self.last = 0
        self.missing = 0

    def observe(self, number: int) -> Verdict:
        """Compare the number of a batch that has arrived; raises ValueError below 1."""
        expected = self.last + 1
        if number == expected:
            self.last = number
            return Verdict.IN_ORDER
        if number < 1:
            raise ValueError(f"sequence numbers start at 1, not {number}")
        if number < expected:
            return Verdict.DUPLICATE
        self.missing += number - expected
        self.last = number
        return Verdict.GAP
