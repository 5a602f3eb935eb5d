"""Histogram: how many durations were at most so long, as Prometheus counts them."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any


class Histogram:
    """Counts durations in buckets.

    Args:
        bounds: The upper bounds of the buckets in seconds, in ascending order. One more bucket has
            all longer durations.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def as_dict(self) -> dict[str, Any]:
        """The statistics, for JSON.

        Returns:
            ``sum``, the sum of all durations in seconds, and ``buckets``, pairs of an upper bound
            as text and the number of durations that are not longer.
        """
        bounds = (*map(str, self._bounds), "+Inf")
        return {
            "sum": self._sum,
            "buckets": list(zip(bounds, accumulate(self._counts), strict=True)),
        }
