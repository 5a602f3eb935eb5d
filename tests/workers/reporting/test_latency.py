from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from workers.reporting.latency import Latencies


class LatencyTests(SynchronousTestCase):
    def test_empty(self) -> None:
        self.assertIsNone(Latencies().percentile(50))

    def test_percentiles(self) -> None:
        latencies = Latencies()
        latencies.add(n / 1000 for n in range(1, 101))
        self.assertEqual(len(latencies), 100)
        self.assertApproximates(latencies.percentile(50), 0.050, 0.050 / 90)
        self.assertApproximates(latencies.percentile(99), 0.099, 0.099 / 90)

    @given(st.floats(0, 3600))
    def test_error_is_bounded(self, seconds: float) -> None:
        latencies = Latencies()
        latencies.add([seconds])
        found = latencies.percentile(99)
        assert found is not None
        self.assertGreaterEqual(found, seconds - 1e-6)
        self.assertLessEqual(found, seconds * 1.01 + 2e-6)

    def test_memory_is_bounded(self) -> None:
        latencies = Latencies()
        latencies.add(n / 1e6 for n in range(200_000))
        self.assertLess(len(latencies.counts()), 2500)

    def test_merged(self) -> None:
        one, other = Latencies(), Latencies()
        one.add([0.001] * 99)
        other.add([0.1] * 99)
        one.merge(Latencies(other.counts()))
        self.assertEqual(len(one), 198)
        self.assertApproximates(one.percentile(50), 0.001, 0.0001)
        self.assertApproximates(one.percentile(51), 0.1, 0.004)
