"""Tests of cluster.supervisor.status.events."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor.status.events import MAX_TEXT, RECENT, EventLog


class EventLogTests(SynchronousTestCase):
    def test_the_newest_come_first(self) -> None:
        log = EventLog()
        log.record(1.0, "started", "ready", process="node0")
        log.record(2.0, "ended", "ended (signal 9)", process="node0", level="warn")
        newest, oldest = log.newest(10)
        self.assertEqual(
            ("ended (signal 9)", "warn", 2.0), (newest.text, newest.level, newest.time)
        )
        self.assertEqual("ready", oldest.text)
        self.assertEqual([newest], log.newest(1))

    def test_a_repeated_event_is_counted(self) -> None:
        log = EventLog()
        for time in range(1000):
            log.record(time, "error", "500 /polls/7/", level="error")
            log.record(time, "error", "500 /polls/8/", level="error")
        first, second = log.newest(10)
        self.assertEqual(("500 /polls/8/", 1000, 999), (first.text, first.count, first.time))
        self.assertEqual(("500 /polls/7/", 1000), (second.text, second.count))
        self.assertEqual(2000, log.counts["error"])

    def test_an_event_that_happened_long_before_is_another(self) -> None:
        log = EventLog()
        log.record(0.0, "started", "again")
        for number in range(RECENT):
            log.record(1.0, "started", str(number))
        log.record(2.0, "started", "again")
        self.assertEqual(RECENT + 2, len(log.newest(100)))

    def test_limits(self) -> None:
        log = EventLog(limit=3)
        for number in range(5):
            log.record(number, "error", str(number))
        self.assertEqual(["4", "3", "2"], [event.text for event in log.newest(10)])
        log.record(9.0, "error", "x" * 1000)
        self.assertEqual(MAX_TEXT, len(log.newest(1)[0].text))
        self.assertEqual(6, log.counts["error"])
