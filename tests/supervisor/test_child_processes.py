"""Tests of cluster.supervisor.child_processes, with fake processes."""

import os
import sys
import sysconfig
from typing import Any

from constantly import NamedConstant
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor.child_processes import MAX_LINE, Children, child_command, child_environment


class MemoryProcess:
    """A process transport that records signals, and ends when the test calls ``end``."""

    def __init__(self, protocol: Any, args: list[str], env: dict[str, str], pid: int) -> None:
        self.protocol = protocol
        self.args = args
        self.env = env
        self.pid = pid
        self.signals: list[str] = []
        self.ended = False

    def signalProcess(self, name: str) -> None:
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(name)

    def end(self, status: int = 0, signal: int | None = None) -> None:
        """End the process, and close its output after that."""
        self.ended = True
        kind = ProcessTerminated(status, signal) if status or signal else ProcessDone(0)
        self.protocol.processExited(Failure(kind))
        self.protocol.processEnded(Failure(kind))


class MemoryProcessReactor(MemoryReactorClock):
    """Starts fake processes; ``cannot_start`` makes it fail."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[MemoryProcess] = []
        self.cannot_start = False

    def spawnProcess(
        self, protocol: Any, executable: str, args: Any = (), env: Any = None, path: Any = None
    ) -> MemoryProcess:
        if self.cannot_start:
            raise OSError(11, "Resource temporarily unavailable")
        process = MemoryProcess(protocol, list(args), dict(env or {}), 1000 + len(self.processes))
        self.processes.append(process)
        protocol.makeConnection(process)
        return process

    def live(self) -> list[MemoryProcess]:
        """Return the processes that have not ended."""
        return [process for process in self.processes if not process.ended]


class ChildrenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryProcessReactor()
        self.ended: list[str] = []
        self.asked: list[str] = []
        self.reachable = False
        self.children = Children(self.reactor, self.ended.append, self.ask_to_stop, "broker")
        self.children.killTime = 14
        self.lines: list[str] = []
        self.children.log = Recorder(self.lines)  # type: ignore[assignment]

    def ask_to_stop(self, name: str) -> bool:
        if self.reachable:
            self.asked.append(name)
        return self.reachable

    def start(self, *names: str) -> list[MemoryProcess]:
        for name in names:
            self.children.addProcess(name, ["program", name], env={"A": "1"})
        self.children.startService()
        return self.reactor.processes

    def test_a_child_has_the_given_environment(self) -> None:
        (process,) = self.start("node0")
        self.assertEqual((process.args, process.env), (["program", "node0"], {"A": "1"}))
        self.assertEqual(self.children.pid("node0"), 1000)
        self.assertIsNone(self.children.pid("node1"))

    def test_a_child_that_was_ready_is_restarted_at_once(self) -> None:
        (process,) = self.start("node0")
        self.reactor.advance(60)
        self.children.became_ready("node0")
        self.assertTrue(self.children.is_ready("node0"))
        process.end(signal=9)
        self.assertEqual(self.ended, ["node0"])
        self.assertFalse(self.children.is_ready("node0"))
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.live()), 1)
        self.assertEqual(self.children.starts["node0"], 2)
        self.assertIn("node0 ended (SIGKILL); restarting it now", self.lines)

    def test_the_delay_grows_for_a_child_that_never_becomes_ready(self) -> None:
        self.start("node0")
        delays = []
        for _ in range(10):
            self.reactor.advance(20)  # a long start that fails nevertheless
            (process,) = self.reactor.live()
            process.end(1)
            waited = 0.0
            while not self.reactor.live():
                self.reactor.advance(0.25)
                waited += 0.25
            delays.append(waited)
        self.assertIn("node0 ended (exit status 1); restarting it in 0.25 s", self.lines)
        self.assertIn("node0 ended (exit status 1); restarting it in 16 s", self.lines)
        self.assertEqual(delays, [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30])

    def test_a_ready_child_resets_the_delay(self) -> None:
        self.start("node0")
        for _ in range(4):
            self.reactor.live()[0].end(1)
            self.reactor.advance(4)
        self.reactor.advance(10)
        self.children.became_ready("node0")
        self.reactor.live()[0].end(1)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.live()), 1)

    def test_a_process_that_cannot_be_started_is_tried_again(self) -> None:
        self.reactor.cannot_start = True
        self.start("node0")
        self.assertIn("cannot start node0", self.lines[0])
        self.reactor.cannot_start = False
        self.reactor.advance(0.25)
        self.assertEqual(len(self.reactor.live()), 1)

    def test_a_process_counts_as_ended_while_its_output_is_held_open(self) -> None:
        (process,) = self.start("node0")
        process.ended = True
        process.protocol.processExited(Failure(ProcessTerminated(0, 9)))
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.live()), 1)
        process.protocol.outReceived(b"last words\n")
        self.assertIn("[node0#info] last words", self.lines)

    def test_output_is_logged_by_line_with_name_and_level(self) -> None:
        first, second = self.start("node0", "node1")
        first.protocol.outReceived(b"info: one\nwarn: t")
        second.protocol.errReceived(b"oops\nnote: {braces}\n")
        first.protocol.outReceived(b"wo\nrest")
        first.end()
        self.assertEqual(
            [line for line in self.lines if line.startswith("[")],
            [
                "[node0#info] one",
                "[node1#info] oops",
                "[node1#info] note: {braces}",
                "[node0#warn] two",
                "[node0#info] rest",
            ],
        )

    def test_lines_of_any_length_and_content_are_logged(self) -> None:
        (process,) = self.start("node0")
        process.protocol.outReceived(b"x" * (3 * MAX_LINE) + b"\n\xff\n")
        process.protocol.outReceived(b"y" * (MAX_LINE + 10))
        process.protocol.outReceived(b"\nend\n")
        text = "".join(self.lines)
        self.assertEqual(text.count("x"), 3 * MAX_LINE + 1)  # one more in the escape \xff
        self.assertEqual(text.count("y"), MAX_LINE + 10)
        self.assertEqual(self.lines[-1], "[node0#info] end")

    def test_kill(self) -> None:
        (process,) = self.start("node0")
        self.children.kill("node0")
        self.assertEqual(process.signals, ["KILL"])
        process.end(signal=9)
        self.children.kill("node0")
        self.children.kill("unknown")

    def test_the_nodes_are_stopped_first_and_the_broker_last(self) -> None:
        broker, node0, node1 = self.start("broker", "node0", "node1")
        self.reachable = True
        stopped = self.children.stopService()
        self.assertEqual(self.asked, ["node0", "node1"])
        node0.end()
        self.assertNotIn("broker", self.asked)
        node1.end()
        self.assertEqual(self.asked, ["node0", "node1", "broker"])
        self.assertNoResult(stopped)
        broker.end()
        self.successResultOf(stopped)
        self.assertEqual([p.signals for p in (broker, node0, node1)], [[], [], []])
        self.reactor.advance(100)
        self.assertEqual(self.reactor.live(), [])

    def test_children_without_a_connection_receive_sigterm_then_sigkill(self) -> None:
        (node,) = self.start("node0")
        stopped = self.children.stopService()
        self.reactor.advance(13)
        self.assertEqual(node.signals, ["TERM"])
        self.reactor.advance(1)
        self.assertEqual(node.signals, ["TERM", "KILL"])
        node.end(signal=9)
        self.successResultOf(stopped)

    def test_stop_cancels_a_pending_restart(self) -> None:
        (node,) = self.start("node0")
        node.end(1)
        self.successResultOf(self.children.stopService())
        self.reactor.advance(100)
        self.assertEqual(self.reactor.live(), [])

    def test_stop_is_allowed_before_start(self) -> None:
        self.successResultOf(self.children.stopService())


class Recorder:
    """A logger that keeps the text of each event, after ``[system]`` if the event has one."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def info(self, format: str, **values: Any) -> None:
        text = str(formatEvent({"log_format": format, **values}))
        system = values.get("log_system")
        self._lines.append(f"[{system}] {text}" if system else text)

    warn = error = critical = info

    def emit(self, level: NamedConstant, format: str, **values: Any) -> None:
        self.info(format, **values)


class EnvironmentTests(SynchronousTestCase):
    def test_children_have_the_same_import_path(self) -> None:
        environment = child_environment(
            {"HOME": "/root", "PYTHONPATH": "old"},
            ["", "/site", sysconfig.get_path("stdlib"), "/x/python311.zip", "/site"],
        )
        self.assertEqual(environment["PYTHONPATH"], os.pathsep.join([os.getcwd(), "/site"]))
        self.assertEqual(environment["HOME"], "/root")
        self.assertEqual(environment["PYTHONUNBUFFERED"], "1")

    def test_command(self) -> None:
        command = child_command("node", "--slot", "2")
        self.assertEqual(command[0], sys.executable)
        self.assertEqual(command[-5:], ["-m", "cluster", "node", "--slot", "2"])
