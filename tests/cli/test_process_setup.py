"""Tests of cluster.cli.process_setup: signals, the log, and the exit of a process."""

import io
import signal
import sys
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import (
    Logger,
    LogPublisher,
    eventAsText,
    globalLogPublisher,
)
from twisted.python import log as legacy_log
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli import process_setup
from cluster.core.exceptions import ConfigurationError
from tests.supervisor.test_child_processes import Recorder


class ClockTests(SynchronousTestCase):
    def test_setting_the_system_clock_does_not_move_the_reactors_clock(self) -> None:
        unix, monotonic = 1.8e9, 500.0
        clock: Any = Clock()
        clock.seconds = lambda: unix
        self.patch(process_setup.time, "monotonic", lambda: monotonic)
        process_setup.use_monotonic_clock(clock)
        self.assertEqual(clock.seconds(), 1.8e9)
        unix -= 60
        monotonic += 2
        self.assertEqual(clock.seconds(), 1.8e9 + 2)


class SignalTestCase(SynchronousTestCase):
    """Signal handlers are recorded in a dict, so that trial's own stay installed."""

    def setUp(self) -> None:
        self.handlers: dict[int, Any] = {
            signal.SIGINT: self.twisted_stops,
            signal.SIGTERM: self.twisted_stops,
        }
        self.stops: list[object] = []
        self.patch(process_setup.signal, "getsignal", self.handlers.get)
        self.patch(process_setup.signal, "signal", self.handlers.__setitem__)
        self.reactor = self.make_reactor()

    def make_reactor(self) -> Any:
        reactor: Any = MemoryReactorClock()
        reactor.callFromThread = lambda function, *arguments: function(*arguments)
        return reactor

    def run_reactor(self) -> None:
        self.reactor.run()
        self.reactor.stop = lambda: self.stops.append("reactor")

    def twisted_stops(self, number: int, frame: object) -> None:
        self.stops.append(number)


class SignalTests(SignalTestCase):
    def test_only_the_first_signal_stops_the_process(self) -> None:
        process_setup.stop_on_first_signal(self.reactor)
        self.reactor.run()
        self.handlers[signal.SIGINT](signal.SIGINT, None)
        self.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(self.stops, [signal.SIGINT])

    def test_a_second_signal_while_the_first_is_handled_is_ignored(self) -> None:
        def twisted_stops(number: int, frame: object) -> None:
            self.twisted_stops(number, frame)
            self.handlers[signal.SIGINT](signal.SIGINT, None)

        self.handlers[signal.SIGINT] = twisted_stops
        process_setup.stop_on_first_signal(self.reactor)
        self.reactor.run()
        self.handlers[signal.SIGINT](signal.SIGINT, None)
        self.assertEqual(self.stops, [signal.SIGINT])

    def test_stop_is_called_instead_of_twisteds_handler(self) -> None:
        process_setup.stop_on_first_signal(self.reactor, lambda: self.stops.append("own"))
        self.reactor.run()
        self.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(self.stops, ["own"])

    def test_ignored_signals_stay_ignored(self) -> None:
        self.handlers[signal.SIGINT] = signal.SIG_IGN
        process_setup.stop_on_first_signal(self.reactor)
        self.reactor.run()
        self.assertEqual(self.handlers[signal.SIGINT], signal.SIG_IGN)

    def test_sigquit_stops_the_process_even_if_a_shell_ignored_it(self) -> None:
        for before in (signal.SIG_DFL, signal.SIG_IGN):
            self.handlers[signal.SIGQUIT] = before
            self.stops.clear()
            self.reactor = self.make_reactor()
            process_setup.stop_on_first_signal(self.reactor)
            self.run_reactor()
            self.handlers[signal.SIGQUIT](signal.SIGQUIT, None)
            self.handlers[signal.SIGQUIT](signal.SIGQUIT, None)
            self.assertEqual(self.stops, ["reactor"])

    def test_ignored_signals_are_logged(self) -> None:
        lines: list[str] = []
        self.patch(process_setup, "_log", Recorder(lines))
        process_setup.ignore_signals(self.reactor, [signal.SIGHUP], "not here")
        self.assertEqual(self.handlers[signal.SIGHUP], signal.SIG_IGN)
        self.reactor.run()
        self.handlers[signal.SIGHUP](signal.SIGHUP, None)
        self.assertEqual(lines, ["SIGHUP ignored: not here"])


class HangUpTests(SignalTestCase):
    def hang_up(self, terminal: bool, ignored: bool = False, closed: bool = False) -> None:
        self.stops.clear()
        self.reactor = self.make_reactor()
        self.patch(process_setup, "_has_terminal", lambda: terminal)
        self.handlers[signal.SIGHUP] = signal.SIG_IGN if ignored else signal.SIG_DFL
        process_setup.restart_on_hang_up(self.reactor, lambda: self.stops.append("restart"))
        self.assertEqual(self.handlers[signal.SIGHUP], signal.SIG_IGN)
        self.run_reactor()
        self.patch(process_setup, "_has_terminal", lambda: terminal and not closed)
        self.handlers[signal.SIGHUP](signal.SIGHUP, None)

    def test_each_signal_restarts(self) -> None:
        for terminal in (True, False):
            self.hang_up(terminal)
            self.handlers[signal.SIGHUP](signal.SIGHUP, None)
            self.assertEqual(self.stops, ["restart", "restart"])

    def test_a_closed_terminal_stops_the_process(self) -> None:
        self.hang_up(terminal=True, closed=True)
        self.assertEqual(self.stops, ["reactor"])

    def test_a_daemon_that_was_started_in_a_terminal_restarts(self) -> None:
        """twistd leaves the terminal after it has made the service."""
        has_terminal = True
        self.patch(process_setup, "_has_terminal", lambda: has_terminal)
        process_setup.restart_on_hang_up(self.reactor, lambda: self.stops.append("restart"))
        has_terminal = False
        self.run_reactor()
        self.handlers[signal.SIGHUP](signal.SIGHUP, None)
        self.assertEqual(self.stops, ["restart"])

    def test_a_process_under_nohup_outlives_its_terminal(self) -> None:
        self.hang_up(terminal=True, ignored=True, closed=True)
        self.assertEqual(self.stops, ["restart"])


class FailureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exits: list[tuple[Any, ...]] = []
        self.patch(process_setup.atexit, "register", lambda *call: self.exits.append(call))

    def exit(self) -> None:
        """Call the exit handlers, as the interpreter does at exit."""
        ((function, *arguments),) = self.exits
        self.patch(process_setup.os, "_exit", self.statuses.append)
        self.patch(sys, "__stderr__", io.StringIO())
        function(*arguments)

    def test_the_reason_is_the_last_line(self) -> None:
        self.statuses: list[int] = []
        stops: list[str] = []
        reactor: Any = MemoryReactorClock()
        reactor.stop = lambda: stops.append("stop")
        process_setup.exit_with_failure(reactor, "c10k-node", "the port is taken")
        self.assertEqual(stops, ["stop"])
        self.exit()
        self.assertEqual(self.statuses, [1])
        assert isinstance(sys.__stderr__, io.StringIO)
        self.assertEqual(sys.__stderr__.getvalue(), "c10k-node: cannot start: the port is taken\n")

    def test_the_reason_is_printed_if_a_signal_is_stopping_the_reactor(self) -> None:
        def stop() -> None:
            raise ReactorNotRunning

        reactor: Any = MemoryReactorClock()
        reactor.stop = stop
        process_setup.exit_with_failure(reactor, "c10k-node", "the port is taken")
        self.assertEqual(len(self.exits), 1)


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        self.publisher = LogPublisher()
        self.patch(process_setup, "globalLogPublisher", self.publisher)
        process_setup.name_log_lines("c10k")
        self.publisher.addObserver(
            lambda event: self.lines.append(eventAsText(event, includeTimestamp=False))
        )

    def test_lines_begin_with_name_and_level(self) -> None:
        Logger("twisted.application.app.AppLogger", observer=self.publisher).info("starting up")
        Logger("cluster.supervisor", observer=self.publisher).warn("a node ended")
        self.assertEqual(self.lines, ["[c10k#info] starting up", "[c10k#warn] a node ended"])

    def test_lines_with_a_log_system_keep_it(self) -> None:
        log = Logger(observer=self.publisher)
        log.error("no such table", log_system="node0#error")
        self.assertEqual(self.lines, ["[node0#error] no such table"])

    def test_lines_of_the_legacy_log_have_the_name_too(self) -> None:
        forward = self.publisher
        globalLogPublisher.addObserver(forward)
        self.addCleanup(globalLogPublisher.removeObserver, forward)
        legacy_log.msg("admin port starting on 9000")
        self.assertEqual(self.lines, ["[c10k#info] admin port starting on 9000"])


class ConfigurationErrorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.others: list[object] = []
        self.patch(sys, "excepthook", lambda kind, error, traceback: self.others.append(error))
        self.patch(sys, "stderr", io.StringIO())
        process_setup.print_configuration_errors("c10k")

    def test_a_configuration_error_is_printed_as_one_line(self) -> None:
        sys.excepthook(ConfigurationError, ConfigurationError("the port is taken"), None)
        self.assertEqual(sys.stderr.getvalue(), "c10k: the port is taken\n")

    def test_other_errors_are_printed_with_their_traceback(self) -> None:
        error = ZeroDivisionError()
        sys.excepthook(ZeroDivisionError, error, None)
        self.assertEqual(self.others, [error])
