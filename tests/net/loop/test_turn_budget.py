"""When a turn's budget is spent, and in which order the rest continues."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.net.loop.turn_budget import BACKLOG_S, SLICE_S, TURN_S, WAKE, TurnBudget


class Loop:
    """A reactor that runs one turn at a time."""

    def __init__(self) -> None:
        self._due: list[Any] = []

    def callLater(self, delay: float, function: Any) -> None:
        assert delay == 0
        self._due.append(function)

    def turn(self) -> None:
        """Run what is due now, but not what it schedules."""
        due, self._due = self._due, []
        for function in due:
            function()


class TurnBudgetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop: Any = Loop()
        self.time = 100.0
        self.budget = TurnBudget(self.loop, lambda: self.time)
        self.calls: list[Any] = []

    def test_the_first_look_begins_a_turn(self) -> None:
        self.assertFalse(self.budget.is_spent())
        self.time += TURN_S / 2
        self.assertFalse(self.budget.is_spent())
        self.time += TURN_S
        self.assertTrue(self.budget.is_spent())
        self.loop.turn()
        self.assertFalse(self.budget.is_spent())

    def test_a_budget_that_was_begun_ends_at_its_time(self) -> None:
        self.budget.begin(self.time + 1.0)
        self.assertFalse(self.budget.is_spent())
        self.time += 1.0
        self.assertTrue(self.budget.is_spent())
        self.budget.end()
        self.assertFalse(self.budget.is_spent())

    def work(self, name: str, seconds: float, again: int = 0) -> None:
        """A function for ``later`` that takes some time, and leaves work behind."""

        def call() -> None:
            self.calls.append((name, self.budget.is_spent()))
            self.time += seconds
            self.calls.append((name, self.budget.is_spent()))
            if again:
                self.work(name, seconds, again - 1)

        self.budget.later(call)

    def test_each_has_a_slice(self) -> None:
        self.work("short", SLICE_S / 2)
        self.work("long", SLICE_S)
        self.assertEqual((self.calls, self.budget.waiting), ([], 2))
        self.loop.turn()
        expected = [("short", False), ("short", False), ("long", False), ("long", True)]
        self.assertEqual((self.calls, self.budget.waiting), (expected, 0))

    def one_turn(self) -> list[str]:
        """Return whose work was done in the next turn."""
        self.calls.clear()
        self.loop.turn()
        return [call[0] for call in self.calls[::2]]

    def test_a_turn_ends_in_time_and_the_next_one_continues_with_the_others(self) -> None:
        for name in "abc":
            self.work(name, 0.6 * BACKLOG_S, again=1)
        turns = [self.one_turn() for _ in range(4)]
        self.assertEqual(turns, [["a", "b"], ["c", "a"], ["b", "c"], []])

    def test_work_takes_a_share_of_each_turn_however_long_it_is(self) -> None:
        for name in "ab":
            self.work(name, 10 * BACKLOG_S)
        self.assertEqual([self.one_turn() for _ in range(2)], [["a"], ["b"]])

    def test_some_coroutines_continue_in_each_turn(self) -> None:
        for number in range(WAKE + 1):
            self.budget.next_turn(lambda number=number: self.calls.extend([(number,)] * 2))
        self.assertEqual([self.one_turn() for _ in range(2)], [list(range(WAKE)), [WAKE]])

    def test_an_exception_affects_only_its_work(self) -> None:
        self.budget.later(lambda: 1 // 0)
        self.work("other", 0.0)
        self.loop.turn()
        self.assertEqual(len(self.calls), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
