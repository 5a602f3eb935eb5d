"""A blocked event loop is logged, with the stack of the blocking code."""

import threading
import time

from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.loop import stall_detector
from cluster.net.loop.stall_detector import StallDetector


class StallDetectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.watch = StallDetector(self.clock)
        self.addCleanup(self.watch.stop)
        self.lines: list[str | None] = []
        globalLogPublisher.addObserver(self.heard)
        self.addCleanup(globalLogPublisher.removeObserver, self.heard)

    def heard(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))

    def test_each_stall_is_logged_once(self) -> None:
        self.watch.start()
        self.clock.pump([0.5] * 5)
        self.assertEqual([], self.lines)
        for seconds in (3.5, 1.6):
            self.clock.advance(seconds)
            self.clock.pump([0.5] * 5)
        first, second = self.lines
        self.assertRegex(str(first), r"was blocked for 3\.0 s\. Run blocking code")
        self.assertRegex(str(second), r"was blocked for 1\.1 s")

    def test_short_delays_of_a_busy_machine_are_not_logged(self) -> None:
        self.watch.start()
        self.clock.pump([1.4] * 3)
        self.assertEqual([], self.lines)

    def test_the_log_has_the_stack(self) -> None:
        self.watch.start()

        def block_for(seconds: float) -> None:
            loop_thread = threading.get_ident()
            looking = threading.Thread(
                target=lambda: self.watch.look(time.monotonic() + seconds, loop_thread)
            )
            looking.start()
            looking.join()
            self.clock.advance(seconds)

        block_for(3)
        self.clock.advance(3)  # without a check by the thread
        first, second = self.lines
        self.assertRegex(
            str(first),
            r"of its own\. Its stack meanwhile:\n(?s:.*), in block_for\n +looking\.(?s:.*)\S$",
        )
        self.assertTrue(str(second).endswith("of its own."))

    def test_no_stack_is_recorded_while_the_loop_is_only_a_little_late(self) -> None:
        self.watch.start()
        self.watch.look(time.monotonic() + 0.9, threading.get_ident())
        self.clock.advance(3)
        self.assertTrue(str(self.lines[0]).endswith("of its own."))

    def test_a_thread_checks_the_loop(self) -> None:
        looked = threading.Event()
        self.patch(stall_detector, "LOOK_S", 0.001)
        self.patch(self.watch, "look", lambda now, thread: looked.set())
        self.watch.start()
        self.assertTrue(looked.wait(60))
        thread = self.watch._thread
        assert thread is not None
        self.watch.stop()
        self.assertFalse(thread.is_alive())

    def test_stop_ends_the_thread_and_the_timer(self) -> None:
        self.watch.stop()
        self.watch.start()
        self.watch.stop()
        self.watch.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
