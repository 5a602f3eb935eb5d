"""Durations with bounded memory and a bounded relative error: an HDR histogram.

`hdrh` (http://hdrhistogram.org) counts a duration in a bucket that is at most 1% wide, from a
microsecond to an hour, in some twenty kilobytes. Histograms of several processes add up, which
percentiles do not.
"""

from collections import Counter
from collections.abc import Iterable

from hdrh.histogram import HdrHistogram

LONGEST_US = 3_600_000_000
"""An hour. Anything longer counts as that."""

DIGITS = 2
"""Significant decimal digits: 1%. A third would take eight times the memory, and no clock of a
loaded machine is that good."""


class Latencies:
    """Counts durations; `add` is for many at a time."""

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        self._histogram = HdrHistogram(1, LONGEST_US, DIGITS)
        for microseconds, count in counts:
            self._record(microseconds, count)

    def add(self, seconds: Iterable[float]) -> None:
        # Counted first, so that the histogram is called once for each distinct microsecond.
        for microseconds, count in Counter([int(s * 1e6) for s in seconds]).items():
            self._record(microseconds, count)

    def merge(self, other: "Latencies") -> None:
        self._histogram.add(other._histogram)

    def counts(self) -> list[tuple[int, int]]:
        """For another process: give it to the constructor there."""
        return [
            (int(item.value_iterated_to), int(item.count_added_in_this_iter_step))
            for item in self._histogram.get_recorded_iterator()
        ]

    def __len__(self) -> int:
        return int(self._histogram.get_total_count())

    def percentile(self, percent: float) -> float | None:
        """In seconds: `percent` of the durations are at most so long; None without any."""
        if not len(self):
            return None
        return int(self._histogram.get_value_at_percentile(percent)) / 1e6

    def _record(self, microseconds: int, count: int) -> None:
        self._histogram.record_value(min(max(1, microseconds), LONGEST_US), count)
