"""Tests of cluster.supervisor.heartbeat_pipe, with a pipe in this process."""

import faulthandler
import os
import select
import signal
import subprocess
import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor import heartbeat_pipe
from cluster.supervisor.heartbeat_pipe import HeartbeatThread, is_stopped, newest_report


class HeartbeatThreadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.reading)
        self.addCleanup(os.close, self.writing)
        self.addCleanup(faulthandler.unregister, heartbeat_pipe.STACKS_SIGNAL)
        self.patch(heartbeat_pipe, "BEAT_S", 0.001)

    def start(self) -> HeartbeatThread:
        # trial's standard error has no descriptor
        self.patch(sys, "stderr", sys.__stderr__)
        thread = HeartbeatThread(self.writing)
        self.addCleanup(thread.stop)
        return thread

    def next_report(self) -> float:
        report = newest_report(os.read(self.reading, 1000))
        assert report is not None
        return report

    def test_the_thread_reports_while_the_loop_is_blocked(self) -> None:
        self.start()
        while self.next_report() < 0.2:
            pass

    def test_a_turn_of_the_loop_is_reported(self) -> None:
        thread, clock = self.start(), Clock()
        thread.watch(clock)
        while self.next_report() < 0.2:
            pass
        clock.advance(1)
        while self.next_report() >= 0.2:
            pass

    def test_a_full_pipe_does_not_block_the_thread(self) -> None:
        self.start()
        os.set_blocking(self.writing, False)
        with self.assertRaises(BlockingIOError):
            while True:
                os.write(self.writing, b"0.0\n" * 100)
        while newest_report(os.read(self.reading, 1 << 20)) == 0.0:
            pass

    def test_the_thread_ends_when_the_supervisor_is_gone(self) -> None:
        thread = self.start()
        os.close(self.reading)
        thread._thread.join(60)
        self.assertFalse(thread._thread.is_alive())
        self.reading = os.dup(self.writing)

    def test_programs_that_a_view_starts_do_not_hold_the_pipe(self) -> None:
        os.set_inheritable(self.writing, True)
        self.start()
        self.assertFalse(os.get_inheritable(self.writing))


class ReportTests(SynchronousTestCase):
    def test_the_newest_complete_report_counts(self) -> None:
        for data, report in (
            (b"0.3\n", 0.3),
            (b"0.3\n12.5\n", 12.5),
            (b"3\n12.5\n4", 12.5),
            (b"0.", None),
            (b"", None),
            (b"hello\n", None),
        ):
            self.assertEqual(newest_report(data), report, data)


class StacksTests(SynchronousTestCase):
    def test_a_process_shows_its_stacks_while_a_call_holds_the_lock(self) -> None:
        program = (
            "import os, re, threading\n"
            "from cluster.supervisor.heartbeat_pipe import HeartbeatThread\n"
            "HeartbeatThread(1)\n"
            "def catastrophic(): re.match('(a+)+b', 'a' * 64)\n"
            "print('started', flush=True)\n"
            "catastrophic()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None and process.stderr is not None
        while b"started" not in process.stdout.readline():
            pass
        text = b""
        while b"in catastrophic" not in text:
            process.send_signal(heartbeat_pipe.STACKS_SIGNAL)
            if select.select([process.stderr], [], [], 0.1)[0]:
                text += os.read(process.stderr.fileno(), 1 << 16)


class StoppedTests(SynchronousTestCase):
    def test_whether_a_process_is_stopped(self) -> None:
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.assertFalse(is_stopped(process.pid))
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        self.assertTrue(is_stopped(process.pid))
        process.kill()
        process.wait()
        self.assertFalse(is_stopped(process.pid))
