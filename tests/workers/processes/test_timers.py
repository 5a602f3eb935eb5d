from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from workers.processes.timers import Timers


class TimersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.called: list[str] = []

    def after(self, name: str, delay: float, what: str) -> None:
        self.timers.after(name, delay, lambda: self.called.append(what))

    def test_a_new_timer_replaces_the_old_one(self) -> None:
        self.after("look", 1, "first")
        self.after("look", 2, "second")
        self.after("tally", 1, "other")
        self.clock.advance(2)
        self.assertEqual(self.called, ["other", "second"])

    def test_a_call_may_set_its_timer_again(self) -> None:
        self.timers.after("look", 1, lambda: self.after("look", 1, "again"))
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.called, ["again"])

    def test_a_cancelled_timer_does_not_run(self) -> None:
        self.after("look", 1, "never")
        self.timers.cancel("look")
        self.timers.cancel("look")
        self.after("a", 1, "never")
        self.after("b", 2, "never")
        self.timers.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
