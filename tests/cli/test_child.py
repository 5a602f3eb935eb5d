"""Tests of cluster.cli.child, with its supervisor and reactor in memory."""

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli import process_setup
from cluster.cli.child import EXIT_FAILED, EXIT_ORPHANED, Child
from cluster.supervisor.control_connection.child_link import ControlFactory
from cluster.supervisor.control_connection.commands import StartFailed
from tests.supervisor.test_control_connection import RecordingRegistry, join


class MemoryService:
    """A node or a broker."""

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

    def make_service(self, config: dict[str, Any], listening_sockets: Any) -> MemoryService:
        self.made.append((config, listening_sockets))
        return self.service

    def connect(self) -> None:
        self.child.connect("/run/control.sock")
        ((path, factory, *_),) = self.reactor.unixClients
        self.assertEqual(path, "/run/control.sock")
        self.parent = ControlFactory(self.registry, self.registry).buildProtocol(None)
        self.pump = join(factory.buildProtocol(None), self.parent)
        self.pump()

    def shut_down(self) -> Any:
        """Run the trigger that the reactor runs first when it stops."""
        (trigger,) = [
            function
            for function, *_ in self.reactor.triggers.get("before", {}).get("shutdown", [])
            if getattr(function, "__self__", None) is self.child
        ]
        return trigger()

    def test_a_child_registers_starts_and_reports(self) -> None:
        self.connect()
        self.assertEqual(self.registry.events, [("registered", 1, os.getpid())])
        ((config, listening_sockets),) = self.made
        self.assertEqual(config["name"], "node1")
        self.assertEqual(len(listening_sockets), 2)
        self.assertEqual(self.service.events, ["start"])
        self.service.ready.callback(None)
        self.pump()
        self.assertEqual(self.registry.events[-1], ("ready", 1))
        self.assertEqual(self.exits, [])

    def test_a_spare_process_loads_the_site_and_waits_for_its_slot(self) -> None:
        events: list[Any] = []
        self.child = Child(
            self.reactor, -1, self.make_service, self.exits.append,
            load=lambda: events.append("loaded"), named=events.append,
        )  # fmt: skip
        self.connect()
        self.assertEqual(events, ["loaded"])
        self.assertEqual(self.registry.events, [("standby", os.getpid())])
        self.registry.slot.callback(3)
        self.pump()
        self.assertEqual(events, ["loaded", 3])
        self.assertEqual(self.registry.events[-1], ("registered", 3, os.getpid()))
        self.assertEqual(self.service.events, ["start"])

    def test_a_spare_process_that_cannot_load_the_site_ends(self) -> None:
        def load() -> None:
            raise ImportError("no module named shop")

        logged: list[str] = []
        self.patch(Child, "log", Logger(observer=lambda event: logged.append(formatEvent(event))))
        self.child = Child(self.reactor, -1, self.make_service, self.exits.append, load=load)
        self.connect()
        self.assertEqual(self.registry.events, [])
        self.assertEqual((self.exits, self.child.status), (["reactor stopped"], EXIT_FAILED))
        self.assertIn("the spare process cannot start: ImportError: no module", logged[0])

    def test_a_child_answers_with_its_statistics(self) -> None:
        self.assertEqual(self.child._stats(), {"log_lines_dropped": 0})
        self.connect()
        self.assertEqual(self.child._stats(), {"ready": True, "log_lines_dropped": 0})

    def test_a_child_drains_and_exits_when_the_supervisor_asks(self) -> None:
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
        # Now the reactor closes the control connection, although the supervisor may still run.
        self.child.link.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.exits, ["reactor stopped"])

    def test_a_child_exits_even_if_its_service_does_not_stop(self) -> None:
        self.connect()
        self.shut_down()
        (timer,) = MemoryTimer.made
        self.assertTrue(timer.started and timer.daemon)
        self.assertEqual(timer.seconds, 12)  # the drain timeout and 2 s
        self.patch(sys, "stderr", open(os.devnull, "w"))  # noqa: SIM115 (until the clean-up)
        self.addCleanup(sys.stderr.close)
        timer.function()
        self.assertEqual(self.exits, [0])

    def test_a_child_exits_at_once_when_the_supervisor_is_gone(self) -> None:
        self.connect()
        self.child.link.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.exits, [EXIT_ORPHANED])

    def test_a_child_that_stops_before_it_has_started_exits_with_its_status(self) -> None:
        """The reactor closes the control connection then; the supervisor is not gone."""

        def load() -> None:
            raise ImportError("no module named shop")

        self.patch(Child, "log", Logger(observer=lambda event: None))
        self.child = Child(self.reactor, -1, self.make_service, self.exits.append, load=load)
        self.connect()
        self.successResultOf(self.shut_down())
        self.child.link.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((self.exits, self.child.status), (["reactor stopped"], EXIT_FAILED))

    def test_a_draining_child_exits_at_once_when_the_supervisor_is_gone(self) -> None:
        self.connect()
        self.shut_down()
        self.child.link.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.exits, [EXIT_ORPHANED])

    def test_a_child_that_cannot_reach_the_supervisor_logs_it(self) -> None:
        """The runtime folder was deleted, or the supervisor is gone."""
        self.child.connect("/run/control.sock")
        ((_, factory, *_),) = self.reactor.unixClients
        with capturedLogs() as events:
            factory.clientConnectionFailed(None, Failure(ConnectError(string="No such file")))
        self.assertIn(
            "cannot start: no connection to the supervisor at /run/control.sock: An error occurred"
            " while connecting: No such file.",
            formatEvent(events[0]),
        )
        self.assertEqual(self.exits, ["reactor stopped"])
        self.assertEqual(self.child.status, EXIT_FAILED)

    def test_an_unexpected_error_is_logged_and_reported(self) -> None:
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
        self.assertEqual(self.exits, [])  # the supervisor does not have the report yet
        self.pump()
        (_, _, reason, permanent) = self.registry.events[-1]
        self.assertTrue(reason.startswith("ImportError: no module named urls"), reason)
        self.assertTrue(permanent)
        self.assertEqual(self.exits, ["reactor stopped"])
        self.assertEqual(self.child.status, EXIT_FAILED)

    def test_a_reason_that_is_not_valid_unicode_is_reported(self) -> None:
        """Such as the name of a file in another encoding, which Python decodes to surrogates."""
        self.connect()
        self.service.ready.errback(ImportError("no module in /srv/caf\udce9"))
        self.pump()
        (_, _, reason, _) = self.registry.events[-1]
        self.assertIn(r"/srv/caf\udce9", reason)
        self.assertEqual(self.exits, ["reactor stopped"])

    def test_a_stop_before_the_supervisor_has_answered_logs_nothing(self) -> None:
        """The supervisor has received the same reason from another node, and logs it once."""
        logged: list[Any] = []
        self.patch(Child, "log", Logger(observer=logged.append))
        self.connect()
        self.service.ready.errback(ImportError("no module named urls"))
        self.child.link.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(logged, [])

    def test_a_reason_that_the_supervisor_does_not_accept_is_logged(self) -> None:
        """The supervisor may be of an earlier release that is still running after an upgrade."""
        logged: list[str] = []
        self.patch(Child, "log", Logger(observer=lambda event: logged.append(formatEvent(event))))
        self.patch(StartFailed, "commandName", b"Unknown")
        self.connect()
        self.service.ready.errback(ImportError("no module named urls"))
        self.pump()
        self.assertEqual(len(logged), 1)
        self.assertIn("cannot start: ImportError: no module named urls", logged[0])
        self.assertEqual(self.exits, ["reactor stopped"])

    def test_a_service_that_cannot_be_created_is_reported(self) -> None:
        def fail(config: object, listening_sockets: object) -> MemoryService:
            raise ZeroDivisionError

        self.child = Child(self.reactor, 1, fail, self.exits.append)
        self.connect()
        (_, _, reason, _) = self.registry.events[-1]
        self.assertIn("ZeroDivisionError", reason)
        self.successResultOf(self.shut_down())
        self.child.link.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.exits, ["reactor stopped"])
        self.assertEqual(self.child.status, EXIT_FAILED)

    def test_an_error_while_stopping_is_logged(self) -> None:
        self.connect()
        stopped = self.shut_down()
        self.service.stopped.errback(ZeroDivisionError())
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


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
