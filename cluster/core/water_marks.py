"""WaterMarks: the fill level of a queue, with hysteresis.

A queue is full when its level passes the high-water mark, and stays full until the level is at or
below the low-water mark. So its owner stops and resumes the sources of the queue once, rather than
with each message around a single limit.
"""

HIGH_WATER = 1 << 20
"""Bytes that may wait for a client; the node closes a connection that has more. It is a setting,
because 10,000 clients that do not read hold up to 10 GiB."""

LOW_WATER = 1 << 18
"""Bytes below which a connection that was full accepts output again."""


class WaterMarks:
    """A queue's fill level. Levels and marks have the same unit, bytes or messages.

    Raises ValueError unless 0 <= low <= high.
    """

    __slots__ = ("full", "high", "level", "low")

    def __init__(self, high: int, low: int) -> None:
        if not 0 <= low <= high:
            raise ValueError(f"marks must be 0 <= low <= high, not low={low} high={high}")
        self.high = high
        self.low = low
        self.level = 0
        self.full = False

    def add(self, amount: int) -> bool:
        """Count output that was queued; returns True if that filled it: pause the sources."""
        self.level += amount
        if self.full or self.level <= self.high:
            return False
        self.full = True
        return True

    def remove(self, amount: int) -> bool:
        """Count output that was sent; returns True if a full queue has room again: resume them."""
        self.level = max(0, self.level - amount)
        if not self.full or self.level > self.low:
            return False
        self.full = False
        return True
