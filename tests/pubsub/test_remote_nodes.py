"""The other nodes: their subscriptions, and congestion."""

from cluster.core import wire
from cluster.core.acknowledged_batches import ALL_TOPICS
from cluster.core.water_marks import WaterMarks
from cluster.core.wire.batches import decode_batch
from cluster.pubsub import batches
from cluster.pubsub import remote_nodes as module
from cluster.pubsub.batches import STALLED_S
from tests.pubsub.node_case import PubSubTestCase


class RemoteNodesTests(PubSubTestCase):
    """The other nodes and their subscriptions."""

    def test_each_message_changes_the_subscriptions(self) -> None:
        self.receive(wire.NodeSubscriptions("a", (b"v",), (b"t",)))
        self.assertEqual(self.pubsub.publish(b"t", b"1"), (1, 0))
        self.assertEqual(self.pubsub.publish(b"v", b"2"), (1, 0))
        self.assertEqual(self.flushed(), [("b", 1, [b"t", b"1"]), ("a", 1, [b"v", b"2"])])

    def test_a_node_that_ends_loses_its_subscriptions_and_its_queue(self) -> None:
        self.pubsub.publish(b"t", b"1")
        self.flushed()
        self.pubsub.publish(b"t", b"2")
        self.pubsub.publish(b"u", b"3")
        left = wire.Left("a", ended=True)
        self.receive(left, left, wire.Left("stranger", ended=True))
        self.assertEqual(self.pubsub.remote_nodes.names, ("b",))
        self.assertEqual(self.pubsub.publish(b"u", b"4"), (0, 0))
        self.assertEqual(self.flushed(), [("b", 2, [b"t", b"2"])])
        self.assertEqual(self.pubsub.dropped, {"node_gone": 3})

    def test_a_node_whose_link_was_cut_receives_all_in_order(self) -> None:
        self.pubsub.publish(b"u", b"1")
        self.flushed()
        self.pubsub.publish(b"u", b"2")
        self.receive(wire.Left("a"), wire.Left("a"))
        self.assertEqual(self.pubsub.publish(b"u", b"3"), (1, 0))
        self.assertEqual(self.flushed(), [])
        self.pubsub.publish(b"u", b"4")
        self.assertEqual(self.flushed(), [])
        self.receive(wire.Joined("a"), wire.NodeSubscriptions("a", (b"u",)))
        self.assertEqual(
            self.taken(),
            [("a", 1, [b"u", b"1"]), ("a", 2, [b"u", b"2", b"u", b"3"]), ("a", 3, [b"u", b"4"])],
        )
        self.assertEqual((self.pubsub.dropped, self.clock.getDelayedCalls()), ({}, []))

    def test_a_node_that_is_away_for_too_long_is_gone_and_receives_a_notice(self) -> None:
        self.pubsub.publish(b"u", b"1")
        self.flushed()
        self.receive(wire.Left("a"))
        self.clock.advance(module.AWAY_S)
        self.assertEqual(self.pubsub.remote_nodes.names, ("b",))
        self.assertEqual(self.pubsub.dropped, {"node_gone": 1})
        self.receive(wire.Joined("a"))
        self.pubsub.flush()
        ((node, data),) = self.bus.take()
        self.assertEqual((node, decode_batch(data)), ("a", (2, 2, 0, [ALL_TOPICS], [])))

    def test_another_process_in_its_place_shows_that_a_node_is_gone(self) -> None:
        for name in ("node0.a", "node1.a", "node0.b"):
            self.receive(wire.Joined(name))
        self.receive(wire.Left("node0.a"), wire.Left("node1.a"), wire.Joined("node0.c"))
        self.assertEqual(
            self.pubsub.remote_nodes.names, ("a", "b", "node1.a", "node0.b", "node0.c")
        )

    def test_nodes_that_were_cut_off_from_each_other_have_lost_messages(self) -> None:
        """Neither knew of the other, so neither has counted what it could not send."""
        connection = self.subscribed(b"t")
        self.receive(wire.Joined("new"), wire.Joined("a", returning=True))
        self.assertEqual(connection.lost, [])
        self.receive(wire.Joined("old", returning=True))
        self.assertEqual(connection.lost, [b"t"])

    def test_another_broker_has_nodes_that_this_one_did_not_know(self) -> None:
        connection = self.subscribed(b"t")
        self.bus.down()
        self.bus.up("second", "a", "b")
        self.assertEqual(connection.lost, [])
        self.bus.down()
        self.bus.up("third", "a", "b", "unknown")
        self.assertEqual(connection.lost, [b"t"])

    def test_a_place_is_one_of_a_machine(self) -> None:
        """The names of machines have dots, too."""
        for name in ("node0.a@x.org", "node0.a@y.org"):
            self.receive(wire.Joined(name))
            self.receive(wire.Left(name))
        self.receive(wire.Joined("node0.b@y.org"))
        self.assertEqual(
            self.pubsub.remote_nodes.names, ("a", "b", "node0.a@x.org", "node0.b@y.org")
        )

    def test_more_than_the_limit_is_dropped_for_a_node_that_is_away(self) -> None:
        self.patch(batches, "AWAY_LIMIT", 100)
        self.receive(wire.Left("a"))
        for frame in (bytes(200), b"2", b"3"):
            self.pubsub.publish(b"u", frame)
            self.flushed()
        self.assertEqual(self.pubsub.dropped, {"node_stalled": 2})
        self.assertEqual(self.pubsub.queued_bytes, 0)
        self.receive(wire.Joined("a"))
        self.assertEqual(self.taken(), [("a", 1, [b"u", bytes(200)])])
        self.assertGreater(self.pubsub.queued_bytes, 200)
        self.pubsub.flush()
        ((_, data),) = self.bus.take()
        self.assertEqual(decode_batch(data), (2, 1, 0, [b"u"], []))

    def test_nodes_that_have_left_are_forgotten_above_a_maximum(self) -> None:
        self.patch(module, "MAX_LEFT", 1)
        self.pubsub.publish(b"t", b"1")
        self.flushed()
        self.receive(wire.Left("a", True), wire.Left("b", True))
        for name in "ab":
            self.receive(wire.Joined(name), wire.NodeSubscriptions(name, (b"t",)))
        self.pubsub.publish(b"t", b"2")
        self.assertEqual(sorted(self.flushed()), [("a", 1, [b"t", b"2"]), ("b", 2, [b"t", b"2"])])

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

    def test_full_while_too_much_is_not_acknowledged(self) -> None:
        self.pubsub.batches.unacknowledged = WaterMarks(300, 150)
        self.patch(batches, "LIMIT", 500)
        for _ in range(3):
            self.pubsub.publish(b"u", bytes(80))
            self.pubsub.flush()
        self.assertEqual(self.events, ["full"])
        size = self.pubsub.queued_bytes // 3
        self.assertGreater(size, 80)
        for _ in range(5):
            self.pubsub.publish(b"u", bytes(80))
            self.pubsub.publish(b"v", b"")
            self.pubsub.flush()
        self.assertEqual(self.pubsub.dropped, {"bus_queue_full": 3})
        self.assertEqual(self.pubsub.queued_bytes, 5 * size)
        self.bus.take()
        self.acknowledge(4)
        self.assertEqual(self.events, ["full", "free"])
        self.pubsub.flush()
        ((_, data),) = self.bus.take()
        self.assertEqual(decode_batch(data), (6, 5, 0, [b"u"], []))
        self.acknowledge(6)
        self.assertEqual(self.pubsub.queued_bytes, 0)

    def test_a_node_that_acknowledges_nothing_stops_publishers_for_a_while(self) -> None:
        self.pubsub.batches.unacknowledged = WaterMarks(150, 10)
        self.patch(batches, "AWAY_LIMIT", 100)
        self.pubsub.publish(b"t", bytes(80))
        self.pubsub.flush()
        self.assertEqual(self.events, ["full"])
        self.acknowledge(1, origin="b")
        self.clock.advance(STALLED_S)
        self.assertEqual(self.events, ["full", "free"])
        self.pubsub.publish(b"t", b"2")
        self.pubsub.flush()
        self.assertEqual(self.pubsub.dropped, {"node_stalled": 1})
        self.bus.take()
        self.acknowledge(1)
        self.pubsub.flush()
        ((node, data),) = self.bus.take()
        self.assertEqual((node, decode_batch(data)), ("a", (2, 2, 0, [b"t"], [])))
        self.acknowledge(2)
        self.acknowledge(2, origin="b")
        self.assertEqual((self.pubsub.queued_bytes, self.clock.getDelayedCalls()), (0, []))

    def test_publishers_wait_for_a_node_that_makes_progress(self) -> None:
        self.pubsub.batches.unacknowledged = WaterMarks(150, 10)
        for _ in range(2):
            self.pubsub.publish(b"u", bytes(80))
            self.pubsub.flush()
        self.acknowledge(1)
        self.clock.advance(STALLED_S)
        self.assertEqual(self.events, ["full"])
        self.pubsub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_node_that_is_away_does_not_stop_publishers(self) -> None:
        self.pubsub.batches.unacknowledged = WaterMarks(50, 10)
        self.pubsub.publish(b"u", bytes(80))
        self.pubsub.flush()
        self.receive(wire.Left("a"))
        self.assertEqual(self.events, ["full", "free"])
        self.receive(wire.Joined("a"))
        self.assertEqual(self.events, ["full", "free", "full"])
