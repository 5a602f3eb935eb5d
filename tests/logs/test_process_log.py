"""Tests of cluster.logs.process_log."""

import logging
import sys
from types import SimpleNamespace

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from cluster.logs.formats import TextFormat
from cluster.logs.process_log import ProcessLog
from tests.logs.test_line_writer import PATIENCE_S, MemoryOutput
from tests.logs.test_python_logging import Records


class ProcessLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(logging.root, "handlers", [])
        self.output = MemoryOutput()
        self.log = ProcessLog("node0", TextFormat(), self.output)

    @property
    def lines(self) -> list[str]:
        """The lines without their time."""
        return [
            line.partition(" ")[2] for line in self.output.written.decode().splitlines() if line
        ]

    def test_events_and_printed_lines_are_written_in_their_order(self) -> None:
        streams = SimpleNamespace()
        self.log.take_standard_streams(streams)
        Logger("cluster", observer=self.log).info("one")
        print("two", file=streams.stdout)
        print("three", file=streams.stderr)
        self.log.printed("four", "stdout", "node1")
        self.log.write_lines(b"2026 [node2#info] five\n")
        self.assertEqual(
            self.lines,
            [
                "[node0#info] one",
                "[node0#info] two",
                "[node0#info] three",
                "[node1#info] four",
                "[node2#info] five",
            ],
        )

    def test_debug_messages_are_left_out(self) -> None:
        Logger("cluster", observer=self.log).debug("no")
        self.assertEqual(self.lines, [])

    def test_a_child_leaves_out_messages_of_the_main_loop(self) -> None:
        for is_child, count in ((False, 2), (True, 1)):
            self.output.written = b""
            log = ProcessLog("node0", TextFormat(), self.output, is_child)
            twisted = Logger("twisted.internet", observer=log)
            twisted.info("Main loop terminated.")
            twisted.warn("trouble")
            self.assertEqual(len(self.lines), count)

    def test_errors_reach_python_logging_and_the_log_once(self) -> None:
        records = Records()
        logging.root.addHandler(records)
        self.log.django_is_loaded()
        Logger("cluster.node", observer=self.log).error("oops")
        self.assertEqual(self.lines, ["[node0#error] oops"])
        self.assertEqual([each.getMessage() for each in records.found], ["oops"])

    def test_what_a_console_handler_prints_is_not_written_twice(self) -> None:
        streams = SimpleNamespace()
        self.log.take_standard_streams(streams)
        self.patch(sys, "stderr", streams.stderr)
        logging.root.addHandler(logging.StreamHandler())
        Logger("cluster.node", observer=self.log).error("oops")
        self.assertEqual(self.lines, ["[node0#info] oops"])

    def test_a_stopped_reader_and_the_lines_that_were_dropped(self) -> None:
        self.output.gate.clear()
        self.log.printed("one", "stdout")
        self.assertEqual(self.log.dropped, 1)
        self.output.gate.set()
        self.log.printed("two", "stdout")
        self.assertEqual(
            self.lines,
            [
                "[node0#info] two",
                "[node0#warn] … 1 lines of the log were dropped: they were not read in time",
            ],
        )

    def test_start_stop_and_reopen(self) -> None:
        self.log.start()
        self.log.printed("one", "stdout")
        self.log.reopen()
        self.log.stop()
        self.log.stop()
        self.assertEqual(self.lines, ["[node0#info] one"])
        self.assertEqual(self.output.reopened, 1)
        self.assertTrue(self.log.writer.flush(PATIENCE_S))
