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

from cluster.supervisor.child_command import child_command, child_environment
from cluster.supervisor.child_processes import SPARE, SPARE_PAUSE_S, Children
from cluster.supervisor.heartbeat_pipe import DESCRIPTOR, STACKS_SIGNAL


class MemoryProcess:
    """A process transport that records signals, and ends when the test calls ``end``."""

    def __init__(self, protocol: Any, args: list[str], env: dict[str, str], pid: int) -> None:
        self.protocol = protocol
        self.args = args
        self.env = env
        self.pid = pid
        self.child_fds: Any = None
        self.signals: list[str | int] = []
        self.ended = False

    def signalProcess(self, name: str | int) -> None:
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
        self,
        protocol: Any,
        executable: str,
        args: Any = (),
        env: Any = None,
        path: Any = None,
        childFDs: Any = None,
    ) -> MemoryProcess:
        if self.cannot_start:
            raise OSError(11, "Resource temporarily unavailable")
        process = MemoryProcess(protocol, list(args), dict(env or {}), 1000 + len(self.processes))
        process.child_fds = childFDs
        self.processes.append(process)
        protocol.makeConnection(process)
        return process

    def live(self) -> list[MemoryProcess]:
        """Return the processes that have not ended."""
        return [process for process in self.processes if not process.ended]


class ChildrenTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryProcessReactor()
        self.ended: list[str] = []
        self.asked: list[str] = []
        self.reachable = False
        self.candidates_ended: list[tuple[str, str]] = []
        self.handing_over: list[str] = []
        self.children = Children(
            self.reactor,
            lambda name, how: self.ended.append(name),
            self.candidate_ended,
            self.ask_to_stop,
            "broker",
        )
        self.children.killTime = 14
        self.children.hand_over_time = 24
        self.lines: list[str] = []
        self.children.log = Recorder(self.lines)  # type: ignore[assignment]

    def candidate_ended(self, name: str, how: str) -> None:
        self.candidates_ended.append((name, how))

    def ask_to_stop(self, pid: int, handing_over: bool) -> bool:
        if self.reachable:
            name = self.reactor.processes[pid - 1000].args[1]
            (self.handing_over if handing_over else self.asked).append(name)
        return self.reachable

    def start(self, *names: str) -> list[MemoryProcess]:
        for name in names:
            self.children.addProcess(name, ["program", name], env={"A": "1"})
        self.children.startService()
        return self.reactor.processes


class ChildrenTests(ChildrenTestCase):
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

    def test_the_delay_of_the_broker_stays_short(self) -> None:
        self.start("broker")
        for _ in range(8):
            self.reactor.live()[0].end(1)
            self.reactor.advance(2)
        self.reactor.live()[0].end(1)
        self.assertEqual(self.lines[-1], "broker ended (exit status 1); restarting it in 2 s")

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
        process.protocol.childDataReceived(1, b"last words\n")
        self.assertIn("[node0#info] last words", self.lines)

    def test_output_is_logged_by_line_with_name_and_level(self) -> None:
        first, second = self.start("node0", "node1")
        self.assertEqual(first.child_fds, {0: "w", 1: "r", 2: "r", 3: "r", 4: "r"})
        first.protocol.childDataReceived(3, b"2026 [node0#warn] two\n")
        second.protocol.childDataReceived(2, b"oops\n")
        first.protocol.childDataReceived(1, b"rest")
        first.end()
        self.assertEqual(
            [line for line in self.lines if line.startswith("[")],
            ["[node0#warn] two", "[node1#info] oops", "[node0#info] rest"],
        )

    def test_reports_of_the_current_process_are_passed_on(self) -> None:
        reports: list[tuple[str, float]] = []
        self.children.heard = lambda name, turn_age: reports.append((name, turn_age))
        (process,) = self.start("node0")
        for data in (b"0.3\n", b"1.3\n1.8\n", b"nonsense"):
            process.protocol.childDataReceived(DESCRIPTOR, data)
        process.protocol.childDataReceived(1, b"a line\n")
        self.assertEqual(reports, [("node0", 0.3), ("node0", 1.8)])
        self.assertIn("a line", self.lines[-1])
        process.end(1)
        process.protocol.childDataReceived(DESCRIPTOR, b"0.3\n")
        self.assertEqual(len(reports), 2)

    def test_the_stacks_of_a_process_that_runs_are_shown(self) -> None:
        (process,) = self.start("node0")
        self.assertFalse(self.children.is_stopped("unknown"))
        self.children.show_stacks("unknown")
        self.children.show_stacks("node0")
        self.assertEqual(process.signals, [STACKS_SIGNAL])
        process.end(1)
        self.children.show_stacks("node0")

    def test_kill(self) -> None:
        (process,) = self.start("node0")
        self.children.kill("node0")
        self.assertEqual(process.signals, [STACKS_SIGNAL])
        self.reactor.advance(1)
        self.assertEqual(process.signals, [STACKS_SIGNAL, "KILL"])
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
        self.assertEqual(node.signals, ["TERM", STACKS_SIGNAL])
        self.reactor.advance(1)
        self.assertEqual(node.signals, ["TERM", STACKS_SIGNAL, "KILL"])
        node.end(signal=9)
        self.successResultOf(stopped)
        self.assertEqual(self.lines[-1], "node0 did not stop within 14 s and was killed")

    def test_a_child_that_waits_for_others_to_start_can_be_started_now(self) -> None:
        self.children.starts_at_once = 1
        self.start("node0", "node1")
        self.assertIsNone(self.children.pid("node1"))
        self.children.start_now("node1")
        self.assertIsNotNone(self.children.pid("node1"))
        self.children.became_ready("node0")
        self.assertEqual(len(self.reactor.processes), 2)

    def test_stop_cancels_a_pending_restart(self) -> None:
        (node,) = self.start("node0")
        node.end(1)
        self.successResultOf(self.children.stopService())
        self.reactor.advance(100)
        self.assertEqual(self.reactor.live(), [])

    def test_stop_is_allowed_before_start(self) -> None:
        self.successResultOf(self.children.stopService())


class SpareTests(ChildrenTestCase):
    def test_the_spare_process_takes_the_place_of_a_child_and_the_next_one_starts(self) -> None:
        node, spare = self.start("node0", SPARE)
        for name in ("node0", SPARE):
            self.children.became_ready(name)
        self.reactor.advance(10)
        node.end(signal=9)
        self.children.use_spare("node0")
        self.assertEqual(self.children.pid("node0"), spare.pid)
        self.assertFalse(self.children.is_ready("node0"))
        self.assertIsNone(self.children.pid(SPARE))
        spare.protocol.childDataReceived(1, b"hello\n")
        self.assertIn("[node0#info] hello", self.lines)
        self.reactor.advance(SPARE_PAUSE_S)
        self.assertEqual(len(self.reactor.live()), 2)
        self.assertIsNotNone(self.children.pid(SPARE))
        self.children.became_ready("node0")
        spare.end()
        self.assertEqual(self.ended, ["node0", "node0"])


class CandidateTests(ChildrenTestCase):
    """A child with a second process, which takes its place."""

    def begin(self) -> tuple[MemoryProcess, MemoryProcess]:
        """Start a child that serves, and its candidate."""
        self.start("node0")
        self.children.became_ready("node0")
        self.reachable = True
        self.reactor.advance(10)
        self.children.start_candidate("node0")
        first, candidate = self.reactor.processes
        return first, candidate

    def test_the_candidate_takes_the_place_of_the_process_which_is_asked_to_stop(self) -> None:
        first, candidate = self.begin()
        self.assertEqual(self.children.pid("node0"), first.pid)
        self.assertEqual(self.children.candidate_pid("node0"), candidate.pid)
        ended = self.children.promote("node0")
        self.assertEqual(self.children.pid("node0"), candidate.pid)
        self.assertIsNone(self.children.candidate_pid("node0"))
        self.assertTrue(self.children.is_ready("node0"))
        self.assertEqual((self.handing_over, self.asked), (["node0"], []))
        self.assertNoResult(ended)
        first.end()
        self.successResultOf(ended)
        self.assertEqual(self.lines, ["the previous process of node0 ended (exit status 0)"])
        self.assertEqual(self.ended, [], "the child has not ended")
        self.reactor.advance(100)
        self.assertEqual(self.reactor.live(), [candidate])
        self.assertEqual(candidate.signals, [])

    def test_a_process_that_does_not_hand_over_in_time_is_killed(self) -> None:
        first, _ = self.begin()
        ended = self.children.promote("node0")
        self.reactor.advance(23)
        self.assertEqual(first.signals, [])
        self.reactor.advance(1)
        self.reactor.advance(1)
        self.assertEqual(first.signals, [STACKS_SIGNAL, "KILL"])
        first.end(signal=9)
        self.successResultOf(ended)

    def test_a_candidate_that_ends_changes_nothing(self) -> None:
        first, candidate = self.begin()
        candidate.end(1)
        self.assertEqual(self.candidates_ended, [("node0", "exit status 1")])
        self.assertIsNone(self.children.candidate_pid("node0"))
        self.reactor.advance(100)
        self.assertEqual(self.reactor.live(), [first])
        self.assertTrue(self.children.is_ready("node0"))

    def test_a_candidate_takes_the_place_of_a_process_that_ends(self) -> None:
        first, candidate = self.begin()
        first.end(signal=9)
        self.assertEqual(self.lines, ["node0 ended (SIGKILL); its replacement is starting"])
        self.assertEqual(self.ended, ["node0"])
        self.assertEqual(self.children.pid("node0"), candidate.pid)
        self.assertFalse(self.children.is_ready("node0"))
        self.reactor.advance(100)
        self.assertEqual(self.reactor.live(), [candidate])
        candidate.end(1)
        self.reactor.advance(0.25)
        self.assertEqual(len(self.reactor.live()), 1, "it is restarted like any child")

    def test_a_candidate_that_cannot_be_started(self) -> None:
        self.start("node0")
        self.reactor.cannot_start = True
        self.assertRaises(OSError, self.children.start_candidate, "node0")
        self.assertIsNone(self.children.candidate_pid("node0"))

    def test_kill_candidate(self) -> None:
        first, candidate = self.begin()
        self.children.kill_candidate("node0")
        self.reactor.advance(1)
        self.assertEqual((first.signals, candidate.signals), ([], [STACKS_SIGNAL, "KILL"]))

    def test_a_stop_ends_all_processes(self) -> None:
        first, second = self.begin()
        self.children.promote("node0")
        self.children.start_candidate("node0")
        third = self.reactor.processes[2]
        stopped = self.children.stopService()
        self.assertEqual(self.asked, ["node0", "node0", "node0"])
        for process in (third, second):
            process.end()
        self.assertNoResult(stopped)
        first.end()
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_child_that_waits_for_its_next_start_starts_now(self) -> None:
        self.start("node0")
        for _ in range(6):
            self.reactor.live()[0].end(1)
            self.reactor.advance(self.children.delay["node0"] / 2)
        self.reactor.live()[0].end(1)
        self.assertEqual(self.reactor.live(), [])
        self.children.start_now("node0")
        self.assertEqual(len(self.reactor.live()), 1)
        self.assertEqual(self.children.delay["node0"], 0.25)
        self.children.start_now("node0")
        self.assertEqual(len(self.reactor.live()), 1)

    def test_a_retired_child_drains_and_is_not_started_again(self) -> None:
        (node,) = self.start("node0")
        self.children.became_ready("node0")
        self.reachable = True
        self.children.retire("node0")
        self.assertTrue(self.children.is_retired("node0"))
        self.assertEqual(self.handing_over, [])
        ended = self.children.hand_over("node0")
        self.assertEqual(self.handing_over, ["node0"])
        node.end()
        self.successResultOf(ended)
        self.assertEqual(self.ended, ["node0"])
        self.assertIn("node0 ended (exit status 0)", self.lines)
        self.reactor.advance(60)
        self.assertEqual(self.reactor.live(), [])
        self.children.start_now("node0")
        self.assertFalse(self.children.is_retired("node0"))
        self.reactor.live()[0].end(1)
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.live()), 1)

    def test_a_retired_child_that_waits_for_its_start_is_not_started(self) -> None:
        (node,) = self.start("node0")
        node.end(1)
        self.children.retire("node0")
        self.assertEqual(self.children.waiting(), [])
        self.successResultOf(self.children.hand_over("node0"))
        self.children.forget("node0")
        self.reactor.advance(60)
        self.assertEqual(self.reactor.live(), [])
        self.children.addProcess("node0", ["program", "node0"], env={})
        self.assertEqual(len(self.reactor.live()), 1)

    def test_the_broker_is_replaced_in_place(self) -> None:
        (broker,) = self.start("broker")
        self.children.became_ready("broker")
        self.reactor.advance(10)
        self.reachable = True
        ended = self.children.replace_in_place("broker")
        self.assertEqual(self.asked, ["broker"])
        broker.end()
        self.successResultOf(ended)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.live()), 1)


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


class StaggeredStartTests(ChildrenTestCase):
    """Only some children load the site at the same time."""

    def setUp(self) -> None:
        super().setUp()
        self.children.starts_at_once = 2
        for name in ("broker", "a", "b", "c", "d"):
            self.children.addProcess(name, [name])
        self.children.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.children.stopService()
        for process in self.reactor.live():
            process.end()
        for call in self.reactor.getDelayedCalls():
            call.cancel()

    def started(self) -> list[str]:
        return [process.args[0] for process in self.reactor.processes]

    def test_the_next_starts_when_one_serves(self) -> None:
        self.assertEqual(self.started(), ["broker", "a", "b"])
        self.children.became_ready("broker")
        self.assertEqual(self.started(), ["broker", "a", "b"])
        self.children.became_ready("b")
        self.assertEqual(self.started(), ["broker", "a", "b", "c"])
        self.children.became_ready("a")
        self.assertEqual(self.started(), ["broker", "a", "b", "c", "d"])

    def test_the_next_starts_when_one_has_failed(self) -> None:
        self.reactor.processes[1].end(status=1)
        self.assertEqual(self.started(), ["broker", "a", "b", "c"])
        self.reactor.advance(0.25)
        self.assertEqual(self.started(), ["broker", "a", "b", "c", "a"])

    def test_nothing_is_started_after_the_stop(self) -> None:
        self.children.stopService()
        for process in self.reactor.live():
            process.end()
        self.assertEqual(self.started(), ["broker", "a", "b"])
