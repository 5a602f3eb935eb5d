"""Tests of cluster.core.histogram."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.histogram import Histogram

BOUNDS = (0.01, 0.1, 1.0)


class HistogramTests(SynchronousTestCase):
    def test_durations_are_counted_up_to_each_bound(self) -> None:
        histogram = Histogram(BOUNDS)
        for seconds in (0.0, 0.01, 0.05, 5.0):
            histogram.observe(seconds)
        self.assertEqual(
            histogram.as_dict(),
            {"sum": 5.06, "buckets": [("0.01", 2), ("0.1", 3), ("1.0", 3), ("+Inf", 4)]},
        )

    @given(st.lists(st.floats(0, 10)))
    def test_the_counts_are_those_of_all_durations(self, durations: list[float]) -> None:
        histogram = Histogram(BOUNDS)
        for seconds in durations:
            histogram.observe(seconds)
        found = json.loads(json.dumps(histogram.as_dict()))
        for bound, count in found["buckets"]:
            self.assertEqual(count, sum(seconds <= float(bound) for seconds in durations))
