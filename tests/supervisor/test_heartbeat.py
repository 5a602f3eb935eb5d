"""Tests of cluster.supervisor.heartbeat, with fake connections and processes."""

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor.heartbeat import Heartbeat
from tests.supervisor.test_child_processes import Recorder


class RecordingLink:
    """A child's control connection; answers when the test calls ``answer``."""

    def __init__(self, slot: int, pid: int) -> None:
        self.slot = slot
        self.pid = pid
        self.questions: list[Deferred[dict[str, Any]]] = []
        self.asked_to_stop = self.handing_over = False
        self.drain_timeout = self.restart_spread = self.fingerprint = None
        self.gone = False

    def stats(self) -> "Deferred[dict[str, Any]]":
        if self.gone:
            return fail(ConnectionLost())
        self.questions.append(Deferred())
        return self.questions[-1]

    def answer(self, **statistics: Any) -> None:
        """Answer all pending requests."""
        questions, self.questions = self.questions, []
        for question in questions:
            question.callback(statistics)

    def stop(self, handing_over: bool = False) -> None:
        self.asked_to_stop = True
        self.handing_over = handing_over


class RecordingProcesses:
    """Records which processes run, serve and are stopped, and what was done to them."""

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}
        self.ready: set[str] = set()
        self.stopped: set[str] = set()
        self.shown: list[str] = []
        self.killed: list[str] = []

    def pid(self, name: str) -> int | None:
        return self.pids.get(name)

    def is_ready(self, name: str) -> bool:
        return name in self.ready

    def is_stopped(self, name: str) -> bool:
        return name in self.stopped

    def show_stacks(self, name: str) -> None:
        self.shown.append(name)

    def kill(self, name: str) -> None:
        self.killed.append(name)


class HeartbeatTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.processes = RecordingProcesses()
        self.lines: list[str] = []
        self.turn_age = 0.0
        self.heartbeat = Heartbeat(lambda: ["broker", "node0", "node1"], self.processes, self.clock)
        self.heartbeat.log = Recorder(self.lines)  # type: ignore[assignment]
        self.heartbeat.start()

    def spawn(self, name: str) -> None:
        """Start a child's process."""
        self.processes.pids[name] = 1000 + len(self.processes.pids)

    def register(self, name: str) -> RecordingLink:
        """Register a child."""
        self.spawn(name)
        link = RecordingLink(0, self.processes.pids[name])
        self.heartbeat.joined(name, link)  # type: ignore[arg-type]
        return link

    def serve(self, name: str) -> RecordingLink:
        """Register a child, which is ready at once."""
        link = self.register(name)
        self.processes.ready.add(name)
        self.heartbeat.became_ready(name)
        return link

    def beat(self, seconds: int, *reporting: str, blocked: bool = False) -> None:
        """Advance the clock, while the given children report."""
        for _ in range(seconds):
            self.clock.advance(1)
            self.turn_age = self.turn_age + 1 if blocked else 0.2
            for name in reporting:
                self.heartbeat.heard(name, self.turn_age)


class WatchTests(HeartbeatTestCase):
    """What follows from the reports; tests.core.test_watchdog tests the decisions."""

    def test_children_that_report_are_kept(self) -> None:
        self.serve("broker")
        self.serve("node0")
        self.beat(100, "broker", "node0")
        self.assertEqual((self.processes.killed, self.processes.shown), ([], []))

    def test_a_blocked_child_is_asked_to_stop_and_then_killed(self) -> None:
        link = self.serve("node0")
        self.beat(25, "node0", blocked=True)
        self.assertEqual((link.asked_to_stop, self.lines), (False, []))
        self.beat(6, "node0", blocked=True)
        self.assertEqual((link.asked_to_stop, self.processes.killed), (True, []))
        self.assertEqual(self.processes.shown, ["node0"])
        self.beat(5, "node0", blocked=True)
        self.assertEqual(self.processes.killed, ["node0"])
        self.assertEqual(
            self.lines,
            [
                "the event loop of node0 (process 1000) has been blocked for 30 s: it is asked to"
                " close its clients, and killed in 5 s if it does not; its stacks:",
                "the event loop of node0 (process 1000) has been blocked for 35 s; killing and"
                " replacing it",
            ],
        )

    def test_a_child_without_a_connection_is_killed_nevertheless(self) -> None:
        link = self.serve("node0")
        self.heartbeat.left("node0", link)  # type: ignore[arg-type]
        self.beat(40, "node0", blocked=True)
        self.assertEqual(self.processes.killed, ["node0"])

    def test_a_silent_child_shows_its_stacks(self) -> None:
        self.serve("node0")
        self.beat(1, "node0")
        self.beat(5)
        self.assertEqual(self.processes.shown, ["node0"])
        self.assertEqual(self.lines, ["node0 (process 1000) is blocked by one call; its stacks:"])

    def test_a_stopped_child_is_killed_after_ten_seconds(self) -> None:
        self.serve("node0")
        self.beat(1, "node0")
        self.processes.stopped.add("node0")
        self.beat(9)
        self.assertEqual(self.processes.killed, [])
        self.beat(2)
        self.assertEqual(self.processes.killed, ["node0"])
        self.assertEqual(
            self.lines,
            ["node0 (process 1000) has been stopped for 10 s; killing and replacing it"],
        )

    def test_a_blocked_start_may_take_a_minute(self) -> None:
        self.spawn("node0")
        self.beat(60, "node0", blocked=True)
        self.assertEqual(self.processes.killed, [])
        self.beat(1, "node0", blocked=True)
        self.assertEqual(self.processes.killed, ["node0"])
        self.assertIn("blocked for 60 s; killing and replacing it", self.lines[0])

    def test_a_start_whose_loop_runs_may_take_longer(self) -> None:
        self.spawn("node0")
        self.beat(100, "node0")
        self.assertEqual(self.processes.killed, [])

    def test_the_time_restarts_for_the_next_process(self) -> None:
        self.spawn("node0")
        self.beat(50)
        self.heartbeat.ended("node0")
        self.beat(50)
        self.assertEqual(self.processes.killed, [])

    def test_the_time_restarts_after_the_supervisor_was_stopped(self) -> None:
        self.serve("node0")
        self.beat(1, "node0")
        self.clock.advance(60)  # one step, as after SIGSTOP
        self.beat(5, "node0")
        self.assertEqual((self.processes.killed, self.processes.shown), ([], []))

    def test_stop_ends_the_heartbeat(self) -> None:
        self.serve("node0")
        self.heartbeat.stop()
        self.heartbeat.stop()
        self.beat(100)
        self.assertEqual(self.processes.killed, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LinkTests(HeartbeatTestCase):
    def test_losing_an_old_connection_keeps_the_new_one(self) -> None:
        old = self.serve("node0")
        new = self.serve("node0")
        self.heartbeat.left("node0", old)  # type: ignore[arg-type]
        self.assertIs(self.heartbeat.link("node0"), new)


class SurveyTests(HeartbeatTestCase):
    def missing(self) -> list[str]:
        return self.heartbeat.missing(self.successResultOf(self.survey))

    def test_nothing_is_missing_if_all_serve(self) -> None:
        links = [self.serve(name) for name in ("broker", "node0", "node1")]
        self.survey = self.heartbeat.survey()
        for number, link in enumerate(links):
            self.assertNoResult(self.survey)
            link.answer(ready=True, connections=number)
        statistics = self.successResultOf(self.survey)
        self.assertEqual(list(statistics), ["broker", "node0", "node1"])
        self.assertEqual(statistics["node1"], {"ready": True, "connections": 2})
        self.assertEqual(self.heartbeat.missing(statistics), [])

    def test_missing_has_the_children_that_do_not_serve_with_the_reasons(self) -> None:
        self.register("broker")
        silent = self.serve("node0")
        self.survey = self.heartbeat.survey()
        self.clock.advance(1.1)
        self.assertEqual(
            self.missing(),
            ["broker is starting", "node0 does not answer", "node1 is not running"],
        )
        self.survey = self.heartbeat.survey()
        silent.answer(ready=False)
        self.clock.advance(1.1)
        self.assertIn("node0 is draining or without the bus", self.missing())

    def test_a_node_without_room_is_reported(self) -> None:
        self.serve("node0")
        self.survey = self.heartbeat.survey()
        self.clock.advance(1.1)
        statistics = self.successResultOf(self.survey)
        statistics["node0"] = {"ready": True, "shortage": "has no room"}
        phrases = self.heartbeat.missing(statistics)
        self.assertIn("node0 has no room", phrases)

    def test_a_connection_that_fails_has_no_statistics(self) -> None:
        self.serve("node0").gone = True
        self.survey = self.heartbeat.survey()
        self.assertEqual(
            self.successResultOf(self.survey), {"broker": None, "node0": None, "node1": None}
        )
