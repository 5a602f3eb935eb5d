"""Tests of cluster.supervisor.child_output."""

from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from cluster.logs.standard_streams import MAX_LINE
from cluster.supervisor.child_output import LOG_DESCRIPTOR, ChildOutput, EventLog
from tests.supervisor.test_child_processes import Recorder


class RecordingLog:
    """A SupervisorLog that keeps what it is given."""

    dropped = 0

    def __init__(self) -> None:
        self.lines = b""
        self.prints: list[tuple[str, str, str]] = []

    def write_lines(self, lines: bytes) -> None:
        self.lines += lines

    def printed(self, text: str, stream: str, process: str = "") -> None:
        self.prints.append((text, stream, process))


class ChildOutputTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.log = RecordingLog()
        self.output = ChildOutput("node0", self.log)

    def test_complete_lines_of_the_log_are_copied(self) -> None:
        self.output.received(LOG_DESCRIPTOR, b"one\ntw")
        self.assertEqual(self.log.lines, b"one\n")
        self.output.received(LOG_DESCRIPTOR, b"o\nthree\nfo")
        self.assertEqual(self.log.lines, b"one\ntwo\nthree\n")
        self.output.finish()
        self.output.finish()
        self.assertEqual(self.log.lines, b"one\ntwo\nthree\nfo\n")

    def test_printed_lines_have_their_stream_and_the_name(self) -> None:
        self.output.received(1, b"out\nha")
        self.output.received(2, b"err\n")
        self.output.received(1, b"lf")
        self.output.finish()
        self.assertEqual(
            self.log.prints,
            [("out", "stdout", "node0"), ("err", "stderr", "node0"), ("half", "stdout", "node0")],
        )

    def test_printed_lines_of_any_length_and_content_are_logged(self) -> None:
        self.output.received(1, b"x" * (3 * MAX_LINE) + b"\n\xff\n")
        self.output.received(1, b"y" * (MAX_LINE + 10))
        self.output.received(1, b"\n")
        lengths = [len(text) for text, *_ in self.log.prints]
        self.assertEqual(lengths, [MAX_LINE, MAX_LINE, MAX_LINE, 4, MAX_LINE, 10])
        self.assertEqual(self.log.prints[3][0], r"\xff")


class EventLogTests(SynchronousTestCase):
    """For twistd's option --logger."""

    def test_lines_become_events_with_their_level(self) -> None:
        lines: list[str] = []
        recorder: Any = Recorder(lines)
        log = EventLog(recorder)
        log.write_lines(b'2026-11-27T14:44:33+0000 [node0#warn] {braces}\n{"level": "info"}\n')
        log.printed("oops", "stderr", "node1")
        self.assertEqual(lines, ["[node0#warn] {braces}", '{"level": "info"}', "[node1#info] oops"])

    def test_a_line_whose_level_is_unknown_is_logged(self) -> None:
        """The site may set log_system. An exception here would close the pipe of the child."""
        lines: list[str] = []
        recorder: Any = Recorder(lines)
        EventLog(recorder).write_lines(b"2026 [shop#cart] x\n")
        self.assertEqual(lines, ["2026 [shop#cart] x"])

    def test_the_level_of_the_event_is_that_of_the_line(self) -> None:
        events: list[Any] = []
        EventLog(Logger("x", observer=events.append)).write_lines(b"2026 [node0#critical] x\n")
        self.assertEqual(events[0]["log_level"].name, "critical")
