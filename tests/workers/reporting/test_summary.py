from twisted.trial.unittest import SynchronousTestCase

from workers.reporting.latency import Latencies
from workers.reporting.summary import failure_lines, milliseconds, plural, times_line


class SummaryTests(SynchronousTestCase):
    def test_times(self) -> None:
        times = Latencies()
        times.add([0.001] * 98 + [0.1, 2.0])
        values = milliseconds(times, 50, 99, 99.9, 100)
        self.assertEqual(list(values), ["p50", "p99", "p99.9", "max"])
        assert values["max"] is not None
        self.assertTrue(2000 <= values["max"] <= 2064)
        self.assertEqual(
            times_line("x", {"p50": 1.234, "max": 2000}), "x: p50 1.2 ms, max 2,000.0 ms"
        )
        self.assertEqual(times_line("x", milliseconds(Latencies(), 50)), "x: nothing to measure")

    def test_failures(self) -> None:
        lines = failure_lines([{"failures": {"odd": 1}}, {"failures": {"connection refused": 2}}])
        self.assertEqual(lines[1], "1 time odd")
        self.assertTrue(lines[0].startswith("2 times connection refused; is the server running"))

    def test_plurals(self) -> None:
        self.assertEqual(plural(0, "step"), "0 steps")
        self.assertEqual(plural(1, "process", "processes"), "1 process")
        self.assertEqual(plural(1024, "process", "processes"), "1,024 processes")
