"""The other nodes: their subscriptions, and congestion."""

from cluster.core import wire
from cluster.pubsub import remote_nodes as module
from tests.pubsub.node_case import PubSubTestCase


class RemoteNodesTests(PubSubTestCase):
    """The other nodes and their subscriptions."""

    def test_each_message_changes_the_subscriptions(self) -> None:
        self.receive(wire.NodeSubscriptions("a", (b"v",), (b"t",)))
        self.assertEqual(self.pubsub.publish(b"t", b"1"), (1, 0))
        self.assertEqual(self.pubsub.publish(b"v", b"2"), (1, 0))
        self.assertEqual(self.flushed(), [("b", 1, [b"t", b"1"]), ("a", 1, [b"v", b"2"])])

    def test_a_node_that_leaves_loses_its_subscriptions_and_its_queue(self) -> None:
        self.pubsub.publish(b"t", b"1")
        self.pubsub.publish(b"u", b"2")
        self.receive(wire.Left("a"), wire.Left("a"), wire.Left("stranger"))
        self.assertEqual(self.pubsub.remote_nodes.names, ("b",))
        self.assertEqual(self.pubsub.publish(b"u", b"3"), (0, 0))
        self.assertEqual(self.flushed(), [("b", 1, [b"t", b"1"])])
        self.assertEqual(self.pubsub.dropped, {"node_gone": 2})

    def test_numbers_continue_for_a_node_that_reconnects(self) -> None:
        self.pubsub.publish(b"u", b"1")
        self.flushed()
        self.receive(wire.Left("a"), wire.Joined("a"), wire.NodeSubscriptions("a", (b"u",)))
        self.pubsub.publish(b"u", b"2")
        self.assertEqual(self.flushed(), [("a", 2, [b"u", b"2"])])

    def test_a_node_may_leave_and_rejoin_within_a_turn(self) -> None:
        self.pubsub.publish(b"u", b"1")
        self.receive(wire.Left("a"), wire.Joined("a"), wire.NodeSubscriptions("a", (b"u",)))
        self.pubsub.publish(b"u", b"2")
        self.assertEqual(self.flushed(), [("a", 1, [b"u", b"2"])])

    def test_nodes_that_have_left_are_forgotten_above_a_maximum(self) -> None:
        self.patch(module, "MAX_LEFT", 1)
        self.pubsub.publish(b"t", b"1")
        self.flushed()
        self.receive(wire.Left("a"), wire.Left("b"))
        for name in "ab":
            self.receive(wire.Joined(name), wire.NodeSubscriptions(name, (b"t",)))
        self.pubsub.publish(b"t", b"2")
        self.assertEqual(self.flushed(), [("a", 1, [b"t", b"2"]), ("b", 2, [b"t", b"2"])])

    def test_messages_that_only_a_broker_receives_are_ignored(self) -> None:
        self.receive(wire.Hello(), wire.Goodbye())
        self.assertEqual((self.flushed(), self.events), ([], []))

    def test_barriers(self) -> None:
        for answer in (wire.Release, wire.Refuse):
            token = self.pubsub.barriers.arrive(
                "game", 2, lambda: self.events.append("released"), self.events.append
            )
            self.receive(answer("game", (token,)))
        self.assertEqual(self.events, ["released", "the barrier is full or released already"])


class CongestionTests(PubSubTestCase):
    """``full`` and ``on_full``, for several reasons."""

    def test_full_while_any_node_is_congested_or_the_bus_is_full(self) -> None:
        self.receive(wire.Congested("a"), wire.Congested("b"))
        self.pubsub.bus_full(True)
        self.receive(wire.Cleared("a"), wire.Cleared("b"))
        self.assertTrue(self.pubsub.full)
        self.pubsub.bus_full(False)
        self.assertEqual(self.events, ["full", "free"])

    def test_not_full_when_the_congested_node_leaves(self) -> None:
        self.receive(wire.Congested("a"), wire.Left("a"))
        self.assertEqual(self.events, ["full", "free"])

    def test_another_broker_reports_congestion_again(self) -> None:
        self.receive(wire.Congested("a"))
        self.bus.down()
        self.assertEqual(self.events, ["full"])
        self.bus.up("second", "a", "b")
        self.assertEqual(self.events, ["full", "free", "up"])

    def test_full_while_too_much_is_held(self) -> None:
        self.pubsub.remote_nodes.held = module.WaterMarks(300, 100)
        self.patch(module, "HELD_LIMIT", 500)
        self.bus.down()
        for _ in range(3):
            self.pubsub.publish(b"u", bytes(80))
            self.pubsub.flush()
        self.assertEqual(self.events, ["full"])
        self.assertEqual(self.pubsub.queued_bytes, 303)
        for _ in range(5):
            self.pubsub.publish(b"u", bytes(80))
            self.pubsub.publish(b"u", b"")
            self.pubsub.flush()
        self.assertEqual(self.pubsub.dropped, {"bus_queue_full": 6})
        self.assertLess(self.pubsub.queued_bytes, 700)
        self.bus.up("first", "a", "b")
        self.assertEqual(self.events, ["full", "free", "up"])
        self.assertEqual(self.pubsub.queued_bytes, 0)
        self.bus.take()
        self.pubsub.publish(b"u", b"last")
        self.assertEqual(self.flushed(), [("a", 9, [b"u", b"last"])])  # a gap shows the loss

    def test_batches_to_nodes_that_are_gone_are_not_held(self) -> None:
        self.pubsub.remote_nodes.held = module.WaterMarks(50, 10)
        self.bus.down()
        self.pubsub.publish(b"u", bytes(80))
        self.pubsub.flush()
        self.bus.up("first", "b")
        self.assertEqual(self.events, ["full", "free", "up"])
        self.assertEqual(self.pubsub.dropped, {"node_gone": 1})
