"""Tests of cluster.supervisor.operators.scaling, with a supervisor, real sockets and fake
processes."""

from typing import Any

from twisted.internet.defer import Deferred

from cluster.core.exceptions import ConfigurationError, OperationFailed
from cluster.supervisor.control_connection.commands import BROKER_SLOT
from cluster.supervisor.operators.scaling import HANDSHAKE_S, LOOK_S, QUEUE_S
from cluster.supervisor.supervisor import Supervisor
from tests.supervisor.test_heartbeat import RecordingLink
from tests.supervisor.test_supervisor import SupervisorTestCase


class ScalingTestCase(SupervisorTestCase):
    def begin(self, nodes: int = 2, **options: Any) -> Supervisor:
        """A cluster that is ready."""
        self.supervisor = self.start(nodes, **options)
        slots = range(nodes) if options.get("bus") else (BROKER_SLOT, *range(nodes))
        self.links = {slot: self.ready(self.supervisor, slot) for slot in slots}
        return self.supervisor

    def ask(self, what: str, **arguments: Any) -> "Deferred[Any]":
        return self.supervisor.ask(what, arguments)

    def refused(self, what: str, **arguments: Any) -> str:
        try:
            failure = self.failureResultOf(self.ask(what, **arguments), OperationFailed)
            return failure.getErrorMessage()
        except OperationFailed as error:
            return str(error)

    def end(self, slot: int) -> None:
        """The process of a node that drains ends."""
        process = self.process(self.supervisor, f"node{slot}")
        link = self.links.pop(slot)
        link.gone = True
        process.end()
        self.supervisor.registry.left(link)  # type: ignore[arg-type]

    def drain(self, slot: int) -> Any:
        done = self.ask("drain", node=f"node{slot}")
        self.reactor.advance(HANDSHAKE_S)
        self.end(slot)
        return self.successResultOf(done)

    def states(self) -> dict[str, str]:
        return {each.name: each.state for each in self.supervisor._view.process_states()}

    def events(self) -> list[str]:
        events = self.supervisor._view.status.events.newest(9)
        return [f"{each.process} {each.text}".strip() for each in events]


class DrainTests(ScalingTestCase):
    def test_a_node_accepts_its_queue_drains_and_stays_down(self) -> None:
        supervisor = self.begin()
        queued = [3]
        self.patch(supervisor._slots, "queued", lambda number: queued[0])
        capacity = supervisor._view.capacity()
        done = self.ask("drain", node="node1")
        self.reactor.advance(HANDSHAKE_S)
        self.assertEqual("draining", self.states()["node1"])
        self.assertFalse(self.links[1].asked_to_stop)
        self.assertTrue(supervisor._slots.is_open(1))
        queued[0] = 0
        self.reactor.advance(LOOK_S)
        self.assertTrue(self.links[1].asked_to_stop and self.links[1].handing_over)
        self.assertFalse(supervisor._slots.is_open(1))
        self.assertNoResult(done)
        self.end(1)
        answer = {"node": "node1", "state": "drained", "seconds": 0.6}
        self.assertEqual(answer, self.successResultOf(done))
        self.reactor.advance(60)
        self.assertIsNone(supervisor.children.pid("node1"))
        self.assertEqual({"node0": "ready", "node1": "drained", "broker": "ready"}, self.states())
        self.assertEqual(capacity // 2, supervisor._view.capacity())
        self.assertEqual(1, supervisor.admin.own_statistics()["drained_nodes"])
        self.assertEqual(["node1 drained", "node1 ended (exit status 0)"], self.events()[:2])

    def test_the_cluster_is_ready_without_it(self) -> None:
        supervisor = self.begin()
        self.patch(supervisor.control, "missing", lambda links, serves: [])
        done = self.ask("drain", node="node1")
        self.reactor.advance(HANDSHAKE_S)
        ready = {"ready": True}
        statistics = {"broker": ready, "node0": ready, "node1": {"ready": False}}
        self.assertEqual([], supervisor.admin.missing(statistics))
        self.assertFalse(supervisor.admin._serves(self.links[1]))  # type: ignore[arg-type]
        self.assertTrue(supervisor.admin._serves(self.links[0]))  # type: ignore[arg-type]
        self.end(1)
        self.successResultOf(done)
        survey = supervisor.admin.survey()
        for link in self.links.values():
            link.answer(ready=True)
        self.assertEqual({"broker", "node0"}, set(self.successResultOf(survey)))

    def test_a_queue_that_nobody_accepts_is_not_waited_for_indefinitely(self) -> None:
        supervisor = self.begin()
        self.patch(supervisor._slots, "queued", lambda number: 1)
        self.ask("drain", node="node1").addErrback(lambda _: None)  # it is stopped at the end
        self.reactor.pump([HANDSHAKE_S, *[LOOK_S] * int(QUEUE_S / LOOK_S + 1)])
        self.assertTrue(self.links[1].asked_to_stop)

    def test_a_node_that_ends_while_its_queue_is_accepted_is_drained(self) -> None:
        supervisor = self.begin(spare=True)
        self.patch(supervisor._slots, "queued", lambda number: 1)
        done = self.ask("drain", node="node1")
        self.end(1)
        self.reactor.advance(HANDSHAKE_S)
        self.successResultOf(done)
        self.assertEqual("drained", self.states()["node1"])

    def test_a_node_that_waits_for_its_next_start(self) -> None:
        supervisor = self.begin()
        self.process(supervisor, "node1").end(1)
        self.assertEqual(["node1"], supervisor.children.waiting())
        self.successResultOf(self.ask("drain", node="node1"))
        self.reactor.advance(60)
        self.assertEqual("drained", self.states()["node1"])

    def test_refusals(self) -> None:
        self.begin()
        self.assertEqual(
            "there is no node 'node7'; this cluster has node0, node1",
            self.refused("drain", node="node7"),
        )
        self.assertEqual("node0 is not drained", self.refused("undo_drain", node="node0"))
        self.drain(1)
        self.assertEqual("node1 is drained already", self.refused("drain", node="node1"))
        self.assertEqual(
            "node0 cannot be drained: no other node serves", self.refused("drain", node="node0")
        )

    def test_undo(self) -> None:
        supervisor = self.begin()
        self.drain(1)
        done = self.ask("undo_drain", node="node1")
        self.assertEqual("starting", self.states()["node1"])
        self.reactor.advance(1)
        self.links[1] = self.ready(supervisor, 1)
        self.assertEqual("ready", self.successResultOf(done)["state"])
        self.assertTrue(supervisor._slots.is_open(1))
        self.assertEqual(0, supervisor.admin.own_statistics()["drained_nodes"])
        self.lose(supervisor, self.links[1])  # it is restarted again
        self.reactor.advance(1)
        self.assertIsNotNone(supervisor.children.pid("node1"))

    def test_undo_reports_why_the_node_cannot_start(self) -> None:
        supervisor = self.begin()
        self.drain(1)
        done = self.ask("undo_drain", node="node1")
        link = self.register(supervisor, 1)
        supervisor.registry.start_failed(link, "no database", False)  # type: ignore[arg-type]
        failure = self.failureResultOf(done, OperationFailed)
        self.assertIn("node1 cannot start: no database", failure.getErrorMessage())

    def test_a_restart_starts_it(self) -> None:
        supervisor = self.begin(2, bus="tcp://127.0.0.1:7000")
        self.drain(1)
        done = supervisor.restart()
        self.assertIn("a restart is in progress", self.refused("drain", node="node0"))
        first = self.process(supervisor, "node0")
        pid = supervisor.children.candidate_pid("node0") or 0
        link: Any = RecordingLink(0, pid)
        supervisor.registry.registered(link, 0, pid)
        supervisor.registry.became_ready(link)
        first.end()
        self.ready(supervisor, 1)
        self.assertIn("restarted 2 nodes", self.successResultOf(done))
        self.assertEqual({"node0": "ready", "node1": "ready"}, self.states())

    def test_one_command_at_a_time_and_a_restart_waits(self) -> None:
        supervisor = self.begin(3)
        done = self.ask("drain", node="node1")
        self.assertIn("another drain or scale", self.refused("drain", node="node2"))
        self.assertIn("another drain or scale", self.refused("scale", nodes=2))
        restarted = supervisor.restart()
        self.assertFalse(supervisor._restart.is_running)
        self.reactor.advance(HANDSHAKE_S)
        self.end(1)
        self.successResultOf(done)
        self.assertTrue(supervisor._restart.is_running)
        restarted.addErrback(lambda _: None)  # it is stopped at the end

    def test_a_stop_ends_it(self) -> None:
        supervisor = self.begin()
        done = self.ask("drain", node="node1")
        stopped = supervisor.stopService()
        self.assertIn("stopping", str(self.failureResultOf(done, OperationFailed).value))
        self.assertIn("stopping", self.refused("scale", nodes=3))
        self.assertTrue(self.links[1].asked_to_stop)
        for _ in range(2):
            for process in self.reactor.live():
                process.end()
        self.successResultOf(stopped)


class ScaleTests(ScalingTestCase):
    def test_new_nodes_start_one_after_the_other(self) -> None:
        supervisor = self.begin()
        capacity = supervisor._view.capacity()
        done = self.ask("scale", nodes=4)
        self.assertEqual(["broker", "node0", "node1", "node2"], supervisor.roster.names)
        self.ready(supervisor, 2)
        self.assertEqual(["--slot", "3"], self.process(supervisor, "node3").args[-2:])
        self.ready(supervisor, 3)
        self.assertEqual({"nodes": 4, "before": 2, "seconds": 0.0}, self.successResultOf(done))
        self.assertEqual("ready", self.states()["node3"])
        self.assertEqual(2 * capacity, supervisor._view.capacity())
        self.assertEqual("scaled from 2 to 4 nodes", self.events()[0])
        ((descriptor, *_),) = supervisor.registry.listening_sockets(3)
        self.assertNotIn(
            descriptor, [supervisor.registry.listening_sockets(slot)[0][0] for slot in range(3)]
        )

    def test_a_node_that_cannot_start_is_removed(self) -> None:
        supervisor = self.begin()
        done = self.ask("scale", nodes=4)
        self.ready(supervisor, 2)
        link = self.register(supervisor, 3)
        supervisor.registry.start_failed(link, "no memory", False)  # type: ignore[arg-type]
        supervisor.registry.left(link)  # type: ignore[arg-type]
        self.process(supervisor, "node3").end(1)
        error = str(self.failureResultOf(done, OperationFailed).value)
        self.assertEqual(
            "the new process of node3 cannot start: no memory (the cluster has 3 nodes)", error
        )
        self.assertEqual(["broker", "node0", "node1", "node2"], supervisor.roster.names)
        self.reactor.advance(60)
        self.assertEqual(4, len(self.reactor.live()))
        self.assertEqual([], supervisor.children.waiting())

    def test_sockets_that_cannot_be_opened(self) -> None:
        supervisor = self.begin()
        reason = "cannot listen on :80: ports below 1024 require root privileges"

        def reserve(*arguments: object) -> None:
            raise ConfigurationError(reason)

        self.patch(supervisor._slots, "reopen", reserve)
        self.assertEqual(reason, self.refused("scale", nodes=3))
        self.assertEqual(["broker", "node0", "node1"], supervisor.roster.names)
        self.assertEqual(2, len(supervisor._slots._slots))

    def test_the_last_nodes_drain_together_and_disappear(self) -> None:
        supervisor = self.begin(4)
        self.drain(2)
        done = self.ask("scale", nodes=1)
        self.reactor.advance(HANDSHAKE_S)
        self.assertTrue(self.links[1].asked_to_stop and self.links[3].asked_to_stop)
        self.end(1)
        late = self.links[3]
        self.process(supervisor, "node3").end()
        answer = {"nodes": 1, "before": 4, "seconds": HANDSHAKE_S}
        self.assertEqual(answer, self.successResultOf(done))
        supervisor.registry.left(late)  # type: ignore[arg-type]
        self.assertEqual({"node0": "ready", "broker": "ready"}, self.states())
        self.assertEqual("scaled from 4 to 1 node", self.events()[0])
        self.assertEqual(0, supervisor.admin.own_statistics()["drained_nodes"])
        done = self.ask("scale", nodes=2)
        self.ready(supervisor, 1)
        self.successResultOf(done)
        self.assertEqual("ready", self.states()["node1"])

    def test_refusals(self) -> None:
        self.begin()
        for nodes in (0, -1, 257, True, "3", None):
            text = self.refused("scale", nodes=nodes)
            self.assertEqual(f"a cluster has 1 to 256 nodes, not {nodes}", text)
        self.drain(0)
        self.assertEqual("no node that would remain serves (node0)", self.refused("scale", nodes=1))
        same = self.successResultOf(self.ask("scale", nodes=2))
        self.assertEqual((2, 2), (same["nodes"], same["before"]))

    def test_a_cluster_without_a_bus(self) -> None:
        self.begin(1, bus="local")
        self.assertEqual(
            "this cluster was started with one node, and has no broker: start it again with"
            " --nodes 2 or more",
            self.refused("scale", nodes=2),
        )
        self.assertEqual(1, self.successResultOf(self.ask("scale", nodes=1))["nodes"])
