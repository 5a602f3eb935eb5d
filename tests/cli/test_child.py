"""Tests of cluster.cli.child: a child's life, with its supervisor and reactor in memory."""

import os
import signal
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli import process_setup
from cluster.cli.child import EXIT_FAILED, EXIT_ORPHANED, Child, parse_arguments
from cluster.supervisor.control_connection import ControlFactory
from tests.supervisor.test_control_connection import RecordingRegistry, join


class MemoryService:
    """Stands for a node or a broker."""

    def __init__(self) -> None:
        self.ready: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()
        self.events: list[str] = []

    def startService(self) -> None:
        self.events.append("start")

    def stopService(self) -> "Deferred[None]":
        self.events.append("stop")
        return self.stopped

    def stats(self) -> dict[str, Any]:
        return {"ready": True}


class ChildTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(process_setup.threading, "Timer", MemoryTimer)
        MemoryTimer.made.clear()
        self.reactor = MemoryReactorClock()
        self.reactor.stop = lambda: self.exits.append("reactor stopped")  # type: ignore[method-assign]
        self.exits: list[Any] = []
        self.service = MemoryService()
        self.made: list[Any] = []
        self.registry = RecordingRegistry()
        self.child = Child(self.reactor, 1, self.make_service, self.exits.append)

    def make_service(self, config: dict[str, Any], listeners: Any) -> MemoryService:
        self.made.append((config, listeners))
        return self.service

    def connect(self) -> None:
        self.child.connect("/run/control.sock")
        ((path, factory, *_),) = self.reactor.unixClients
        self.assertEqual(path, "/run/control.sock")
        self.parent = ControlFactory(self.registry).buildProtocol(None)
        self.pump = join(factory.buildProtocol(None), self.parent)
        self.pump()

    def shut_down(self) -> Any:
        """What the reactor does first when it is stopped."""
        (trigger,) = [
            function
            for function, *_ in self.reactor.triggers.get("before", {}).get("shutdown", [])
            if getattr(function, "__self__", None) is self.child
        ]
        return trigger()

    def test_registers_starts_and_reports(self) -> None:
        self.connect()
        self.assertEqual(self.registry.events, [("registered", 1, os.getpid())])
        ((config, listeners),) = self.made
        self.assertEqual(config["name"], "node1")
        self.assertEqual(len(listeners), 2)
        self.assertEqual(self.service.events, ["start"])
        self.service.ready.callback(None)
        self.pump()
        self.assertEqual(self.registry.events[-1], ("ready", 1))
        self.assertEqual(self.exits, [])

    def test_figures(self) -> None:
        self.assertEqual(self.child._stats(), {})
        self.connect()
        self.assertEqual(self.child._stats(), {"ready": True})

    def test_told_to_stop(self) -> None:
        self.connect()
        self.parent.stop()
        self.parent.stop()
        self.pump()
        self.assertEqual(self.exits, ["reactor stopped"])
        stopped = self.shut_down()
        self.assertEqual(self.service.events, ["start", "stop"])
        self.assertNoResult(stopped)
        self.service.stopped.callback(None)
        self.successResultOf(stopped)
        # The reactor now closes the control connection, which says nothing about the supervisor.
        self.child.link.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.exits, ["reactor stopped"])

    def test_leaves_what_does_not_stop_in_time(self) -> None:
        self.connect()
        self.shut_down()
        (timer,) = MemoryTimer.made
        self.assertTrue(timer.started and timer.daemon)
        self.assertEqual(timer.seconds, 12)  # the drain timeout and 2 s
        self.patch(sys, "stderr", open(os.devnull, "w"))  # noqa: SIM115 (until the clean-up)
        self.addCleanup(sys.stderr.close)
        timer.function()
        self.assertEqual(self.exits, [0])

    def test_exits_at_once_when_the_supervisor_is_gone(self) -> None:
        self.connect()
        self.child.link.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.exits, [EXIT_ORPHANED])

    def test_exits_also_while_draining(self) -> None:
        self.connect()
        self.shut_down()
        self.child.link.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.exits, [EXIT_ORPHANED])

    def test_exits_when_there_is_no_supervisor(self) -> None:
        self.child.connect("/run/control.sock")
        ((_, factory, *_),) = self.reactor.unixClients
        factory.clientConnectionFailed(None, Failure(ConnectionLost()))
        self.assertEqual(self.exits, [EXIT_ORPHANED])

    def test_a_failed_start_is_logged_and_ends_the_child(self) -> None:
        self.connect()
        self.service.ready.errback(ZeroDivisionError("a bug of ours"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.pump()
        reason = "ZeroDivisionError: a bug of ours; the log has the traceback"
        self.assertEqual(self.registry.events[-1], ("failed", 1, reason, True))
        self.assertEqual(self.exits, ["reactor stopped"])
        self.assertEqual(self.child.status, EXIT_FAILED)

    def test_an_error_of_the_site_is_reported_as_one_line(self) -> None:
        self.connect()
        self.service.ready.errback(ImportError("no module named urls"))
        self.assertEqual(self.exits, [])  # not before the supervisor has the report
        self.pump()
        (_, _, reason, permanent) = self.registry.events[-1]
        self.assertTrue(reason.startswith("ImportError: no module named urls"), reason)
        self.assertTrue(permanent)
        self.assertEqual(self.exits, ["reactor stopped"])
        self.assertEqual(self.child.status, EXIT_FAILED)

    def test_a_service_that_cannot_even_be_made(self) -> None:
        def fail(config: object, listeners: object) -> MemoryService:
            raise ZeroDivisionError

        self.child = Child(self.reactor, 1, fail, self.exits.append)
        self.connect()
        (_, _, reason, _) = self.registry.events[-1]
        self.assertIn("ZeroDivisionError", reason)
        self.successResultOf(self.shut_down())
        self.child.link.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.exits, ["reactor stopped"])
        self.assertEqual(self.child.status, EXIT_FAILED)

    def test_an_error_while_stopping_does_not_hold_it_up(self) -> None:
        self.connect()
        stopped = self.shut_down()
        self.service.stopped.errback(ZeroDivisionError())
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_command_line(self) -> None:
        arguments = parse_arguments(["node", "--control", "/run/c", "--slot", "3"])
        self.assertEqual((arguments.kind, arguments.control, arguments.slot), ("node", "/run/c", 3))
        self.assertEqual(parse_arguments(["broker", "--control", "/run/c"]).slot, -1)


class MemoryTimer:
    """Stands for threading.Timer."""

    made: "list[MemoryTimer]" = []  # noqa: RUF012 (emptied before each test)

    def __init__(self, seconds: float, function: Any) -> None:
        self.seconds = seconds
        self.function = function
        self.started = self.daemon = False
        self.made.append(self)

    def start(self) -> None:
        self.started = True


class SignalTests(SynchronousTestCase):
    """Signal handlers are set on a stand-in, lest trial lose its own."""

    def setUp(self) -> None:
        self.handlers: dict[int, Any] = {
            signal.SIGINT: self.twisted_stops,
            signal.SIGTERM: self.twisted_stops,
        }
        self.stops: list[object] = []
        self.patch(process_setup.signal, "getsignal", self.handlers.get)
        self.patch(process_setup.signal, "signal", self.handlers.__setitem__)
        self.reactor: Any = MemoryReactorClock()
        self.reactor.callFromThread = lambda function: function()

    def twisted_stops(self, number: int, frame: object) -> None:
        self.stops.append(number)

    def test_only_the_first_counts(self) -> None:
        process_setup.stop_on_first_signal(self.reactor)
        self.reactor.run()
        self.handlers[signal.SIGINT](signal.SIGINT, None)
        self.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(self.stops, [signal.SIGINT])

    def test_a_second_one_while_the_first_is_handled(self) -> None:
        def twisted_stops(number: int, frame: object) -> None:
            self.twisted_stops(number, frame)
            self.handlers[signal.SIGINT](signal.SIGINT, None)

        self.handlers[signal.SIGINT] = twisted_stops
        process_setup.stop_on_first_signal(self.reactor)
        self.reactor.run()
        self.handlers[signal.SIGINT](signal.SIGINT, None)
        self.assertEqual(self.stops, [signal.SIGINT])

    def test_own_stop(self) -> None:
        process_setup.stop_on_first_signal(self.reactor, lambda: self.stops.append("own"))
        self.reactor.run()
        self.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(self.stops, ["own"])

    def test_ignored_signals_stay_ignored(self) -> None:
        self.handlers[signal.SIGINT] = signal.SIG_IGN
        process_setup.stop_on_first_signal(self.reactor)
        self.reactor.run()
        self.assertEqual(self.handlers[signal.SIGINT], signal.SIG_IGN)
