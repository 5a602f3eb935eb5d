"""Sequence numbers per origin: in order, duplicate or gap.

The rules:

* an origin numbers what it sends to one destination 1, 2, 3, …;
* a number already passed is a DUPLICATE and must not be delivered again;
* a number further on than the next is a GAP: what is between is lost (the links are FIFO), and
  the one at hand is delivered;
* anything below 1 is not a sequence number.
"""

from enum import Enum


class Verdict(Enum):
    """What a sequence number says about the message that carries it."""

    IN_ORDER = "in order"
    DUPLICATE = "duplicate"
    GAP = "gap"


class SequenceTracker:
    """Follows the numbers of one origin; ``missing`` counts what gaps have swallowed."""

    __slots__ = ("last", "missing")

    def __init__(self) -> None:
        self.last = 0
        self.missing = 0

    def observe(self, number: int) -> Verdict:
        """Take the number of a message that has arrived; raises ValueError below 1."""
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
