"""Durations with bounded memory and a bounded relative error: an HDR histogram.

The package hdrhistogram (http://hdrhistogram.org) counts each duration in a bucket that is at most
1% wide, from a microsecond to an hour. Histograms of several processes can be merged, which
percentiles cannot.
"""

import sys
from collections import Counter
from collections.abc import Iterable

try:
    from hdrh.histogram import HdrHistogram
except ModuleNotFoundError:
    # Not a dependency of the server. Every subcommand imports this module when it starts.
    sys.exit('swarm: the load tool is not installed: pip install "django-c10k[swarm]"')

LONGEST_US = 3_600_000_000
"""An hour, in microseconds. Longer durations are counted as an hour."""

DIGITS = 2
"""Significant decimal digits, which means 1%. Measurements on a busy machine are not more precise,
and a third digit would need several times the memory."""


class Latencies:
    """A histogram of durations. Add many at a time, which is faster."""

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        self._histogram = HdrHistogram(1, LONGEST_US, DIGITS)
        for microseconds, count in counts:
            self._record(microseconds, count)

    def add(self, seconds: Iterable[float]) -> None:
        # Count them first, so that the histogram is called once for each distinct microsecond.
        for microseconds, count in Counter([int(s * 1e6) for s in seconds]).items():
            self._record(microseconds, count)

    def merge(self, other: "Latencies") -> None:
        self._histogram.add(other._histogram)

    def counts(self) -> list[tuple[int, int]]:
        """Return (microseconds, count) of each bucket, for the constructor in another process."""
        return [
            (int(item.value_iterated_to), int(item.count_added_in_this_iter_step))
            for item in self._histogram.get_recorded_iterator()
        ]

    def __len__(self) -> int:
        return int(self._histogram.get_total_count())

    def percentile(self, percent: float) -> float | None:
        """Return the percentile in seconds: `percent` of the durations do not exceed it.

        None if there are no durations.
        """
        if not len(self):
            return None
        return int(self._histogram.get_value_at_percentile(percent)) / 1e6

    def _record(self, microseconds: int, count: int) -> None:
        self._histogram.record_value(min(max(1, microseconds), LONGEST_US), count)
