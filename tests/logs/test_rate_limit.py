"""Tests of cluster.logs.rate_limit."""

import itertools
import sys
import threading

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import tests.profiles  # noqa: F401
from cluster.logs import rate_limit
from cluster.logs.rate_limit import BURST, INTERVAL_S, MAX_KINDS, OTHER, LimitedLog, Repetitions


class RepetitionsTests(SynchronousTestCase):
    def test_a_few_events_of_each_kind_are_logged(self) -> None:
        repetitions = Repetitions()
        for kind in ("404", "403"):
            admitted = [repetitions.admit(kind, 0.0) for _ in range(BURST + 3)]
            self.assertEqual(admitted, [True] * BURST + [False] * 3)
        self.assertTrue(repetitions.pending)
        self.assertEqual(repetitions.summaries(INTERVAL_S - 1), [])
        self.assertEqual(repetitions.summaries(INTERVAL_S), [("404", 3), ("403", 3)])
        self.assertFalse(repetitions.pending)
        self.assertTrue(repetitions.admit("404", INTERVAL_S))

    def test_slow_events_are_all_logged(self) -> None:
        repetitions = Repetitions()
        for moment in range(100):
            self.assertTrue(repetitions.admit("404", moment * INTERVAL_S / BURST))
        self.assertEqual(repetitions.summaries(1e9), [])

    def test_many_kinds_are_counted_together(self) -> None:
        repetitions = Repetitions()
        admitted = [repetitions.admit(str(number), 0.0) for number in range(10 * MAX_KINDS)]
        self.assertEqual(sum(admitted), MAX_KINDS + BURST)
        self.assertEqual(repetitions.summaries(INTERVAL_S), [(OTHER, 9 * MAX_KINDS - BURST)])

    def test_kinds_without_recent_events_are_forgotten(self) -> None:
        repetitions = Repetitions()
        for number in range(MAX_KINDS):
            repetitions.admit(str(number), 0.0)
        for _ in range(BURST + 1):
            repetitions.admit("new", INTERVAL_S)
        self.assertEqual(repetitions.summaries(2 * INTERVAL_S), [("new", 1)])

    @given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, INTERVAL_S)), max_size=200))
    def test_each_event_is_logged_or_counted_once(self, events: list[tuple[str, float]]) -> None:
        repetitions = Repetitions()
        now, logged, counted = 0.0, 0, 0
        for kind, pause in events:
            now += pause
            logged += repetitions.admit(kind, now)
            if repetitions.pending:
                counted += sum(count for _, count in repetitions.summaries(now))
        counted += sum(count for _, count in repetitions.summaries(float("inf")))
        self.assertEqual(logged + counted, len(events))


class LimitedLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        self.clock = Clock()
        self.log = LimitedLog(self.emit, "handshakes refused", self.clock)

    def emit(self, text: str, **values: object) -> None:
        self.lines.append(text.format(**values))

    def test_a_flood_ends_with_a_summary(self) -> None:
        for number in range(1209):
            self.log("404", "{number}", number=number)
        self.assertEqual(self.lines, ["0", "1", "2", "3", "4"])
        self.clock.advance(INTERVAL_S)
        self.assertEqual(self.lines[-1], "handshakes refused: … and 1,204 more (404)")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_a_flood_there_is_no_timer(self) -> None:
        self.log("404", "one")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_later_kind_has_a_summary_of_its_own(self) -> None:
        for _ in range(BURST + 1):
            self.log("404", "")
        self.clock.advance(INTERVAL_S - 1)
        for _ in range(BURST + 2):
            self.log("403", "")
        self.clock.advance(1)
        self.assertEqual(self.lines[-1], "handshakes refused: … and 1 more (404)")
        self.clock.advance(INTERVAL_S)
        self.assertEqual(self.lines[-1], "handshakes refused: … and 2 more (403)")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_stop_logs_the_summaries_at_once(self) -> None:
        for _ in range(BURST + 1):
            self.log("404", "")
        self.log.stop()
        self.assertEqual(self.lines[-1], "handshakes refused: … and 1 more (404)")
        self.log.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LimitedLogWithoutClockTests(SynchronousTestCase):
    """For code in any thread: the summary comes with the next event."""

    def test_the_summary_comes_with_the_next_event(self) -> None:
        lines: list[str] = []
        now = [0.0]
        self.patch(rate_limit, "monotonic", lambda: now[0])
        log = LimitedLog(lambda text, **values: lines.append(text.format(**values)), "errors")
        for _ in range(BURST + 7):
            log("database", "it failed")
        self.assertEqual(lines, ["it failed"] * BURST)
        now[0] = INTERVAL_S
        log("database", "it failed")
        self.assertEqual(lines[BURST:], ["errors: … and 7 more (database)", "it failed"])
        log.stop()

    def test_events_of_several_threads(self) -> None:
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1e-6)
        now = itertools.count(0, 2)
        self.patch(rate_limit, "monotonic", lambda: next(now))
        failures: list[Exception] = []
        log = LimitedLog(lambda text, **values: None, "errors")

        def call() -> None:
            try:
                for number in range(3_000):
                    log(str(number % 20), "it failed")
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
