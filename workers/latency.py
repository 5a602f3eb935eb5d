"""A histogram of durations with bounded memory and a bounded relative error.

Durations fall into buckets that grow with them, 32 to each doubling, so that a percentile is at
most 3.2% too high from a microsecond to an hour, in at most a thousand counters. Histograms of
several processes add up, which percentiles do not.
"""

from collections import Counter
from collections.abc import Iterable

_BITS = 5  # 2**5 = 32 buckets to each doubling


def _bucket(microseconds: int) -> int:
    """The bucket's lower end, in microseconds: the number's highest six bits, the rest zero."""
    rest = microseconds.bit_length() - _BITS - 1
    return microseconds >> rest << rest if rest > 0 else microseconds


def _upper_end(bucket: int) -> int:
    rest = bucket.bit_length() - _BITS - 1
    return bucket + (1 << rest) - 1 if rest > 0 else bucket


class Latencies:
    """Counts durations; `add` is for many at a time."""

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        self._counts = Counter(dict(counts))

    def add(self, seconds: Iterable[float]) -> None:
        # Two counters, so that the Python code runs once for each distinct microsecond.
        for microseconds, count in Counter([int(s * 1e6) for s in seconds]).items():
            self._counts[_bucket(max(0, microseconds))] += count

    def merge(self, other: "Latencies") -> None:
        self._counts.update(other._counts)

    def counts(self) -> list[tuple[int, int]]:
        """For another process: give it to the constructor there."""
        return sorted(self._counts.items())

    def __len__(self) -> int:
        return self._counts.total()

    def percentile(self, percent: float) -> float | None:
        """In seconds: `percent` of the durations are at most so long; None without any."""
        wanted = self._counts.total() * percent / 100
        seen = 0
        for bucket, count in self.counts():
            seen += count
            if seen >= wanted:
                return _upper_end(bucket) / 1e6
        return None
