"""What to do with output for a connection whose socket does not take it.

The rules:

* a connection that is not blocked always SENDs;
* a blocked one HOLDs its output up to the high-water mark;
* above it, a subscription whose values may be skipped CONFLATEs (the newest value follows when
  the socket drains), any other CLOSEs the connection, because every message matters;
* once above, it stays above until the queue falls below the low-water mark.

This file does not know what a socket is; callers hand in sizes in bytes.
"""

from enum import Enum

HIGH_WATER = 1 << 20
"""Bytes a blocked connection may hold: with 10,000 connections the worst case is 10 GiB, which is
why the mark is a setting, while one slow reader of a busy topic is cut off after a second or so."""

LOW_WATER = 1 << 18
"""Bytes below which a connection that was above the mark takes part again."""


class Decision(Enum):
    """What the owner of the queue has to do with the next output."""

    SEND = "send"
    HOLD = "hold"
    CONFLATE = "conflate"
    CLOSE = "close"


def decide(queued_bytes: int, high_water: int, conflating: bool, blocked: bool = True) -> Decision:
    """Say what to do with a connection that has ``queued_bytes`` waiting.

    ``blocked``: the kernel did not take all of the last output.
    ``conflating``: what would be queued may be replaced by a newer value later.
    """
    if not blocked:
        return Decision.SEND
    if queued_bytes <= high_water:
        return Decision.HOLD
    return Decision.CONFLATE if conflating else Decision.CLOSE


class WaterMarks:
    """A queue's fill level with hysteresis: full above ``high``, free again below ``low``.

    Units are the caller's (bytes or messages), as long as they are the same throughout.
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
        """Count output queued; True if this filled the queue (call it once: stop the sources)."""
        self.level += amount
        if self.full or self.level <= self.high:
            return False
        self.full = True
        return True

    def remove(self, amount: int) -> bool:
        """Count output gone; True if this freed a full queue (let the sources go on)."""
        self.level = max(0, self.level - amount)
        if not self.full or self.level > self.low:
            return False
        self.full = False
        return True
