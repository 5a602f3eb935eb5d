"""Tests of cluster.logs.outputs, with real pipes and files."""

import os
import threading
from pathlib import Path

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from cluster.logs import outputs
from cluster.logs.formats import JsonFormat
from cluster.logs.outputs import Descriptor, File, Syslog


class DescriptorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.addCleanup(os.close, self.writer)

    def test_lines_are_written(self) -> None:
        output = Descriptor(self.writer)
        self.assertFalse(output.may_block())
        output.write(b"one\ntwo\n")
        output.reopen()
        self.assertEqual(os.read(self.reader, 100), b"one\ntwo\n")

    def test_a_full_pipe_may_block(self) -> None:
        os.set_blocking(self.writer, False)
        with self.assertRaises(BlockingIOError):
            while True:
                os.write(self.writer, b"x" * 4096)
        self.assertTrue(Descriptor(self.writer).may_block())

    def test_a_pipe_that_another_process_made_non_blocking(self) -> None:
        os.set_blocking(self.writer, False)
        data = b"x" * 300_000
        thread = threading.Thread(target=Descriptor(self.writer).write, args=[data])
        thread.start()
        received = 0
        while received < len(data):
            received += len(os.read(self.reader, 65536))
        thread.join()


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def open(self) -> File:
        output = File(str(self.path))
        self.addCleanup(os.close, output._fd)
        return output

    def test_lines_are_appended(self) -> None:
        self.path.write_text("before\n")
        output = self.open()
        output.write(b"after\n")
        self.assertFalse(output.may_block())
        self.assertEqual(self.path.read_text(), "before\nafter\n")

    def test_others_may_not_read_a_new_file(self) -> None:
        self.open()
        self.assertEqual(self.path.stat().st_mode & 0o007, 0)

    def test_a_file_that_was_moved_is_opened_again(self) -> None:
        output = self.open()
        output.write(b"one\n")
        moved = self.path.rename(f"{self.path}.1")
        output.write(b"two\n")
        output.reopen()
        output.write(b"three\n")
        self.assertEqual(moved.read_text(), "one\ntwo\n")
        self.assertEqual(self.path.read_text(), "three\n")

    def test_a_file_that_was_truncated_has_no_gap(self) -> None:
        output = self.open()
        output.write(b"a long first line\n")
        os.truncate(self.path, 0)
        output.write(b"next\n")
        self.assertEqual(self.path.read_bytes(), b"next\n")

    def test_a_file_that_cannot_be_opened_again_stays_open(self) -> None:
        output = self.open()
        moved = self.path.rename(f"{self.path}.1")
        self.path.mkdir()
        self.assertRaises(OSError, output.reopen)
        output.write(b"still\n")
        self.assertEqual(moved.read_text(), "still\n")

    def test_the_path_does_not_depend_on_the_folder(self) -> None:
        output = self.open()
        os.unlink(self.path)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir("/")
        output.reopen()
        self.assertTrue(os.path.exists(output._path))


class SyslogTests(SynchronousTestCase):
    def test_each_line_has_its_priority(self) -> None:
        calls: list[tuple[object, ...]] = []
        for name in ("openlog", "syslog"):
            self.patch(outputs.syslog, name, lambda *given: calls.append(given))
        output = Syslog("c10k")
        self.assertFalse(output.may_block())
        output.reopen()
        output.write(b"2026 [c10k#warn] one\n2026 [node0#info] two\n")
        syslog = outputs.syslog
        self.assertEqual(calls[0], ("c10k", syslog.LOG_PID, syslog.LOG_DAEMON))
        self.assertEqual(calls[1], (syslog.LOG_WARNING, "2026 [c10k#warn] one"))
        self.assertEqual(calls[2], (syslog.LOG_INFO, "2026 [node0#info] two"))

    def test_a_client_cannot_choose_the_priority(self) -> None:
        line = "2026 [node0#info] a client of '/[#critical] ' left"
        self.assertEqual(outputs._priority(line), outputs.syslog.LOG_INFO)

    def test_json_has_its_priority(self) -> None:
        event = {"log_level": LogLevel.error, "log_format": "failed", "log_time": 0.0}
        line = JsonFormat().event(event, "node0").decode()
        self.assertEqual(outputs._priority(line), outputs.syslog.LOG_ERR)
        self.assertEqual(outputs._priority(f"{{{line[60:]}"), outputs.syslog.LOG_INFO)
