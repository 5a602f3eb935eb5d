"""A node's topics: what it sends on the bus, and what its connections receive."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.wire_fields import decode_batch, encode_batch
from cluster.pubsub import incoming_batches, retained_outbox
from cluster.pubsub import remote_nodes as module
from cluster.pubsub.pubsub import PubSub
from cluster.pubsub.remote_nodes import REJOIN_TIMEOUT_S
from tests import profiles
from tests.fakes import RecordingBus, RecordingConnection
from tests.pubsub.simulation import RETAINED, SimulatedCluster

assert profiles


class PubSubTestCase(SynchronousTestCase):
    """A node called "here", up, with the nodes a and b, which have sent their subscriptions."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bus = RecordingBus()
        self.dirty: list[Any] = []
        self.scheduled = 0
        self.events: list[Any] = []
        self.pubsub = PubSub(self.bus, self.dirty, self.schedule, self.clock)
        self.pubsub.remote_nodes.on_full = lambda full: self.events.append(
            "full" if full else "free"
        )
        self.pubsub.on_up = lambda: self.events.append("up")
        self.bus.start(self.pubsub)
        self.bus.up("first", "a", "b")
        self.receive(
            wire.NodeSubscriptions("a", (b"t", b"u")), wire.NodeSubscriptions("b", (b"t",))
        )
        self.bus.take()
        self.events.clear()

    def schedule(self) -> None:
        self.scheduled += 1

    def receive(self, *messages: wire.Message) -> None:
        for message in messages:
            self.pubsub.bus_message(message)

    def subscribed(self, *topics: bytes) -> RecordingConnection:
        connection = RecordingConnection()
        for topic in topics:
            self.pubsub.subscribe(connection, topic)
        return connection

    def flushed(self) -> list[Any]:
        """What a flush sends, with batches as (node, number, topics and frames)."""
        self.pubsub.flush()
        return [
            (item[0], *decode_batch(item[1])) if isinstance(item, tuple) else item
            for item in self.bus.take()
        ]


class PublishTests(PubSubTestCase):
    def test_a_callback_subscriber_counts_as_a_node_but_not_as_a_connection(self) -> None:
        received: list[Any] = []
        subscriber = self.pubsub.follow(b"t", lambda frame, offset: received.append(frame))
        for receipt in (
            self.pubsub.publish(b"t", b"1"),
            self.pubsub.publish_except(RecordingConnection(), b"t", b"2"),
            self.pubsub.publish_retained(b"t", b"3", 1),
        ):
            self.assertEqual(receipt, (3, 0))
        self.assertEqual(self.pubsub.publish_here(b"t", b"4"), (1, 0))
        self.assertEqual(received, [b"1", b"2", b"4"])
        subscriber.stop()
        self.assertEqual(self.pubsub.publish(b"t", b"5"), (2, 0))
        self.assertEqual(self.pubsub.publish_here(b"t", b"6"), (0, 0))

    def test_to_connections_at_once_and_to_other_nodes_with_the_flush(self) -> None:
        one, two = self.subscribed(b"t"), self.subscribed(b"t")
        self.flushed()
        self.assertEqual(self.pubsub.publish(b"t", b"1"), (3, 2))
        self.assertEqual(self.pubsub.publish(b"u", b"2"), (1, 0))
        self.assertEqual(self.pubsub.publish(b"t", b"3"), (3, 2))
        self.assertEqual((one.out, two.out), ([b"1", b"3"], [b"1", b"3"]))
        self.assertEqual(self.dirty, [one, two])
        self.assertEqual(
            self.flushed(),
            [
                ("a", 1, [b"t", b"1", b"u", b"2", b"t", b"3"]),
                ("b", 1, [b"t", b"1", b"t", b"3"]),
            ],
        )
        self.assertEqual(self.flushed(), [])
        self.pubsub.publish(b"u", b"4")
        self.assertEqual(self.flushed(), [("a", 2, [b"u", b"4"])])

    def test_each_publication_schedules_a_flush(self) -> None:
        before = self.scheduled
        self.assertEqual(self.pubsub.publish(b"no subscriber", b"x"), (0, 0))
        self.pubsub.publish_here(b"no subscriber", b"x")
        self.pubsub.publish_retained(b"no subscriber", b"x", 1)
        self.assertEqual(self.scheduled, before + 3)

    def test_publish_here(self) -> None:
        connection = self.subscribed(b"t")
        self.flushed()
        self.assertEqual(self.pubsub.publish_here(b"t", b"1"), (1, 1))
        self.assertEqual(self.pubsub.publish_here(b"u", b"2"), (0, 0))
        self.assertEqual(connection.out, [b"1"])
        self.assertEqual(self.flushed(), [])

    def test_subscriptions_are_sent_before_batches_and_arrivals_after_them(self) -> None:
        self.pubsub.barriers.arrive("game", 2, lambda: None, self.events.append)
        self.pubsub.publish_retained(b"k", b"kept", 1)
        self.pubsub.publish(b"u", b"1")
        self.subscribed(b"t")
        self.assertEqual(
            self.flushed(),
            [
                wire.NodeSubscriptions("here", (b"t",)),
                ("a", 1, [b"u", b"1"]),
                wire.Retain(b"k", 1, b"kept", number=1),
                wire.Arrive("game", 2, (1,)),
            ],
        )


class SubscribeTests(PubSubTestCase):
    def test_only_the_first_and_the_last_subscriber_change_the_subscriptions(self) -> None:
        one, two = self.subscribed(b"t"), self.subscribed(b"t", b"u")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t", b"u"))])
        self.pubsub.unsubscribe(one, b"t")
        self.pubsub.unsubscribe(one, b"t")
        self.assertEqual(self.flushed(), [])
        self.pubsub.drop(two)
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"t", b"u"))])
        self.pubsub.publish_here(b"t", b"1")
        self.assertEqual((one.out, two.out), ([], []))

    def test_the_last_subscriber_leaves_and_another_comes_in_one_turn(self) -> None:
        self.pubsub.drop(self.subscribed(b"t"))
        self.subscribed(b"t")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t",))])

    def test_subscribing_twice_is_subscribing_once(self) -> None:
        connection = self.subscribed(b"t", b"t")
        self.receive(wire.Retained(b"t", 1, 1, (b"kept",)))
        self.pubsub.subscribe(connection, b"t")
        self.pubsub.publish_here(b"t", b"1")
        self.assertEqual(connection.out, [b"kept", b"1"])

    def test_listeners_receive_all_frames_and_their_errors_are_logged(self) -> None:
        received: list[bytes] = []
        self.pubsub.listen(b"t", lambda frame: {}[frame])
        self.pubsub.listen(b"t", received.append)
        connection = self.subscribed(b"t")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t",))])
        self.assertEqual(self.pubsub.publish(b"t", b"1"), (3, 1))
        self.pubsub.bus_batch("a", encode_batch(1, [b"t", b"2"]))
        self.pubsub.drop(connection)
        self.pubsub.publish_here(b"t", b"3")
        self.assertEqual(received, [b"1", b"2", b"3"])
        batches = [("a", 1, [b"t", b"1"]), ("b", 1, [b"t", b"1"])]
        self.assertEqual(self.flushed(), batches)  # the node still subscribes to the topic
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 3)


class SkippingTests(PubSubTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.connection, self.other = RecordingConnection(), RecordingConnection()
        for connection in (self.connection, self.other):
            self.pubsub.subscribe_skipping(connection, b"t", lambda: self.events.append("skipped"))

    def test_frames_are_skipped_while_blocked_and_counted(self) -> None:
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t",))])
        self.assertEqual(self.pubsub.publish(b"t", b"1"), (3, 2))
        self.connection.blocked = True
        self.assertEqual(self.pubsub.publish(b"t", b"2"), (3, 1))
        self.pubsub.bus_batch("a", encode_batch(1, [b"t", b"3"]))
        self.connection.blocked = False
        self.pubsub.publish_here(b"t", b"4")
        self.assertEqual(self.connection.out, [b"1", b"4"])
        self.assertEqual(self.other.out, [b"1", b"2", b"3", b"4"])
        self.assertEqual(self.events, ["skipped"] * 2)
        self.assertEqual(self.pubsub.subscriptions.conflated, 2)

    def test_drop_and_unsubscribe(self) -> None:
        self.flushed()
        self.pubsub.drop(self.connection, (b"t", b"u"))
        self.pubsub.unsubscribe(self.connection, b"t")
        self.assertEqual(self.flushed(), [])
        self.pubsub.unsubscribe(self.other, b"t")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"t",))])
        self.assertEqual(self.pubsub.publish_here(b"t", b"1"), (0, 0))

    def test_a_skipping_and_a_plain_subscription_replace_each_other(self) -> None:
        self.receive(wire.Retained(b"t", 1, 1, (b"kept",)))
        self.flushed()
        self.pubsub.drop(self.other, (b"t",))
        self.pubsub.subscribe(self.connection, b"t")
        self.pubsub.publish_here(b"t", b"1")
        self.pubsub.subscribe_skipping(self.connection, b"t", lambda: None)
        self.pubsub.subscribe_skipping(self.connection, b"t", lambda: self.events.append("last"))
        self.connection.blocked = True
        self.pubsub.publish_here(b"t", b"2")
        self.assertEqual(self.connection.out, [b"kept", b"1"])
        self.assertEqual(self.events, ["last"])
        self.assertEqual(self.flushed(), [])
        self.pubsub.drop(self.connection, (b"t",))
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"t",))])


class ReceiveTests(PubSubTestCase):
    """Batches of other nodes."""

    def batch(self, number: int, *items: bytes, origin: str = "a") -> None:
        self.pubsub.bus_batch(origin, encode_batch(number, items))

    def test_frames_go_to_subscribers_and_not_to_other_nodes(self) -> None:
        one, two = self.subscribed(b"t"), self.subscribed(b"t", b"u")
        self.flushed()
        before = self.scheduled
        self.batch(1, b"t", b"1", b"u", b"2", b"v", b"3")
        self.assertEqual((one.out, two.out), ([b"1"], [b"1", b"2"]))
        self.assertEqual(self.dirty, [one, two])
        self.assertEqual(self.scheduled, before + 1)
        self.assertEqual(self.flushed(), [])

    def test_gaps_are_counted_and_what_follows_is_delivered(self) -> None:
        connection = self.subscribed(b"t")
        self.batch(1, b"t", b"1")
        self.batch(4, b"t", b"4")
        self.batch(2, b"t", b"9", origin="b")
        self.batch(5, b"t", b"5")
        self.assertEqual(connection.out, [b"1", b"4", b"9", b"5"])
        self.assertEqual(self.pubsub.batches.gaps, 2)

    def test_duplicates_are_counted_and_not_delivered(self) -> None:
        connection = self.subscribed(b"t")
        for number in (1, 2, 1, 2, 3):
            self.batch(number, b"t", b"%d" % number)
        self.assertEqual(connection.out, [b"1", b"2", b"3"])
        self.assertEqual(self.pubsub.dropped, {"duplicate_batch": 2})
        self.assertEqual(self.pubsub.batches.gaps, 0)

    def test_malformed_batches_are_counted(self) -> None:
        connection = self.subscribed(b"t")
        for data in (b"", b"x" * 7, encode_batch(1, [b"t"]), encode_batch(0, [b"t", b"1"])):
            self.pubsub.bus_batch("a", data)
        self.batch(1, b"t", b"1")
        self.assertEqual(connection.out, [b"1"])
        self.assertEqual(self.pubsub.dropped, {"malformed": 4})

    def test_numbers_of_nodes_that_are_gone_are_forgotten_above_a_maximum(self) -> None:
        self.patch(incoming_batches, "MAX_ORIGINS", 2)
        self.batch(7, b"t", b"1", origin="old")
        for origin in ("a", "b"):
            self.batch(1, b"t", b"1", origin=origin)
        self.batch(1, b"t", b"1", origin="old")
        self.assertEqual(self.pubsub.batches.gaps, 1)
        self.assertEqual(self.pubsub.dropped, {})  # so number 1 is not a duplicate


class RemoteNodesTests(PubSubTestCase):
    """Which nodes there are, and what they subscribe to."""

    def test_each_message_changes_the_subscriptions(self) -> None:
        self.receive(wire.NodeSubscriptions("a", (b"v",), (b"t",)))
        self.assertEqual(self.pubsub.publish(b"t", b"1"), (1, 0))
        self.assertEqual(self.pubsub.publish(b"v", b"2"), (1, 0))
        self.assertEqual(self.flushed(), [("b", 1, [b"t", b"1"]), ("a", 1, [b"v", b"2"])])

    def test_a_node_that_leaves_loses_its_subscriptions_and_what_waits_for_it(self) -> None:
        self.pubsub.publish(b"t", b"1")
        self.pubsub.publish(b"u", b"2")
        self.receive(wire.Left("a"), wire.Left("a"), wire.Left("stranger"))
        self.assertEqual(self.pubsub.remote_nodes.names, ("b",))
        self.assertEqual(self.pubsub.publish(b"u", b"3"), (0, 0))
        self.assertEqual(self.flushed(), [("b", 1, [b"t", b"1"])])
        self.assertEqual(self.pubsub.dropped, {"node_gone": 2})

    def test_numbers_continue_for_a_node_that_comes_back(self) -> None:
        self.pubsub.publish(b"u", b"1")
        self.flushed()
        self.receive(wire.Left("a"), wire.Joined("a"), wire.NodeSubscriptions("a", (b"u",)))
        self.pubsub.publish(b"u", b"2")
        self.assertEqual(self.flushed(), [("a", 2, [b"u", b"2"])])

    def test_a_node_that_leaves_and_comes_back_within_a_turn(self) -> None:
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


class BusLifeTests(PubSubTestCase):
    """Going up, down, and up again."""

    def up(self, epoch: str, *nodes: str) -> list[Any]:
        """What is sent when the bus comes up (again)."""
        self.bus.take()
        self.bus.up(epoch, *nodes)
        return [
            (item[0], *decode_batch(item[1])) if isinstance(item, tuple) else item
            for item in self.bus.take()
        ]

    def test_the_whole_state_is_sent_again(self) -> None:
        connection = self.subscribed(b"t", b"gone")
        self.pubsub.subscribe_skipping(RecordingConnection(), b"s", lambda: None)
        self.pubsub.listen(b"l", lambda frame: None)
        self.flushed()
        released_token = self.pubsub.barriers.arrive("game", 1, lambda: None, self.events.append)
        self.receive(
            wire.Release("game", (released_token,)), wire.Retained(b"t", 2, 5, (b"4", b"5"))
        )
        waiting = self.pubsub.barriers.arrive("next", 2, lambda: None, self.events.append)
        self.flushed()
        self.bus.down()
        late = self.pubsub.barriers.arrive("next", 2, lambda: None, self.events.append)
        self.pubsub.unsubscribe(connection, b"gone")
        self.assertEqual(self.flushed(), [])
        self.assertEqual(
            self.up("second"),
            [
                wire.Restore(b"t", 2, 5, (b"4", b"5")),
                wire.NodeSubscriptions("here", (b"t", b"s", b"l")),
                wire.PresenceUpdate("here", True),
                wire.Arrive("game", 1, (released_token,), released=True),
                wire.Arrive("next", 2, (waiting, late)),
            ],
        )
        self.assertEqual(self.flushed(), [])
        self.assertEqual(self.events, ["up"])

    def test_batches_wait_while_the_bus_is_down(self) -> None:
        self.pubsub.publish(b"t", b"1")
        self.bus.down()
        self.assertEqual(self.flushed(), [])
        self.assertEqual(self.pubsub.publish(b"u", b"2"), (1, 0))
        self.assertEqual(self.flushed(), [])
        self.pubsub.publish(b"u", b"3")
        self.pubsub.barriers.arrive("game", 2, lambda: None, self.events.append)
        self.assertEqual(
            self.up("first", "a", "b"),
            [
                ("a", 1, [b"t", b"1"]),
                ("a", 2, [b"u", b"2"]),
                ("b", 1, [b"t", b"1"]),
                wire.NodeSubscriptions("here"),
                wire.PresenceUpdate("here", True),
                ("a", 3, [b"u", b"3"]),
                wire.Arrive("game", 2, (1,)),
            ],
        )

    def test_unsent_batches_are_held_in_order(self) -> None:
        self.pubsub.publish(b"u", b"1")
        self.pubsub.flush()
        (unsent,) = self.bus.take()
        self.bus.down(unsent, ("stranger", encode_batch(1, [b"t", b"x"] * 2)))
        self.assertEqual(self.pubsub.dropped, {"node_gone": 2})
        self.pubsub.publish(b"u", b"2")
        self.pubsub.flush()
        batches = [item for item in self.up("first", "a") if isinstance(item, tuple)]
        self.assertEqual(batches, [("a", 1, [b"u", b"1"]), ("a", 2, [b"u", b"2"])])

    def test_batches_to_nodes_of_a_dead_broker_wait_until_they_join_the_next(self) -> None:
        self.bus.down()
        self.pubsub.publish(b"u", b"1")
        self.pubsub.flush()
        self.up("second", "b")
        self.assertEqual(
            self.pubsub.publish(b"u", b"2"), (1, 0)
        )  # its old subscriptions are still valid
        self.assertEqual(self.flushed(), [])
        self.clock.advance(REJOIN_TIMEOUT_S - 1)
        self.receive(wire.Joined("a"))
        self.pubsub.publish(b"u", b"3")
        self.assertEqual(self.flushed(), [("a", n, [b"u", b"%d" % n]) for n in (1, 2, 3)])
        self.receive(wire.NodeSubscriptions("a", (b"v",)), wire.NodeSubscriptions("b", (b"t",)))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(
            self.pubsub.publish(b"u", b"4"), (0, 0)
        )  # its present subscriptions are valid

    def test_nodes_that_do_not_rejoin_in_time_are_gone(self) -> None:
        self.bus.down()
        self.pubsub.publish(b"t", b"1")
        self.pubsub.flush()
        self.up("second", "b")
        self.clock.advance(REJOIN_TIMEOUT_S)
        self.assertEqual(self.pubsub.remote_nodes.names, ("b",))
        self.assertEqual(self.pubsub.dropped, {"node_gone": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_changes_do_not_gather_while_the_bus_is_down(self) -> None:
        """However often clients come and go."""
        self.bus.down()
        for n in range(50):
            topic, member = b"topic %d" % n, f"member {n}"
            self.pubsub.drop(self.subscribed(topic))
            self.pubsub.presence.join(topic, member)
            self.pubsub.presence.leave(topic, member)
            token = self.pubsub.barriers.arrive("game", 2, self.fail, self.fail)
            self.pubsub.barriers.leave("game", token)
            self.assertEqual(self.flushed(), [])
        held = (self.pubsub.subscriptions.table._changes, self.pubsub.presence._changes)
        self.assertEqual((*map(len, held), len(self.pubsub._control)), (0, 0, 0))
        connection = self.subscribed(b"t")
        self.pubsub.presence.join(b"t", "ada")
        self.pubsub.barriers.arrive("game", 2, lambda: None, self.fail)
        self.flushed()
        self.bus.up("second")
        sent = self.bus.take()
        self.assertEqual(sent[0].added[-1:], (b"t",))
        self.assertEqual(
            sent[1:],
            [
                wire.PresenceUpdate("here", True, ((b"t", "ada"),)),
                wire.Arrive("game", 2, (51,)),
            ],
        )
        self.pubsub.drop(connection)

    def test_no_node_is_given_up_while_the_bus_is_down(self) -> None:
        self.bus.down()
        self.up("second")
        self.bus.down()
        self.clock.advance(REJOIN_TIMEOUT_S)
        self.assertEqual(self.pubsub.remote_nodes.names, ("a", "b"))
        self.up("third")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_the_same_broker_knows_which_nodes_are_gone(self) -> None:
        self.bus.down()
        self.up("first", "b")
        self.assertEqual(self.pubsub.remote_nodes.names, ("b",))

    def test_messages_of_the_old_link_do_not_make_nodes_present(self) -> None:
        """Batches to them would be sent while the bus is down."""
        self.bus.down()
        self.receive(wire.Joined("a"), wire.Joined("c"), wire.NodeSubscriptions("c", (b"t",)))
        self.pubsub.publish(b"t", b"1")
        self.assertEqual(self.flushed(), [])

    def test_stop(self) -> None:
        self.bus.down()
        self.up("second")
        self.pubsub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.bus.receiver)


class RetainedTopicTests(PubSubTestCase):
    def test_late_subscribers_receive_retained_frames_once(self) -> None:
        first = self.subscribed(b"k")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"k",))])
        self.receive(wire.Retained(b"k", 2, 2, (b"1", b"2")))
        second = self.subscribed(b"k")
        skipping, received = RecordingConnection(), []
        self.pubsub.subscribe_skipping(skipping, b"k", lambda: None)
        self.pubsub.listen(b"k", received.append)
        self.receive(wire.Retained(b"k", 2, 3, (b"3",)), wire.Retained(b"k", 2, 3, (b"2", b"3")))
        third = self.subscribed(b"k")
        for frames in (first.out, second.out, skipping.out, received):
            self.assertEqual(frames, [b"1", b"2", b"3"])
        self.assertEqual(third.out, [b"2", b"3"])

    def test_topics_without_subscribers_are_not_cached(self) -> None:
        connection = self.subscribed(b"k")
        self.receive(wire.Retained(b"k", 1, 1, (b"old",)))
        self.pubsub.drop(connection)
        self.receive(wire.Retained(b"k", 1, 2, (b"on its way",)))
        late = self.subscribed(b"k")
        self.assertEqual(late.out, [])
        self.receive(wire.Retained(b"k", 1, 7, (b"new",)))
        self.assertEqual(late.out, [b"new"])

    def test_new_frames_before_the_history_are_ignored(self) -> None:
        """The exchange sent them because of an earlier subscription, or on a lost link."""
        early = wire.Retained(b"k", 3, 3, (b"3",), full=False)
        kept = wire.Retained(b"k", 3, 3, (b"1", b"2", b"3"))
        self.pubsub.drop(self.subscribed(b"k"))
        connection = self.subscribed(b"k")
        received: list[Any] = []
        self.pubsub.follow(b"k", lambda frame, offset: received.append(frame), since=("", 1))
        self.receive(early)
        self.assertEqual((connection.out, received), ([], []))
        self.receive(kept, wire.Retained(b"k", 3, 4, (b"4",), full=False))
        self.assertEqual(connection.out, [b"1", b"2", b"3", b"4"])
        self.assertEqual(received, [b"2", b"3", b"4"])
        self.receive(wire.Retained(b"k", 3, 6, (b"6",), full=False))
        self.receive(wire.Retained(b"k", 3, 6, (b"4", b"5", b"6")))
        self.assertEqual((connection.out[4:], received[3:]), ([b"5", b"6"], [b"5", b"6"]))
        self.assertEqual(self.pubsub.dropped, {})

    def test_retained_publications_wait_until_all_nodes_have_sent_what_they_know(self) -> None:
        """Else a new broker would give them offsets that other nodes take for old ones."""
        self.bus.down()
        self.pubsub.publish_retained(b"k", b"1", 1)
        self.bus.up("second", "b")
        self.bus.take()
        self.assertEqual(self.flushed(), [])
        self.receive(wire.NodeSubscriptions("b"))
        self.assertEqual(self.flushed(), [])
        before = self.scheduled
        self.receive(wire.Joined("a"), wire.NodeSubscriptions("a"))
        self.assertEqual(self.scheduled, before + 1)
        self.assertEqual(self.flushed(), [wire.Retain(b"k", 1, b"1", number=1)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_publishers_pause_while_retained_publications_wait_and_above_a_limit_they_are_dropped(
        self,
    ) -> None:
        self.bus.down()
        frame = bytes(module.HELD_HIGH_WATER)
        self.assertEqual(self.pubsub.publish_retained(b"t", frame, 1), (2, 0))
        self.assertEqual(self.events, [])
        self.pubsub.publish_retained(b"t", b"more", 1)
        self.assertEqual((self.events, self.pubsub.full), (["full"], True))
        for _ in range(4):
            self.pubsub.publish_retained(b"t", frame, 1)
        self.assertEqual(self.pubsub.dropped, {"bus_queue_full": 1})
        self.assertEqual(self.pubsub.publish_retained(b"t", b"x", 1), (0, 0))
        self.bus.up("second")
        self.clock.advance(REJOIN_TIMEOUT_S)
        self.assertEqual([retain.number for retain in self.flushed()[2:]], [1, 2, 3, 4, 5])
        self.receive(wire.Acknowledged(5))
        self.assertEqual((self.events[-1], self.pubsub.queued_bytes), ("free", 0))

    def test_publications_that_a_dead_broker_may_not_have_delivered_are_sent_again(self) -> None:
        connection = self.subscribed(b"k")
        for frame in (b"1", b"2", b"3"):
            self.pubsub.publish_retained(b"k", frame, 5)
        self.flushed()
        self.receive(wire.Retained(b"k", 5, 1, (b"1",), "e", (), "here:1", 1))
        self.bus.down()
        self.bus.up("second")
        restore, *_ = self.bus.take()
        self.assertEqual(restore, wire.Restore(b"k", 5, 1, (b"1",), "e", (), "here:1"))
        self.clock.advance(REJOIN_TIMEOUT_S)
        again = self.flushed()
        self.assertEqual([retain.frame for retain in again], [b"1", b"2", b"3"])
        self.receive(
            wire.Acknowledged(1), wire.Retained(b"k", 5, 2, (b"2",), "f e:1", (), "here:2", 2)
        )
        self.assertEqual(connection.out, [b"1", b"2"])

    def test_retained_publications_do_not_wait_longer_than_the_timeout(self) -> None:
        self.bus.down()
        self.pubsub.publish_retained(b"k", b"1", 1)
        self.bus.up("second", "b")
        self.bus.take()
        self.clock.advance(REJOIN_TIMEOUT_S)
        self.assertEqual(self.flushed(), [wire.Retain(b"k", 1, b"1", number=1)])

    def test_retained_publications_do_not_wait_for_a_node_that_leaves(self) -> None:
        self.bus.down()
        self.bus.up("first", "a", "b")
        self.bus.take()
        self.pubsub.publish_retained(b"k", b"1", 1)
        self.receive(wire.NodeSubscriptions("a"), wire.Left("b"))
        self.assertEqual(self.flushed(), [wire.Retain(b"k", 1, b"1", number=1)])


class SimulationTests(SynchronousTestCase):
    """Any sequence of events, with messages in any order."""

    def test_any_sequence_of_events(self) -> None:
        self.patch(retained_outbox, "GRACE_S", 1e9)  # simulated time passes fast
        run_state_machine_as_test(ClusterMachine)


TOPICS = st.sampled_from([b"t", b"u", b"v", RETAINED])
NODE = st.integers(0, 3)
MANY = 1000


class ClusterMachine(RuleBasedStateMachine):
    """Drives a SimulatedCluster, which checks the rules."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = SimulatedCluster()
        for _ in range(2):
            self.cluster.start()

    def name(self, index: int) -> str:
        names = list(self.cluster.nodes)
        return names[index % len(names)]

    @rule(index=NODE, event=st.sampled_from(["start", "crash", "cut", "cut unnoticed", "broker"]))
    def happens(self, index: int, event: str) -> None:
        if event == "start" and len(self.cluster.nodes) < 4:
            self.cluster.start()
        elif event == "crash" and len(self.cluster.nodes) > 1:
            self.cluster.crash(self.name(index))
        elif event.startswith("cut"):
            self.cluster.cut(self.name(index), event == "cut")
        elif event == "broker":
            self.cluster.start_broker()

    @rule(index=NODE)
    def connect(self, index: int) -> None:
        self.cluster.connect(self.name(index))

    @rule(index=NODE, topic=TOPICS)
    def subscribe(self, index: int, topic: bytes) -> None:
        self.cluster.subscribe(self.name(index), topic)

    @rule(index=NODE, topic=TOPICS)
    def unsubscribe(self, index: int, topic: bytes) -> None:
        self.cluster.unsubscribe(self.name(index), topic)

    @rule(index=NODE, topic=TOPICS, times=st.integers(1, 3), flush=st.booleans())
    def publish(self, index: int, topic: bytes, times: int, flush: bool) -> None:
        name = self.name(index)
        for _ in range(times):
            if topic == RETAINED:
                self.cluster.retain(name)
            else:
                self.cluster.publish(name, topic)
        if flush:
            self.cluster.flush(name)
            self.cluster.carry_up(name, MANY)

    @rule(
        index=NODE,
        times=st.integers(1, 4),
        excluded=NODE,
        event=st.sampled_from(["late", "cut", "gone"]),
    )
    def retain_without(self, index: int, times: int, excluded: int, event: str) -> None:
        """All nodes but one receive retained frames; that one late, or after its link was cut."""
        cluster, publisher, without = self.cluster, self.name(index), self.name(excluded)
        if event != "late" and publisher != without:
            cluster.cut(without, event == "gone")
        for _ in range(times):
            cluster.retain(publisher)
        cluster.flush(publisher)
        cluster.carry_up(publisher, MANY)
        for name in cluster.nodes:
            if name != without:
                cluster.carry_down(name, MANY)

    @rule()
    def another_broker(self) -> None:
        """It comes up with what the nodes send it."""
        self.cluster.start_broker()
        for name in self.cluster.nodes:
            self.cluster.connect(name)
            self.cluster.carry_up(name, MANY)
        for name in self.cluster.nodes:
            self.cluster.carry_down(name, MANY)

    @rule(roamer=st.integers(0, 1), index=NODE, away=st.booleans())
    def roam(self, roamer: int, index: int, away: bool) -> None:
        self.cluster.roam(roamer, None if away else self.name(index))

    @rule(index=NODE, topic=st.sampled_from([b"t", b"u"]), member=st.sampled_from(["ada", "bob"]))
    def join(self, index: int, topic: bytes, member: str) -> None:
        self.cluster.join(self.name(index), topic, member)

    @rule(index=NODE, topic=st.sampled_from([b"t", b"u"]), member=st.sampled_from(["ada", "bob"]))
    def leave(self, index: int, topic: bytes, member: str) -> None:
        self.cluster.leave(self.name(index), topic, member)

    @rule()
    def meet(self) -> None:
        self.cluster.meet()

    @rule(index=NODE)
    def flush(self, index: int) -> None:
        self.cluster.flush(self.name(index))

    @rule(index=NODE, count=st.sampled_from([1, 2, MANY]))
    def carry_up(self, index: int, count: int) -> None:
        self.cluster.carry_up(self.name(index), count)

    @rule(index=NODE, count=st.sampled_from([1, 2, MANY]))
    def carry_down(self, index: int, count: int) -> None:
        self.cluster.carry_down(self.name(index), count)

    @rule(index=NODE)
    def take_away_a_batch(self, index: int) -> None:
        self.cluster.take_away_a_batch(self.name(index))

    @rule()
    def wait(self) -> None:
        self.cluster.wait()

    @rule()
    def settle(self) -> None:
        self.cluster.settle()

    def teardown(self) -> None:
        self.cluster.settle()
