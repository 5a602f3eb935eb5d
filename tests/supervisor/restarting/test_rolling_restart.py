"""Tests of cluster.supervisor.restarting.rolling_restart, with fake processes and a fake clock."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.restarting.awaited_start import START_TIMEOUT_S
from cluster.supervisor.restarting.rolling_restart import RollingRestart
from tests.supervisor.test_child_processes import Recorder


class MemoryProcesses:
    """Records what the restart does; ``drained`` ends a process that was replaced."""

    def __init__(self, *names: str) -> None:
        self.events: list[str] = []
        self.pids: dict[str, int] = {name: 10 + number for number, name in enumerate(names)}
        self.candidates: dict[str, int] = {}
        self.draining: dict[str, Deferred[None]] = {}
        self.cannot_start = False
        self._last = 100

    def pid(self, name: str) -> int | None:
        return self.pids.get(name)

    def candidate_pid(self, name: str) -> int | None:
        return self.candidates.get(name)

    def start_now(self, name: str) -> None:
        self.events.append(f"start {name}")
        if not self.cannot_start:
            self._last += 1
            self.pids.setdefault(name, self._last)

    def start_candidate(self, name: str) -> None:
        if self.cannot_start:
            raise OSError("no memory")
        self._last += 1
        self.candidates[name] = self._last
        self.events.append(f"candidate {name}")

    def kill_candidate(self, name: str) -> None:
        self.events.append(f"kill {name}")

    def promote(self, name: str) -> "Deferred[None]":
        self.events.append(f"promote {name}")
        self.pids[name] = self.candidates.pop(name)
        self.draining[name] = Deferred()
        return self.draining[name]

    def replace_in_place(self, name: str) -> "Deferred[None]":
        self.events.append(f"stop {name}")
        del self.pids[name]
        return succeed(None)

    def drained(self, name: str) -> None:
        self.draining.pop(name).callback(None)


class RestartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.processes = MemoryProcesses("broker", "node0", "node1")
        self.lines: list[str] = []
        self.broker_is_current = True
        self.broker_error: OperationFailed | None = None
        self.restart = self.make("broker")

    def make(self, broker: str) -> RollingRestart:
        restart = RollingRestart(
            lambda: ["node0", "node1"], broker, self.compare, self.processes, self.clock
        )
        restart.log = Recorder(self.lines)  # type: ignore[assignment]
        return restart

    async def compare(self) -> bool:
        if self.broker_error is not None:
            raise self.broker_error
        return self.broker_is_current

    def ready(self, name: str) -> None:
        """The newest process of a child serves."""
        pid = self.processes.candidate_pid(name) or self.processes.pid(name)
        assert pid is not None
        self.restart.starts.became_ready(name, pid)

    def replace(self, name: str) -> None:
        self.ready(name)
        self.processes.drained(name)

    def reason(self, done: "Deferred[str]") -> str:
        return str(self.failureResultOf(done, OperationFailed).value)

    def test_one_node_after_the_other(self) -> None:
        done = self.restart.request()
        events = self.processes.events
        self.assertEqual(events, ["candidate node0"])
        self.clock.advance(2)
        self.ready("node0")
        self.assertEqual(events, ["candidate node0", "promote node0"])
        self.processes.drained("node0")
        self.assertEqual(events[2:], ["candidate node1"])
        self.replace("node1")
        text = "restarted 2 nodes in 2.0 s; the broker's code has not changed"
        self.assertEqual(self.successResultOf(done), text)
        self.assertEqual(self.lines[-1], text)
        self.assertFalse(self.restart.is_running)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_broker_is_last_if_its_code_has_changed(self) -> None:
        self.broker_is_current = False
        done = self.restart.request()
        self.replace("node0")
        self.replace("node1")
        self.assertEqual(self.processes.events[-2:], ["stop broker", "start broker"])
        self.assertNoResult(done)
        self.ready("broker")
        self.assertEqual(self.successResultOf(done), "restarted 2 nodes in 0.0 s")

    def test_a_cluster_without_a_broker_of_its_own(self) -> None:
        self.broker_is_current = False
        self.restart = self.make("")
        done = self.restart.request()
        self.replace("node0")
        self.replace("node1")
        self.successResultOf(done)

    def test_code_of_the_broker_that_cannot_be_loaded_ends_the_restart_before_it_begins(
        self,
    ) -> None:
        self.broker_error = OperationFailed("the broker's code cannot be loaded: SyntaxError")
        self.assertIn("SyntaxError", self.reason(self.restart.request()))
        self.assertEqual(self.processes.events, [])

    def test_a_replacement_that_cannot_start_ends_the_restart(self) -> None:
        done = self.restart.request()
        pid = self.processes.candidates["node0"]
        self.restart.starts.start_failed("node0", pid, "ImportError: no module named shop")
        del self.processes.candidates["node0"]
        self.restart.starts.ended("node0", "exit status 1")
        reason = "the new process of node0 cannot start: ImportError: no module named shop"
        self.assertEqual(self.reason(done), reason)
        self.assertIn(f"the restart has ended early: {reason}", self.lines)
        self.assertEqual(self.processes.events, ["candidate node0"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_replacement_that_ends_without_a_reason(self) -> None:
        done = self.restart.request()
        del self.processes.candidates["node0"]
        self.restart.starts.ended("node0", "SIGKILL")
        self.assertEqual(self.reason(done), "the new process of node0 cannot start: SIGKILL")

    def test_a_replacement_that_is_never_ready_is_killed(self) -> None:
        done = self.restart.request()
        self.clock.advance(START_TIMEOUT_S)
        self.assertEqual(self.processes.events[-1], "kill node0")
        self.assertIn("it does not serve after 60 s", self.reason(done))

    def test_a_process_that_cannot_be_spawned(self) -> None:
        self.processes.cannot_start = True
        self.assertIn("no memory", self.reason(self.restart.request()))
        del self.processes.pids["node0"]
        self.assertIn("cannot be started", self.reason(self.restart.request()))

    def test_a_node_that_waits_for_its_next_start_starts_now(self) -> None:
        del self.processes.pids["node0"]
        done = self.restart.request()
        self.assertEqual(self.processes.events, ["start node0"])
        self.ready("node0")
        self.assertEqual(self.processes.events[1:], ["candidate node1"])
        self.replace("node1")
        self.successResultOf(done)

    def test_a_node_that_ends_meanwhile_is_replaced_by_the_candidate(self) -> None:
        done = self.restart.request()
        self.processes.pids["node0"] = self.processes.candidates.pop("node0")
        self.restart.starts.ended("node0")
        self.assertNoResult(done)
        self.ready("node0")
        self.assertEqual(self.processes.events, ["candidate node0", "candidate node1"])
        del self.processes.pids["node1"]
        del self.processes.candidates["node1"]
        self.restart.starts.ended("node1")
        self.assertIn("node1 cannot start: it ended before it was ready", self.reason(done))

    def test_other_children_may_end_and_become_ready_meanwhile(self) -> None:
        done = self.restart.request()
        self.processes.pids["node1"] = 7
        self.restart.starts.ended("node1")
        self.restart.starts.became_ready("node1", 7)
        self.restart.starts.became_ready("node0", 10)  # the process that is to be replaced
        self.restart.starts.start_failed("node1", 7, "no")
        self.assertNoResult(done)
        self.assertEqual(self.processes.events, ["candidate node0"])
        self.replace("node0")
        self.replace("node1")
        self.successResultOf(done)

    def test_requests_during_a_restart_are_performed_once_after_it(self) -> None:
        first, second, third = (self.restart.request() for _ in range(3))
        self.replace("node0")
        self.replace("node1")
        self.successResultOf(first)
        self.assertNoResult(second)
        self.assertEqual(self.processes.events[-1], "candidate node0")
        self.replace("node0")
        self.replace("node1")
        self.assertEqual(self.successResultOf(second), self.successResultOf(third))
        self.assertFalse(self.restart.is_running)

    def test_a_failed_restart_does_not_prevent_the_next_one(self) -> None:
        first, second = self.restart.request(), self.restart.request()
        del self.processes.candidates["node0"]
        self.restart.starts.ended("node0", "SIGKILL")
        self.reason(first)
        self.replace("node0")
        self.replace("node1")
        self.successResultOf(second)

    def test_a_stop_ends_a_restart_and_refuses_further_ones(self) -> None:
        for draining in (False, True):
            self.setUp()
            first, second = self.restart.request(), self.restart.request()
            if draining:
                self.ready("node0")
            self.restart.stop()
            for done in (first, second, self.restart.request()):
                self.assertEqual(self.reason(done), "the cluster is stopping")
            self.assertEqual(self.clock.getDelayedCalls(), [])
            if draining:
                self.processes.drained("node0")

    def test_a_bug_is_logged_and_reported(self) -> None:
        self.patch(self.processes, "start_candidate", lambda name: 1 // 0)
        self.restart.log = type(self.restart).log
        self.assertIn("internal error", self.reason(self.restart.request()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
