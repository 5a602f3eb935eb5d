"""What blocks the event loop is said in the log."""

from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.standstill import StandstillWatch


class StandstillTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.watch = StandstillWatch(self.clock)
        self.lines: list[str | None] = []
        globalLogPublisher.addObserver(self.heard)
        self.addCleanup(globalLogPublisher.removeObserver, self.heard)

    def heard(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))

    def test_once_for_each(self) -> None:
        self.watch.start()
        self.clock.pump([0.5] * 5)
        self.assertEqual([], self.lines)
        for seconds in (3.5, 1.6):
            self.clock.advance(seconds)
            self.clock.pump([0.5] * 5)
        first, second = self.lines
        self.assertRegex(str(first), "stood still for 3.0 s: does a handler")
        self.assertRegex(str(second), "stood still for 1.1 s")

    def test_a_busy_machine(self) -> None:
        self.watch.start()
        self.clock.pump([1.4] * 3)
        self.assertEqual([], self.lines)

    def test_stop(self) -> None:
        self.watch.stop()
        self.watch.start()
        self.watch.stop()
        self.watch.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
