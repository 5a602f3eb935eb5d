"""Tests of cluster.logs.line_writer."""

import threading

from twisted.trial.unittest import SynchronousTestCase

from cluster.logs.line_writer import LineWriter

PATIENCE_S = 60.0


class MemoryOutput:
    """Keeps what is written; ``gate`` blocks it, and ``broken`` makes it fail."""

    def __init__(self) -> None:
        self.written = b""
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.broken = False
        self.reopened = 0

    def write(self, data: bytes) -> None:
        self.entered.set()
        self.gate.wait(PATIENCE_S)
        if self.broken:
            raise OSError(28, "No space left on device")
        self.written += data

    def may_block(self) -> bool:
        return not self.gate.is_set()

    def reopen(self) -> None:
        self.reopened += 1


class LineWriterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.output = MemoryOutput()
        self.writer = LineWriter(self.output, lambda count: b"dropped %d\n" % count, limit=100)
        self.addCleanup(self.writer.stop, PATIENCE_S)
        self.addCleanup(self.output.gate.set)

    def test_before_the_start_lines_are_written_at_once(self) -> None:
        self.writer.write(b"one\n")
        self.assertEqual(self.output.written, b"one\n")

    def test_without_a_thread_nothing_is_written_that_may_block(self) -> None:
        self.output.gate.clear()
        self.writer.write(b"one\ntwo\n")
        self.assertEqual(self.writer.dropped, 2)
        self.output.gate.set()
        self.writer.write(b"three\n")
        self.assertEqual(self.output.written, b"three\ndropped 2\n")

    def test_a_blocked_output_blocks_nobody(self) -> None:
        self.writer.start()
        self.output.gate.clear()
        self.writer.write(b"first\n")
        self.assertTrue(self.output.entered.wait(PATIENCE_S))
        for number in range(1000):
            self.writer.write(b"%d\n" % number)
        self.writer.write(b"an error\n", urgent=True)
        self.assertGreater(self.writer.dropped, 900)
        self.assertFalse(self.writer.flush(0.01))
        dropped = self.writer.dropped
        self.output.gate.set()
        self.assertTrue(self.writer.flush(PATIENCE_S))
        lines = self.output.written.splitlines()
        self.assertEqual(lines[:3], [b"first", b"0", b"1"])
        self.assertEqual(lines[-2:], [b"an error", b"dropped %d" % dropped])
        self.assertEqual(len(lines) - 2 + dropped, 1001)

    def test_lines_that_the_output_refuses_are_counted(self) -> None:
        self.writer.start()
        self.output.broken = True
        self.writer.write(b"one\ntwo\n")
        self.assertTrue(self.writer.flush(PATIENCE_S))
        self.assertEqual(self.writer.dropped, 2)
        self.output.broken = False
        self.writer.write(b"three\n")
        self.assertTrue(self.writer.flush(PATIENCE_S))
        self.assertEqual(self.output.written, b"three\ndropped 2\n")

    def test_a_stop_with_a_blocked_output_is_bounded(self) -> None:
        self.writer.start()
        self.output.gate.clear()
        self.writer.write(b"one\n")
        self.writer.stop(0.01)
        self.writer.write(b"last\n")
        self.assertEqual(self.writer.dropped, 1)

    def test_reopen(self) -> None:
        self.writer.reopen()
        self.assertEqual(self.output.reopened, 1)
