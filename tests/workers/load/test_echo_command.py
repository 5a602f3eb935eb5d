"""Whether the peak was reached, and the reason if it was missed."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from workers.load.echo_command import peak_reached, why_missed


class PeakTests(SynchronousTestCase):
    def report(self, full_at: float | None, first_end: float | None) -> dict[str, Any]:
        return {"full_at": full_at, "first_end": first_end}

    def test_the_peak_is_reached_if_all_are_full_before_the_first_end(self) -> None:
        self.assertTrue(peak_reached([self.report(10, 15), self.report(11, 14)]))
        self.assertTrue(peak_reached([self.report(10, None)]))

    def test_the_peak_is_missed_if_one_is_full_too_late_or_never(self) -> None:
        self.assertFalse(peak_reached([self.report(10, 11), self.report(12, 13)]))
        self.assertFalse(peak_reached([self.report(10, 15), self.report(None, 14)]))
        self.assertFalse(peak_reached([]))

    def test_reasons(self) -> None:
        self.assertEqual(why_missed(12, 20, 5, 0.9, 1), "12 failed")
        slow = why_missed(0, 20, 5, busy=0.5, processes=1)
        self.assertIn("connecting took 20.0 s, but the first clients ended after 15 s", slow)
        self.assertIn("use --delay 12, or a server with more --nodes", slow)
        self.assertIn("--processes 2", why_missed(0, 20, 5, busy=0.95, processes=1))
