"""Requests of publishers elsewhere, which the broker passes to its nodes."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.broker.external_requests import ExternalRequests
from cluster.core import wire
from cluster.core.wire.external_publisher import Closing, encode


class ExternalRequestsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.nodes: tuple[str, ...] = ("node0", "node1")
        self.sent: list[tuple[str, wire.Message]] = []
        self.answers: list[tuple[str, bytes]] = []
        self.requests = ExternalRequests(
            lambda: self.nodes,
            lambda node, message: self.sent.append((node, message)),
            lambda request_id, data: self.answers.append((request_id, data)),
        )

    def test_the_nodes_receive_requests_in_turn(self) -> None:
        self.requests.received([("1", b"a"), ("2", b"b")])
        self.requests.received([("3", b"c")])
        self.assertEqual(
            self.sent,
            [
                ("node0", wire.ExternalRequest("1", b"a")),
                ("node1", wire.ExternalRequest("2", b"b")),
                ("node0", wire.ExternalRequest("3", b"c")),
            ],
        )
        self.assertEqual((self.answers, self.requests.passed_on), ([], 3))

    def test_the_answer_of_a_node(self) -> None:
        self.requests.answered(wire.ExternalAnswer("1", b"done"))
        self.assertEqual(self.answers, [("1", b"done")])

    def test_without_a_node_another_machine_must_publish(self) -> None:
        self.nodes = ()
        self.requests.received([("1", b"a")])
        self.assertEqual((self.sent, self.answers), ([], [("1", encode(Closing()))]))
