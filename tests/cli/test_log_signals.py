"""Tests of cluster.cli.log_signals, with real signals."""

import os
import signal
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli import log_signals, process_setup
from cluster.cli.log_signals import handle_log_signals


class LogSignalTests(SynchronousTestCase):
    def setUp(self) -> None:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.texts: list[str] = []
        observer: Any = lambda event: self.texts.append(event["log_format"])  # noqa: E731
        for module in (log_signals, process_setup):
            self.patch(module, "_log", Logger(observer=observer))
        self.reactor: Any = MemoryReactorClock()
        self.calls: list[Any] = []
        self.reactor.callFromThread = lambda *call: self.calls.append(call)

    def run_calls(self) -> None:
        for function, *arguments in self.calls:
            function(*arguments)

    def test_usr1_reopens_in_the_thread_of_the_reactor(self) -> None:
        reopened: list[int] = []
        handle_log_signals(self.reactor, lambda: reopened.append(1))
        os.kill(os.getpid(), signal.SIGUSR1)
        self.assertEqual(reopened, [])
        self.run_calls()
        self.assertEqual(reopened, [1])
        self.assertEqual(self.texts, ["log files reopened"])

    def test_a_file_that_cannot_be_opened_is_logged(self) -> None:
        def fail() -> None:
            raise OSError(13, "Permission denied")

        handle_log_signals(self.reactor, fail)
        os.kill(os.getpid(), signal.SIGUSR1)
        self.run_calls()
        self.assertEqual(self.texts, ["cannot reopen the log file: {error}"])

    def test_usr2_is_ignored_with_a_line(self) -> None:
        handle_log_signals(self.reactor, lambda: None)
        os.kill(os.getpid(), signal.SIGUSR2)
        self.assertEqual(self.calls, [])
        self.reactor.run()
        os.kill(os.getpid(), signal.SIGUSR2)
        self.run_calls()
        self.assertEqual(self.texts, ["{name} ignored: {text}"])
