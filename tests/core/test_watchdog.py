"""Tests of cluster.core.watchdog."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.watchdog import SILENT_S, STOPPED_S, Action, Limits, Watchdog

SERVING = Limits(30.0, 5.0)
STARTING = Limits(60.0, 0.0)


class WatchdogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.watchdog = Watchdog()
        self.now = 100.0
        self.stopped: set[str] = set()

    def due(self, seconds: float) -> list[tuple[str, Action]]:
        """Advance the time, and return what is due."""
        self.now += seconds
        return list(self.watchdog.due(self.now, self.stopped.__contains__))

    def reports(self, seconds: int, turn_age: float = 0.0) -> list[tuple[str, Action]]:
        """Advance the time while the process reports; a blocked loop's age grows."""
        found = []
        for second in range(1, seconds + 1):
            self.watchdog.heard("a", turn_age and turn_age + second, self.now + 1)
            found += self.due(1)
        return found

    def watch(self, limits: Limits = SERVING) -> None:
        self.watchdog.watch("a", limits, self.now)

    def test_a_process_that_works_is_left_alone(self) -> None:
        self.watch()
        self.assertTrue(self.watchdog.is_watched("a"))
        self.assertEqual(self.reports(1000), [])

    def test_a_blocked_loop_that_returns_in_time_is_left_alone(self) -> None:
        self.watch()
        for _ in range(5):
            self.reports(1)
            self.assertEqual(self.reports(28, turn_age=1), [])

    def test_a_blocked_process_is_asked_to_stop_and_then_killed(self) -> None:
        self.watch()
        self.assertEqual(self.reports(29, turn_age=0.001), [])
        self.assertEqual(self.reports(1, turn_age=29), [("a", Action.ASK_TO_STOP)])
        self.assertEqual(self.reports(4, turn_age=30), [])
        self.assertEqual(self.reports(1, turn_age=34), [("a", Action.KILL_BLOCKED)])
        self.assertEqual(self.reports(100, turn_age=35), [])

    def test_a_loop_that_returns_when_asked_to_stop_is_not_killed(self) -> None:
        self.watch()
        self.assertEqual(self.reports(31, turn_age=0.001), [("a", Action.ASK_TO_STOP)])
        self.assertEqual(self.reports(29), [])
        self.assertEqual(self.reports(40, turn_age=0.001)[0], ("a", Action.ASK_TO_STOP))

    def test_a_start_that_is_blocked_is_killed_without_asking(self) -> None:
        self.watch(STARTING)
        self.assertEqual(self.reports(59, turn_age=0.001), [])
        self.assertEqual(self.reports(1, turn_age=59), [("a", Action.KILL_BLOCKED)])

    def test_a_process_that_never_reports_is_killed_without_showing_its_stacks(self) -> None:
        self.watch(STARTING)
        self.assertEqual(self.due(59), [])
        self.assertEqual(self.due(1), [("a", Action.KILL_BLOCKED)])

    def test_a_silent_process_shows_its_stacks_once_for_each_silence(self) -> None:
        self.watch()
        for _ in range(2):
            self.reports(1)
            self.assertEqual(self.due(SILENT_S), [("a", Action.SHOW_STACKS)])
            self.assertEqual(self.due(1), [])

    def test_the_stacks_of_a_process_that_has_become_ready_can_be_shown(self) -> None:
        self.watch(STARTING)
        self.reports(1)
        self.watch(SERVING)
        self.assertEqual(self.due(SILENT_S), [("a", Action.SHOW_STACKS)])

    def test_a_silent_process_counts_as_blocked(self) -> None:
        self.watch()
        self.reports(1)
        self.assertEqual(self.due(30), [("a", Action.ASK_TO_STOP)])
        self.assertIn(("a", Action.KILL_BLOCKED), self.due(5))

    def test_a_stopped_process_is_killed_after_a_while(self) -> None:
        self.watch(Limits(1.0, 1.0))
        self.stopped.add("a")
        self.assertEqual(self.due(STOPPED_S - 0.1), [])
        self.assertEqual(self.due(0.1), [("a", Action.KILL_STOPPED)])
        self.assertEqual(self.due(100), [])

    def test_a_process_that_was_stopped_for_five_seconds_is_kept(self) -> None:
        self.watch()
        self.stopped.add("a")
        self.assertEqual(self.due(5), [])
        self.stopped.clear()
        self.assertEqual(self.reports(100), [])

    def test_the_times_restart_when_the_observer_did_not_run(self) -> None:
        self.watch()
        self.now += 1000
        self.watchdog.excuse(self.now)
        self.assertEqual(self.due(1), [])

    def test_a_forgotten_process_is_not_watched(self) -> None:
        self.watch()
        self.watchdog.forget("a")
        self.watchdog.forget("a")
        self.watchdog.heard("a", 0.0, self.now)
        self.assertFalse(self.watchdog.is_watched("a"))
        self.assertEqual(self.due(1000), [])

    @given(st.lists(st.tuples(st.floats(0.1, 20), st.floats(0, 100), st.booleans())))
    def test_a_kill_follows_a_request_and_the_grace(
        self, reports: Iterable[tuple[float, float, bool]]
    ) -> None:
        """For any reports: nobody is killed as blocked before the limit and the grace."""
        watchdog, now, turn, asked = Watchdog(), 0.0, 0.0, None
        watchdog.watch("a", SERVING, now)
        for seconds, age, heard in reports:
            now += seconds
            if heard:
                watchdog.heard("a", age, now)
                turn = max(turn, now - age)
            for _, action in watchdog.due(now, lambda name: False):
                if action is Action.ASK_TO_STOP:
                    self.assertGreaterEqual(now - turn, SERVING.blocked)
                    asked = now
                elif action is Action.KILL_BLOCKED:
                    assert asked is not None
                    self.assertLessEqual(turn, asked)
                    self.assertGreaterEqual(now - asked, SERVING.grace)
