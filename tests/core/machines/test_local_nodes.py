"""The nodes of one machine, as they know each other."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.machines.local_nodes import LocalNodes

X, Y = "x.1@A", "y.1@A"
REMOTE = "n.1@B"


class LocalNodesTests(SynchronousTestCase):
    """LocalNodes of machine A, with a node of machine B."""

    def setUp(self) -> None:
        self.remote: dict[str, list[wire.Message]] = {}
        self.nodes = LocalNodes("A", "e", lambda: self.remote)
        self.nodes.admit()

    def join(self, *names: str) -> None:
        for name in names:
            self.nodes.receive(name, wire.Hello())

    def test_nodes_join_at_once_and_in_the_log(self) -> None:
        hello = wire.Hello()
        outgoing, event = self.nodes.receive(X, hello)
        self.assertEqual((outgoing, event), ([(X, wire.Welcome("ex0", ()))], hello))
        self.assertEqual((self.nodes.names, X in self.nodes, Y in self.nodes), ((X,), True, False))

    def test_welcome_has_the_nodes_of_all_machines(self) -> None:
        self.remote = {REMOTE: [wire.NodeSubscriptions(REMOTE, (b"t",))]}
        self.join(Y)
        self.nodes.receive(Y, wire.NodeSubscriptions(Y, (b"u",)))
        outgoing, _ = self.nodes.receive(X, wire.Hello())
        self.assertEqual(
            outgoing,
            [
                (X, wire.Welcome("ex0", (Y, REMOTE))),
                (X, wire.NodeSubscriptions(Y, (b"u",))),
                (X, wire.NodeSubscriptions(REMOTE, (b"t",))),
                (Y, wire.Joined(X)),
            ],
        )

    def test_what_takes_effect_only_through_the_log(self) -> None:
        self.join(X)
        for message in (
            wire.Arrive("b", 1, (1,)),
            wire.Withdraw("b", (1,)),
            wire.Retain(b"t", 1, b"f", 0, 1),
            wire.Restore(b"t", 1, 1, (b"f",), "e"),
            wire.Query(b"t"),
        ):
            self.assertEqual(self.nodes.receive(X, message), ([], message))

    def test_what_takes_effect_at_once(self) -> None:
        self.join(X, Y)
        for message in (
            wire.NodeSubscriptions(X, (b"t",)),
            wire.PresenceUpdate(X, True, ((b"t", "ada"),)),
        ):
            self.assertEqual(self.nodes.receive(X, message), ([(Y, message)], message))
        goodbye = wire.Goodbye()
        left = wire.Left(X, ended=True)
        self.assertEqual(self.nodes.receive(X, goodbye), ([(Y, left)], goodbye))

    def test_what_nodes_do_not_send(self) -> None:
        self.join(X)
        (answer,), event = self.nodes.receive(X, wire.Release("b", (1,)))
        self.assertIsInstance(answer[1], wire.Rejected)
        self.assertIsNone(event)

    def test_nodes_of_other_machines_are_rejected(self) -> None:
        for name in ("x.1", REMOTE, "x.1@A.b", "A", "x@x@A"):
            ((node, answer),), event = self.nodes.receive(name, wire.Hello())
            assert isinstance(answer, wire.Rejected)
            self.assertEqual((node, event), (name, None))
            self.assertIn("--machine A", answer.reason)

    def test_nodes_of_another_version_are_rejected(self) -> None:
        other = wire.Hello(wire.VERSION + 1)
        self.assertIsNone(self.nodes.receive(X, other)[1])
        self.join(X)
        outgoing, event = self.nodes.receive(X, other)
        self.assertIsInstance(outgoing[-1][1], wire.Rejected)
        self.assertEqual((event, self.nodes.names), (wire.Left(X), ()))

    def test_an_unknown_node_is_asked_once(self) -> None:
        query = wire.Query(b"t")
        self.assertEqual(self.nodes.receive(X, query), ([(X, wire.UnknownNode())], None))
        self.assertEqual(self.nodes.receive(X, query), ([], None))
        self.join(X)
        self.assertEqual(self.nodes.receive(X, query), ([], query))

    def test_a_node_that_is_gone(self) -> None:
        self.join(X, Y)
        left = wire.Left(X)
        self.assertEqual(self.nodes.leave(X, False), ([(Y, left)], left))
        self.assertEqual(self.nodes.leave(X, False), ([], None))

    def test_a_reset_asks_all_nodes_once(self) -> None:
        self.join(X, Y)
        self.assertEqual(self.nodes.reset(), [(X, wire.UnknownNode()), (Y, wire.UnknownNode())])
        self.assertEqual(self.nodes.reset(), [])
        self.assertEqual(self.nodes.receive(X, wire.Query(b"t")), ([], None))
        outgoing, _ = self.nodes.receive(X, wire.Hello(returning=True))
        self.assertEqual(outgoing, [(X, wire.Welcome("ex2", ()))])

    def test_new_nodes_wait_while_the_machine_joins(self) -> None:
        self.join(Y)
        self.nodes.hold()
        self.nodes.hold()
        hello = wire.Hello()
        for name in (X, "z.1@A"):
            self.assertEqual(self.nodes.receive(name, hello), ([], None))
        self.nodes.leave("z.1@A", False)
        self.assertEqual(self.nodes.names, (Y,))
        # A node that is live does not wait: its clients would.
        self.assertNotEqual(self.nodes.receive(Y, wire.Hello(returning=True)), ([], None))
        self.assertEqual(self.nodes.admit(), [(X, hello)])
        self.assertEqual(self.nodes.admit(), [])
