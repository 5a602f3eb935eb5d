"""A blocked event loop is logged, with the stack of the blocking code."""

import threading

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
        self.assertEqual(
            first,
            "the event loop was blocked for 3.0 s: the process was stopped, or one call held the"
            " interpreter's lock",
        )
        self.assertEqual(second, "the event loop was blocked for 1.1 s")

    def test_short_delays_of_a_busy_machine_are_not_logged(self) -> None:
        self.watch.start()
        self.clock.pump([1.4] * 3)
        self.assertEqual([], self.lines)

    def look_from_a_thread(self) -> None:
        arguments = (threading.get_ident(),)
        looking = threading.Thread(target=self.watch.look, args=arguments)
        looking.start()
        looking.join()

    def block_for(self, seconds: float) -> None:
        """Block the loop, while the thread looks."""
        for _ in range(int(seconds / 0.5)):
            self.clock.rightNow += 0.5
            self.look_from_a_thread()

    def test_the_log_has_the_stack_while_the_loop_is_blocked(self) -> None:
        self.watch.start()
        self.block_for(5)
        (stack,) = self.lines
        self.assertRegex(
            str(stack),
            r"is blocked\. Run (?s:.*)Its stack:\n(?s:.*), in block_for\n +self\.look(?s:.*)\S$",
        )
        self.clock.advance(0)
        self.assertEqual(self.lines[1:], ["the event loop was blocked for 4.5 s"])
        self.block_for(2)
        self.assertEqual(len(self.lines), 3)

    def test_no_stack_is_logged_while_the_loop_is_only_a_little_late(self) -> None:
        self.watch.start()
        self.clock.rightNow += 0.9
        self.look_from_a_thread()
        self.clock.rightNow += 0.5
        self.look_from_a_thread()
        self.assertEqual(self.lines, [])

    def test_no_stack_is_logged_after_the_whole_process_was_stopped(self) -> None:
        self.watch.start()
        self.clock.rightNow += 5
        self.look_from_a_thread()
        self.assertEqual(self.lines, [])
        self.clock.advance(0)
        self.assertIn("the process was stopped", str(self.lines[0]))

    def test_a_thread_checks_the_loop(self) -> None:
        looked = threading.Event()
        self.patch(stall_detector, "LOOK_S", 0.001)
        self.patch(self.watch, "look", lambda thread: looked.set())
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
