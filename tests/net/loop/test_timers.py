"""Coarse timeouts: never early, at most a bucket late, cheap to cancel."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.loop.timers import BUCKET, CHUNK, CoarseTimers
from tests import profiles  # noqa: F401  # loads the Hypothesis profile


class CoarseTimersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timers = CoarseTimers(self.clock)
        self.ran: list[object] = []

    @given(st.floats(0, 10**6), st.floats(0, 100))
    def test_a_timeout_is_never_early_and_at_most_a_bucket_late(
        self, start: float, delay: float
    ) -> None:
        clock = Clock()
        clock.advance(start)
        ran: list[float] = []
        CoarseTimers(clock).call_later(delay, lambda: ran.append(clock.seconds()))
        clock.advance(delay * 0.999 - 1e-6 if delay else 0)
        self.assertEqual(ran, [])
        clock.advance(delay * 0.001 + BUCKET + 1e-5)
        self.assertEqual(len(ran), 1)

    def test_timeouts_that_are_due_together_share_a_reactor_call(self) -> None:
        for number in range(100):
            self.timers.call_later(10.0, self.ran.append, number)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(11)
        self.assertEqual(self.ran, list(range(100)))

    def test_a_cancelled_timeout_does_not_run_and_leaves_no_reactor_call(self) -> None:
        one = self.timers.call_later(10.0, self.ran.append, 1)
        two = self.timers.call_later(10.0, self.ran.append, 2)
        one.cancel()
        one.cancel()
        self.assertEqual(self.timers.pending, 1)
        two.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        three = self.timers.call_later(10.0, self.ran.append, 3)
        self.clock.advance(11)
        three.cancel()
        self.assertEqual(self.ran, [3])

    def test_a_call_may_cancel_timeouts_that_are_due_with_it(self) -> None:
        self.timers.call_later(1.0, lambda: other.cancel())
        other = self.timers.call_later(1.0, self.ran.append, "other")
        self.clock.advance(2)
        self.assertEqual((self.ran, self.clock.getDelayedCalls()), ([], []))

    def test_very_many_timeouts_run_in_several_turns(self) -> None:
        self.timers.call_later(1.0, lambda: self.clock.callLater(0, self.ran.append, "other"))
        for number in range(2 * CHUNK):
            self.timers.call_later(1.0, self.ran.append, number)
        self.clock.advance(2)
        self.assertEqual(self.ran.index("other"), CHUNK - 1)
        self.assertEqual(len(self.ran), 2 * CHUNK + 1)

    def test_an_exception_does_not_stop_other_calls(self) -> None:
        self.timers.call_later(1.0, lambda: 1 // 0)
        self.timers.call_later(1.0, self.ran.append, "other")
        self.clock.advance(2)
        self.assertEqual(self.ran, ["other"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
