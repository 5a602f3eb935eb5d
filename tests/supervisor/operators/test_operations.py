"""Tests of cluster.supervisor.operators: questions over a real AMP connection in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.control_connection.json_argument import PART, Json
from cluster.supervisor.operators.cluster_view import ClusterView
from cluster.supervisor.operators.operations import ANSWER_S, Operations
from cluster.supervisor.registration.roster import Roster


class Node:
    """A node that answers with what the test sets."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def inspect(self, what: str, arguments: Mapping[str, Any]) -> "Deferred[Any]":
        self.asked.append((what, dict(arguments)))
        if isinstance(self.answer, Exception):
            return fail(self.answer)
        return Deferred() if self.answer is None else succeed(self.answer)


class OperationsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.nodes: dict[str, Node] = {}
        self.operations = Operations(self, self.clock)

    def node_links(self) -> Mapping[str, Any]:
        return self.nodes

    def node_names(self) -> Sequence[str]:
        return ["node0", "node1", "node2"]

    def status_document(self) -> "Deferred[dict[str, Any]]":
        return succeed({"state": "ready"})

    def restart(self) -> "Deferred[str]":
        return succeed("restarted 3 nodes in 2.0 s")

    def ask(self, what: str, **arguments: Any) -> Any:
        asked = self.operations.ask(what, arguments)
        self.clock.advance(ANSWER_S)
        return self.successResultOf(asked)

    def assert_refused(self, text: str, what: str, **arguments: Any) -> None:
        try:
            failure = self.failureResultOf(self.operations.ask(what, arguments), OperationFailed)
            reason = failure.getErrorMessage()
        except OperationFailed as error:
            reason = str(error)
        self.assertIn(text, reason)

    def test_topics_of_all_nodes_are_added(self) -> None:
        def row(topic: str, subscribers: int, history: int = 0) -> dict[str, Any]:
            return {"topic": topic, "subscribers": subscribers, "history": history, "topics": 1}

        self.nodes = {
            "node0": Node({"topics": [row("a", 1), row("b", 5)]}),
            "node1": Node({"topics": [row("a", 1), row("c", 1), row("b", 5, 3)]}),
            "node2": Node(None),
        }
        answer = self.ask("topics", limit=2)
        self.assertEqual([row("b", 10, 3), row("a", 2)], answer["topics"])
        self.assertEqual(["node2"], answer["silent"])

    def test_clients_of_all_nodes_or_of_one(self) -> None:
        self.nodes = {
            "node0": Node({"total": 7, "clients": [{"id": "1"}, {"id": "2"}]}),
            "node1": Node({"total": 1, "clients": [{"id": "3"}]}),
        }
        answer = self.ask("clients", limit=2, user="ada")
        self.assertEqual(8, answer["total"])
        self.assertEqual(
            [("node0", "1"), ("node0", "2")], [(r["node"], r["id"]) for r in answer["clients"]]
        )
        self.assertEqual([("clients", {"limit": 2, "user": "ada"})], self.nodes["node0"].asked)
        self.assertEqual(["node2"], answer["silent"])
        answer = self.ask("clients", node="node1")
        self.assertEqual((1, []), (answer["total"], answer["silent"]))
        self.assert_refused("no node 'node9'", "clients", node="node9")

    def test_disconnect(self) -> None:
        self.nodes = {"node0": Node({"disconnected": 2}), "node1": Node({"disconnected": 3})}
        self.assertEqual(5, self.ask("disconnect", topic="a")["disconnected"])
        self.nodes["node1"].answer = OperationFailed("a filter is needed")
        self.assert_refused("a filter is needed", "disconnect")

    def test_publish(self) -> None:
        self.assert_refused("no node serves", "publish", topic="a", message="b")
        self.nodes = {"node0": Node({"nodes": 2})}
        self.assertEqual({"nodes": 2}, self.ask("publish", topic="a", message="b"))

    def test_publish_at_a_node_that_does_not_answer(self) -> None:
        for answer, reason in (
            (None, "node0 does not answer; it may publish the message later"),
            (ConnectionLost(), "node0 has ended, perhaps before it published the message"),
        ):
            self.nodes = {"node0": Node(answer)}
            asked = self.operations.ask("publish", {"topic": "a", "message": "b"})
            self.clock.advance(ANSWER_S)
            error = self.failureResultOf(asked, OperationFailed)
            self.assertEqual(error.getErrorMessage(), reason)

    def test_the_status_page_waits_for_a_blocked_node_for_a_short_time(self) -> None:
        """status.js gives up after four seconds, and reports that the supervisor is gone."""
        view = ClusterView(
            Roster(3, own_broker=False),
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            self.clock,
            lambda found: [],
            str,
            self.restart,
        )
        self.nodes = dict.fromkeys(self.node_names(), Node(None))
        topics = view.busiest_topics()
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(topics), [])

    def link(self, name: str) -> Any:
        """As Heartbeats."""
        return self.nodes[name]

    def is_ready(self, name: str) -> bool:
        """As Processes."""
        return True

    def test_a_restart(self) -> None:
        self.assertEqual({"summary": "restarted 3 nodes in 2.0 s"}, self.ask("restart"))

    def test_wrong_questions(self) -> None:
        self.assert_refused("'__init__'", "__init__")
        self.assert_refused("unexpected keyword argument", "topics", nonsense=1)
        self.assertEqual({"state": "ready"}, self.ask("status"))


class JsonTests(SynchronousTestCase):
    def test_values_of_any_size(self) -> None:
        for value in (None, 7, "é", {"a": ["x" * PART * 3]}, "x" * (PART - 2), "x" * (PART - 1)):
            strings: dict[bytes, bytes] = {}
            objects: dict[str, Any] = {}
            Json().toBox(b"answer", strings, {"answer": value}, None)
            self.assertLessEqual(max(map(len, strings.values())), PART)
            Json().fromBox(b"answer", strings, objects, None)
            self.assertEqual({"answer": value}, objects)
