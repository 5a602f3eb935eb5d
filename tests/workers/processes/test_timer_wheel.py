from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from workers.processes.timer_wheel import TICK, TimerWheel


class TimerWheelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timer_wheel = TimerWheel(self.clock)
        self.called: list[str] = []

    def later(self, seconds: float, name: str) -> None:
        self.timer_wheel.later(seconds, lambda: self.called.append(name))

    def test_calls_are_in_order_and_never_early(self) -> None:
        self.later(2, "b")
        self.later(1, "a")
        self.clock.advance(0.99)
        self.assertEqual(self.called, [])
        self.clock.advance(0.01 + TICK)
        self.assertEqual(self.called, ["a"])
        self.clock.advance(1 + TICK)
        self.assertEqual(self.called, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_timers_share_one_reactor_call(self) -> None:
        for n in range(1000):
            self.later(60 + n % 7, str(n))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(len(self.timer_wheel), 1000)
        self.clock.pump([TICK] * int(68 / TICK))
        self.assertEqual(len(self.called), 1000)
        self.assertEqual(self.called[:2], ["0", "7"])

    def test_no_delay_means_the_next_tick(self) -> None:
        def again() -> None:
            self.called.append("again")
            self.timer_wheel.later(0, again)

        again()
        self.clock.advance(TICK)
        self.assertEqual(len(self.called), 2)

    def test_an_exception_does_not_stop_the_timer_wheel(self) -> None:
        self.timer_wheel.later(1, lambda: 1 // 0)
        self.later(2, "b")
        self.assertRaises(ZeroDivisionError, self.clock.advance, 1 + TICK)
        self.clock.advance(1 + TICK)
        self.assertEqual(self.called, ["b"])

    def test_stop_drops_pending_calls(self) -> None:
        self.later(1, "a")
        self.timer_wheel.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.timer_wheel), 0)
