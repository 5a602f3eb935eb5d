"""The messages of a broadcast, and which of them one subscriber has received.

    PUBLISHER NUMBER SENT    a message: NUMBER counts from 0 for each publisher; SENT is when it was
                             sent, in nanoseconds of the system's monotonic clock, which is the same
                             for all processes of a machine
    PUBLISHER                an announcement, before the broadcast begins: a client that receives
                             one is subscribed

Pure, without connections.
"""

from collections import Counter
from functools import lru_cache

ANNOUNCEMENT = -1  # the number that `parse` returns for an announcement


class UnknownMessage(Exception):
    """A subscriber has received a message that no publisher of this broadcast has sent."""


def message(publisher: int, number: int, sent: float) -> bytes:
    """Encode a message. sent: seconds."""
    return b"%d %d %d" % (publisher, number, int(sent * 1e9))


def announcement(publisher: int) -> bytes:
    return b"%d" % publisher


@lru_cache(maxsize=4096)
def parse(text: bytes) -> tuple[int, int, float]:
    """-> (publisher, number or ANNOUNCEMENT, seconds). Raises UnknownMessage.

    Cached, because each message arrives once for every subscriber of a process.
    """
    try:
        match text.split():
            case [publisher]:
                return int(publisher), ANNOUNCEMENT, 0.0
            case [publisher, number, sent]:
                return int(publisher), int(number), int(sent) / 1e9
    except ValueError:
        pass
    raise UnknownMessage(f"not a message of this broadcast: {text[:40]!r}")


class Delivery:
    """The messages that one subscriber has received.

    `expected[publisher]` is the number of the publisher's next message if none is lost. Hot code
    compares and increments it itself, and calls `unexpected` with any other number.
    """

    __slots__ = ("_missing", "_unannounced", "expected")

    def __init__(self, publishers: int) -> None:
        self.expected = [0] * publishers
        self._unannounced = set(range(publishers))
        self._missing: set[tuple[int, int]] = set()

    def announced(self, publisher: int) -> bool:
        """Note an announcement; returns whether it was the last one that was missing."""
        if publisher not in self._unannounced:
            return False
        self._unannounced.discard(publisher)
        return not self._unannounced

    def missing(self, publisher: int) -> set[int]:
        """The numbers below the expected one that have not arrived."""
        return {number for of, number in self._missing if of == publisher}

    def unexpected(self, publisher: int, number: int, counts: Counter[str]) -> bool:
        """Note a message that is not the expected one; returns whether it is new.

        counts: is incremented at "out_of_order" or "duplicates".
        """
        expected = self.expected[publisher]
        if number >= expected:
            self._missing.update((publisher, n) for n in range(expected, number))
            self.expected[publisher] = number + 1
            return True
        if (publisher, number) in self._missing:
            self._missing.discard((publisher, number))
            counts["out_of_order"] += 1
            return True
        counts["duplicates"] += 1
        return False
