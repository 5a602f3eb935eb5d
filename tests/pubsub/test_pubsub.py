"""A node's topics and retained frames: what it tells the bus, and what its connections get."""

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
    """A node called "here", up, with peers a and b who have said what they want."""

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
        self.hear(wire.NodeSubscriptions("a", (b"t", b"u")), wire.NodeSubscriptions("b", (b"t",)))
        self.bus.take()
        self.events.clear()

    def schedule(self) -> None:
        self.scheduled += 1

    def hear(self, *messages: wire.Message) -> None:
        for message in messages:
            self.pubsub.bus_message(message)

    def subscribed(self, *topics: bytes) -> RecordingConnection:
        connection = RecordingConnection()
        for topic in topics:
            self.pubsub.subscribe(connection, topic)
        return connection

    def flushed(self) -> list[Any]:
        """What a flush sends, with packs as (peer, number, topics and frames)."""
        self.pubsub.flush()
        return [
            (item[0], *decode_batch(item[1])) if isinstance(item, tuple) else item
            for item in self.bus.take()
        ]


class PublishTests(PubSubTestCase):
    def test_a_handler_that_listens_is_no_connection_but_its_node_counts(self) -> None:
        heard: list[Any] = []
        subscriber = self.pubsub.follow(b"t", lambda frame, offset: heard.append(frame))
        for receipt in (
            self.pubsub.publish(b"t", b"1"),
            self.pubsub.publish_except(RecordingConnection(), b"t", b"2"),
            self.pubsub.publish_retained(b"t", b"3", 1),
        ):
            self.assertEqual(receipt, (3, 0))
        self.assertEqual(self.pubsub.publish_here(b"t", b"4"), (1, 0))
        self.assertEqual(heard, [b"1", b"2", b"4"])
        subscriber.stop()
        self.assertEqual(self.pubsub.publish(b"t", b"5"), (2, 0))
        self.assertEqual(self.pubsub.publish_here(b"t", b"6"), (0, 0))

    def test_to_connections_at_once_and_to_peers_with_the_flush(self) -> None:
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

    def test_each_publication_asks_for_a_flush(self) -> None:
        before = self.scheduled
        self.assertEqual(self.pubsub.publish(b"nobody", b"x"), (0, 0))
        self.pubsub.publish_here(b"nobody", b"x")
        self.pubsub.publish_retained(b"nobody", b"x", 1)
        self.assertEqual(self.scheduled, before + 3)

    def test_here_only(self) -> None:
        connection = self.subscribed(b"t")
        self.flushed()
        self.assertEqual(self.pubsub.publish_here(b"t", b"1"), (1, 1))
        self.assertEqual(self.pubsub.publish_here(b"u", b"2"), (0, 0))
        self.assertEqual(connection.out, [b"1"])
        self.assertEqual(self.flushed(), [])

    def test_interest_goes_out_before_packs_and_arrivals_after_them(self) -> None:
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
    def test_the_first_subscriber_and_the_last_are_told(self) -> None:
        one, two = self.subscribed(b"t"), self.subscribed(b"t", b"u")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t", b"u"))])
        self.pubsub.unsubscribe(one, b"t")
        self.pubsub.unsubscribe(one, b"t")
        self.assertEqual(self.flushed(), [])
        self.pubsub.drop(two)
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"t", b"u"))])
        self.pubsub.publish_here(b"t", b"1")
        self.assertEqual((one.out, two.out), ([], []))

    def test_the_last_goes_and_another_comes_in_one_iteration(self) -> None:
        self.pubsub.drop(self.subscribed(b"t"))
        self.subscribed(b"t")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t",))])

    def test_twice_is_once(self) -> None:
        connection = self.subscribed(b"t", b"t")
        self.hear(wire.Retained(b"t", 1, 1, (b"kept",)))
        self.pubsub.subscribe(connection, b"t")
        self.pubsub.publish_here(b"t", b"1")
        self.assertEqual(connection.out, [b"kept", b"1"])

    def test_listeners_get_all_and_errors_stay_with_them(self) -> None:
        heard: list[bytes] = []
        self.pubsub.listen(b"t", lambda frame: {}[frame])
        self.pubsub.listen(b"t", heard.append)
        connection = self.subscribed(b"t")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"t",))])
        self.assertEqual(self.pubsub.publish(b"t", b"1"), (3, 1))
        self.pubsub.bus_batch("a", encode_batch(1, [b"t", b"2"]))
        self.pubsub.drop(connection)
        self.pubsub.publish_here(b"t", b"3")
        self.assertEqual(heard, [b"1", b"2", b"3"])
        batches = [("a", 1, [b"t", b"1"]), ("b", 1, [b"t", b"1"])]
        self.assertEqual(self.flushed(), batches)  # the topic is wanted still
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 3)


class SkippingTests(PubSubTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.connection, self.other = RecordingConnection(), RecordingConnection()
        for connection in (self.connection, self.other):
            self.pubsub.subscribe_skipping(connection, b"t", lambda: self.events.append("skipped"))

    def test_frames_are_left_out_while_blocked_and_counted(self) -> None:
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

    def test_gone(self) -> None:
        self.flushed()
        self.pubsub.drop(self.connection, (b"t", b"u"))
        self.pubsub.unsubscribe(self.connection, b"t")
        self.assertEqual(self.flushed(), [])
        self.pubsub.unsubscribe(self.other, b"t")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (), (b"t",))])
        self.assertEqual(self.pubsub.publish_here(b"t", b"1"), (0, 0))

    def test_skipping_and_not_is_one_subscription_the_last_one(self) -> None:
        self.hear(wire.Retained(b"t", 1, 1, (b"kept",)))
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
    """Packs of other nodes."""

    def batch(self, number: int, *items: bytes, origin: str = "a") -> None:
        self.pubsub.bus_batch(origin, encode_batch(number, items))

    def test_frames_go_to_subscribers_and_not_on(self) -> None:
        one, two = self.subscribed(b"t"), self.subscribed(b"t", b"u")
        self.flushed()
        before = self.scheduled
        self.batch(1, b"t", b"1", b"u", b"2", b"v", b"3")
        self.assertEqual((one.out, two.out), ([b"1"], [b"1", b"2"]))
        self.assertEqual(self.dirty, [one, two])
        self.assertEqual(self.scheduled, before + 1)
        self.assertEqual(self.flushed(), [])

    def test_what_is_missing_is_counted_and_the_rest_delivered(self) -> None:
        connection = self.subscribed(b"t")
        self.batch(1, b"t", b"1")
        self.batch(4, b"t", b"4")
        self.batch(2, b"t", b"9", origin="b")
        self.batch(5, b"t", b"5")
        self.assertEqual(connection.out, [b"1", b"4", b"9", b"5"])
        self.assertEqual(self.pubsub.batches.gaps, 2)

    def test_what_comes_twice_is_delivered_once(self) -> None:
        connection = self.subscribed(b"t")
        for number in (1, 2, 1, 2, 3):
            self.batch(number, b"t", b"%d" % number)
        self.assertEqual(connection.out, [b"1", b"2", b"3"])
        self.assertEqual(self.pubsub.dropped, {"duplicate_batch": 2})
        self.assertEqual(self.pubsub.batches.gaps, 0)

    def test_malformed_packs_are_counted(self) -> None:
        connection = self.subscribed(b"t")
        for data in (b"", b"x" * 7, encode_batch(1, [b"t"]), encode_batch(0, [b"t", b"1"])):
            self.pubsub.bus_batch("a", data)
        self.batch(1, b"t", b"1")
        self.assertEqual(connection.out, [b"1"])
        self.assertEqual(self.pubsub.dropped, {"malformed": 4})

    def test_origins_that_are_gone_are_forgotten_beyond_a_bound(self) -> None:
        self.patch(incoming_batches, "MAX_ORIGINS", 2)
        self.batch(7, b"t", b"1", origin="old")
        for origin in ("a", "b"):
            self.batch(1, b"t", b"1", origin=origin)
        self.batch(1, b"t", b"1", origin="old")
        self.assertEqual(self.pubsub.batches.gaps, 1)
        self.assertEqual(self.pubsub.dropped, {})  # its number 1 is no duplicate any more


class RemoteNodesTests(PubSubTestCase):
    """Who is there and what they want."""

    def test_interest_is_changed_message_by_message(self) -> None:
        self.hear(wire.NodeSubscriptions("a", (b"v",), (b"t",)))
        self.assertEqual(self.pubsub.publish(b"t", b"1"), (1, 0))
        self.assertEqual(self.pubsub.publish(b"v", b"2"), (1, 0))
        self.assertEqual(self.flushed(), [("b", 1, [b"t", b"1"]), ("a", 1, [b"v", b"2"])])

    def test_a_peer_that_leaves_takes_its_interest_and_what_waits_for_it(self) -> None:
        self.pubsub.publish(b"t", b"1")
        self.pubsub.publish(b"u", b"2")
        self.hear(wire.Left("a"), wire.Left("a"), wire.Left("stranger"))
        self.assertEqual(self.pubsub.remote_nodes.names, ("b",))
        self.assertEqual(self.pubsub.publish(b"u", b"3"), (0, 0))
        self.assertEqual(self.flushed(), [("b", 1, [b"t", b"1"])])
        self.assertEqual(self.pubsub.dropped, {"node_gone": 2})

    def test_numbers_go_on_for_a_peer_that_comes_back(self) -> None:
        self.pubsub.publish(b"u", b"1")
        self.flushed()
        self.hear(wire.Left("a"), wire.Joined("a"), wire.NodeSubscriptions("a", (b"u",)))
        self.pubsub.publish(b"u", b"2")
        self.assertEqual(self.flushed(), [("a", 2, [b"u", b"2"])])

    def test_a_peer_that_leaves_and_comes_back_within_an_iteration(self) -> None:
        self.pubsub.publish(b"u", b"1")
        self.hear(wire.Left("a"), wire.Joined("a"), wire.NodeSubscriptions("a", (b"u",)))
        self.pubsub.publish(b"u", b"2")
        self.assertEqual(self.flushed(), [("a", 1, [b"u", b"2"])])

    def test_those_who_left_are_forgotten_beyond_a_bound(self) -> None:
        self.patch(module, "MAX_LEFT", 1)
        self.pubsub.publish(b"t", b"1")
        self.flushed()
        self.hear(wire.Left("a"), wire.Left("b"))
        for name in "ab":
            self.hear(wire.Joined(name), wire.NodeSubscriptions(name, (b"t",)))
        self.pubsub.publish(b"t", b"2")
        self.assertEqual(self.flushed(), [("a", 1, [b"t", b"2"]), ("b", 2, [b"t", b"2"])])

    def test_messages_for_nodes_only_are_ignored(self) -> None:
        self.hear(wire.Hello(), wire.Goodbye())
        self.assertEqual((self.flushed(), self.events), ([], []))

    def test_barriers(self) -> None:
        for answer in (wire.Release, wire.Refuse):
            token = self.pubsub.barriers.arrive(
                "game", 2, lambda: self.events.append("released"), self.events.append
            )
            self.hear(answer("game", (token,)))
        self.assertEqual(self.events, ["released", "the barrier is full or released already"])


class CongestionTests(PubSubTestCase):
    """``full`` and ``on_full``: one answer from several reasons."""

    def test_full_while_any_peer_is_congested_or_the_bus_is_full(self) -> None:
        self.hear(wire.Congested("a"), wire.Congested("b"))
        self.pubsub.bus_full(True)
        self.hear(wire.Cleared("a"), wire.Cleared("b"))
        self.assertTrue(self.pubsub.full)
        self.pubsub.bus_full(False)
        self.assertEqual(self.events, ["full", "free"])

    def test_a_congested_peer_that_leaves_frees(self) -> None:
        self.hear(wire.Congested("a"), wire.Left("a"))
        self.assertEqual(self.events, ["full", "free"])

    def test_another_broker_says_it_anew(self) -> None:
        self.hear(wire.Congested("a"))
        self.bus.down()
        self.assertEqual(self.events, ["full"])
        self.bus.up("second", "a", "b")
        self.assertEqual(self.events, ["full", "free", "up"])

    def test_what_is_held_fills_up(self) -> None:
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

    def test_those_given_up_fill_nothing(self) -> None:
        self.pubsub.remote_nodes.held = module.WaterMarks(50, 10)
        self.bus.down()
        self.pubsub.publish(b"u", bytes(80))
        self.pubsub.flush()
        self.bus.up("first", "b")
        self.assertEqual(self.events, ["full", "free", "up"])
        self.assertEqual(self.pubsub.dropped, {"node_gone": 1})


class BusLifeTests(PubSubTestCase):
    """Going up, down, and up again."""

    def up(self, epoch: str, *peers: str) -> list[Any]:
        """What is said when the bus is up (again)."""
        self.bus.take()
        self.bus.up(epoch, *peers)
        return [
            (item[0], *decode_batch(item[1])) if isinstance(item, tuple) else item
            for item in self.bus.take()
        ]

    def test_all_is_said_anew(self) -> None:
        connection = self.subscribed(b"t", b"gone")
        self.pubsub.subscribe_skipping(RecordingConnection(), b"s", lambda: None)
        self.pubsub.listen(b"l", lambda frame: None)
        self.flushed()
        inside = self.pubsub.barriers.arrive("game", 1, lambda: None, self.events.append)
        self.hear(wire.Release("game", (inside,)), wire.Retained(b"t", 2, 5, (b"4", b"5")))
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
                wire.Arrive("game", 1, (inside,), released=True),
                wire.Arrive("next", 2, (waiting, late)),
            ],
        )
        self.assertEqual(self.flushed(), [])
        self.assertEqual(self.events, ["up"])

    def test_packs_wait_while_the_bus_is_down(self) -> None:
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

    def test_what_the_bus_hands_back_is_held_in_order(self) -> None:
        self.pubsub.publish(b"u", b"1")
        self.pubsub.flush()
        (unsent,) = self.bus.take()
        self.bus.down(unsent, ("stranger", encode_batch(1, [b"t", b"x"] * 2)))
        self.assertEqual(self.pubsub.dropped, {"node_gone": 2})
        self.pubsub.publish(b"u", b"2")
        self.pubsub.flush()
        batches = [item for item in self.up("first", "a") if isinstance(item, tuple)]
        self.assertEqual(batches, [("a", 1, [b"u", b"1"]), ("a", 2, [b"u", b"2"])])

    def test_packs_for_peers_of_a_dead_broker_wait_until_they_join_the_next(self) -> None:
        self.bus.down()
        self.pubsub.publish(b"u", b"1")
        self.pubsub.flush()
        self.up("second", "b")
        self.assertEqual(self.pubsub.publish(b"u", b"2"), (1, 0))  # it counts as interested
        self.assertEqual(self.flushed(), [])
        self.clock.advance(REJOIN_TIMEOUT_S - 1)
        self.hear(wire.Joined("a"))
        self.pubsub.publish(b"u", b"3")
        self.assertEqual(self.flushed(), [("a", n, [b"u", b"%d" % n]) for n in (1, 2, 3)])
        self.hear(wire.NodeSubscriptions("a", (b"v",)), wire.NodeSubscriptions("b", (b"t",)))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.pubsub.publish(b"u", b"4"), (0, 0))  # what it says now counts

    def test_those_that_do_not_come_are_given_up(self) -> None:
        self.bus.down()
        self.pubsub.publish(b"t", b"1")
        self.pubsub.flush()
        self.up("second", "b")
        self.clock.advance(REJOIN_TIMEOUT_S)
        self.assertEqual(self.pubsub.remote_nodes.names, ("b",))
        self.assertEqual(self.pubsub.dropped, {"node_gone": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_said_anew_does_not_gather_while_the_bus_is_down(self) -> None:
        """Clients come and go for as long as it takes."""
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
        said = self.bus.take()
        self.assertEqual(said[0].added[-1:], (b"t",))
        self.assertEqual(
            said[1:],
            [
                wire.PresenceUpdate("here", True, ((b"t", "ada"),)),
                wire.Arrive("game", 2, (51,)),
            ],
        )
        self.pubsub.drop(connection)

    def test_nobody_is_given_up_while_the_bus_is_down(self) -> None:
        self.bus.down()
        self.up("second")
        self.bus.down()
        self.clock.advance(REJOIN_TIMEOUT_S)
        self.assertEqual(self.pubsub.remote_nodes.names, ("a", "b"))
        self.up("third")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_broker_that_never_died_knows_who_is_gone(self) -> None:
        self.bus.down()
        self.up("first", "b")
        self.assertEqual(self.pubsub.remote_nodes.names, ("b",))

    def test_a_message_of_the_old_link_brings_nobody_back(self) -> None:
        """Packs for them would be sent on a link that is not there."""
        self.bus.down()
        self.hear(wire.Joined("a"), wire.Joined("c"), wire.NodeSubscriptions("c", (b"t",)))
        self.pubsub.publish(b"t", b"1")
        self.assertEqual(self.flushed(), [])

    def test_stop(self) -> None:
        self.bus.down()
        self.up("second")
        self.pubsub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.bus.receiver)


class RetainedTopicTests(PubSubTestCase):
    def test_late_subscribers_get_what_is_kept_once(self) -> None:
        first = self.subscribed(b"k")
        self.assertEqual(self.flushed(), [wire.NodeSubscriptions("here", (b"k",))])
        self.hear(wire.Retained(b"k", 2, 2, (b"1", b"2")))
        second = self.subscribed(b"k")
        skipping, heard = RecordingConnection(), []
        self.pubsub.subscribe_skipping(skipping, b"k", lambda: None)
        self.pubsub.listen(b"k", heard.append)
        self.hear(wire.Retained(b"k", 2, 3, (b"3",)), wire.Retained(b"k", 2, 3, (b"2", b"3")))
        third = self.subscribed(b"k")
        for received in (first.out, second.out, skipping.out, heard):
            self.assertEqual(received, [b"1", b"2", b"3"])
        self.assertEqual(third.out, [b"2", b"3"])

    def test_nothing_is_kept_of_a_topic_nobody_here_wants(self) -> None:
        connection = self.subscribed(b"k")
        self.hear(wire.Retained(b"k", 1, 1, (b"old",)))
        self.pubsub.drop(connection)
        self.hear(wire.Retained(b"k", 1, 2, (b"on its way",)))
        late = self.subscribed(b"k")
        self.assertEqual(late.out, [])
        self.hear(wire.Retained(b"k", 1, 7, (b"new",)))
        self.assertEqual(late.out, [b"new"])

    def test_what_was_on_its_way_before_all_that_is_kept(self) -> None:
        """The exchange has sent it to who left, or on a lost link, without those before it."""
        early = wire.Retained(b"k", 3, 3, (b"3",), full=False)
        kept = wire.Retained(b"k", 3, 3, (b"1", b"2", b"3"))
        self.pubsub.drop(self.subscribed(b"k"))
        connection = self.subscribed(b"k")
        heard: list[Any] = []
        self.pubsub.follow(b"k", lambda frame, offset: heard.append(frame), since=("", 1))
        self.hear(early)
        self.assertEqual((connection.out, heard), ([], []))
        self.hear(kept, wire.Retained(b"k", 3, 4, (b"4",), full=False))
        self.assertEqual(connection.out, [b"1", b"2", b"3", b"4"])
        self.assertEqual(heard, [b"2", b"3", b"4"])
        self.hear(wire.Retained(b"k", 3, 6, (b"6",), full=False))
        self.hear(wire.Retained(b"k", 3, 6, (b"4", b"5", b"6")))
        self.assertEqual((connection.out[4:], heard[3:]), ([b"5", b"6"], [b"5", b"6"]))
        self.assertEqual(self.pubsub.dropped, {})

    def test_not_published_before_all_have_said_what_they_know(self) -> None:
        """A new broker would give a number that those who know more take for an old one."""
        self.bus.down()
        self.pubsub.publish_retained(b"k", b"1", 1)
        self.bus.up("second", "b")
        self.bus.take()
        self.assertEqual(self.flushed(), [])
        self.hear(wire.NodeSubscriptions("b"))
        self.assertEqual(self.flushed(), [])
        before = self.scheduled
        self.hear(wire.Joined("a"), wire.NodeSubscriptions("a"))
        self.assertEqual(self.scheduled, before + 1)
        self.assertEqual(self.flushed(), [wire.Retain(b"k", 1, b"1", number=1)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_much_that_waits_for_a_broker_stops_publishers_and_then_is_dropped(self) -> None:
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
        self.hear(wire.Acknowledged(5))
        self.assertEqual((self.events[-1], self.pubsub.queued_bytes), ("free", 0))

    def test_what_a_dead_broker_may_not_have_told_is_sent_again(self) -> None:
        connection = self.subscribed(b"k")
        for frame in (b"1", b"2", b"3"):
            self.pubsub.publish_retained(b"k", frame, 5)
        self.flushed()
        self.hear(wire.Retained(b"k", 5, 1, (b"1",), "e", (), "here:1", 1))
        self.bus.down()
        self.bus.up("second")
        restore, *_ = self.bus.take()
        self.assertEqual(restore, wire.Restore(b"k", 5, 1, (b"1",), "e", (), "here:1"))
        self.clock.advance(REJOIN_TIMEOUT_S)
        again = self.flushed()
        self.assertEqual([retain.frame for retain in again], [b"1", b"2", b"3"])
        self.hear(
            wire.Acknowledged(1), wire.Retained(b"k", 5, 2, (b"2",), "f e:1", (), "here:2", 2)
        )
        self.assertEqual(connection.out, [b"1", b"2"])

    def test_nobody_is_waited_for_too_long(self) -> None:
        self.bus.down()
        self.pubsub.publish_retained(b"k", b"1", 1)
        self.bus.up("second", "b")
        self.bus.take()
        self.clock.advance(REJOIN_TIMEOUT_S)
        self.assertEqual(self.flushed(), [wire.Retain(b"k", 1, b"1", number=1)])

    def test_who_leaves_is_not_waited_for(self) -> None:
        self.bus.down()
        self.bus.up("first", "a", "b")
        self.bus.take()
        self.pubsub.publish_retained(b"k", b"1", 1)
        self.hear(wire.NodeSubscriptions("a"), wire.Left("b"))
        self.assertEqual(self.flushed(), [wire.Retain(b"k", 1, b"1", number=1)])


class SimulationTests(SynchronousTestCase):
    """Whatever happens, in whatever order messages travel."""

    def test_any_sequence_of_events(self) -> None:
        self.patch(retained_outbox, "GRACE_S", 1e9)  # whoever drives it takes its time
        run_state_machine_as_test(ClusterMachine)


TOPICS = st.sampled_from([b"t", b"u", b"v", RETAINED])
WHO = st.integers(0, 3)
MANY = 1000


class ClusterMachine(RuleBasedStateMachine):
    """Drives a SimulatedCluster, which does the checking."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = SimulatedCluster()
        for _ in range(2):
            self.cluster.start()

    def name(self, who: int) -> str:
        names = list(self.cluster.nodes)
        return names[who % len(names)]

    @rule(who=WHO, fate=st.sampled_from(["start", "crash", "cut", "cut unnoticed", "broker"]))
    def happens(self, who: int, fate: str) -> None:
        if fate == "start" and len(self.cluster.nodes) < 4:
            self.cluster.start()
        elif fate == "crash" and len(self.cluster.nodes) > 1:
            self.cluster.crash(self.name(who))
        elif fate.startswith("cut"):
            self.cluster.cut(self.name(who), fate == "cut")
        elif fate == "broker":
            self.cluster.start_broker()

    @rule(who=WHO)
    def connect(self, who: int) -> None:
        self.cluster.connect(self.name(who))

    @rule(who=WHO, topic=TOPICS)
    def subscribe(self, who: int, topic: bytes) -> None:
        self.cluster.subscribe(self.name(who), topic)

    @rule(who=WHO, topic=TOPICS)
    def unsubscribe(self, who: int, topic: bytes) -> None:
        self.cluster.unsubscribe(self.name(who), topic)

    @rule(who=WHO, topic=TOPICS, times=st.integers(1, 3), flush=st.booleans())
    def publish(self, who: int, topic: bytes, times: int, flush: bool) -> None:
        name = self.name(who)
        for _ in range(times):
            if topic == RETAINED:
                self.cluster.retain(name)
            else:
                self.cluster.publish(name, topic)
        if flush:
            self.cluster.flush(name)
            self.cluster.carry_up(name, MANY)

    @rule(who=WHO, times=st.integers(1, 4), deaf=WHO, fate=st.sampled_from(["late", "cut", "gone"]))
    def retain_without(self, who: int, times: int, deaf: int, fate: str) -> None:
        """All but one hear some retained frames; that one hears them late, or not from its link."""
        cluster, publisher, without = self.cluster, self.name(who), self.name(deaf)
        if fate != "late" and publisher != without:
            cluster.cut(without, fate == "gone")
        for _ in range(times):
            cluster.retain(publisher)
        cluster.flush(publisher)
        cluster.carry_up(publisher, MANY)
        for name in cluster.nodes:
            if name != without:
                cluster.carry_down(name, MANY)

    @rule()
    def another_broker(self) -> None:
        """It comes up with what the nodes know."""
        self.cluster.start_broker()
        for name in self.cluster.nodes:
            self.cluster.connect(name)
            self.cluster.carry_up(name, MANY)
        for name in self.cluster.nodes:
            self.cluster.carry_down(name, MANY)

    @rule(roamer=st.integers(0, 1), who=WHO, away=st.booleans())
    def roam(self, roamer: int, who: int, away: bool) -> None:
        self.cluster.roam(roamer, None if away else self.name(who))

    @rule(who=WHO, topic=st.sampled_from([b"t", b"u"]), member=st.sampled_from(["ada", "bob"]))
    def join(self, who: int, topic: bytes, member: str) -> None:
        self.cluster.join(self.name(who), topic, member)

    @rule(who=WHO, topic=st.sampled_from([b"t", b"u"]), member=st.sampled_from(["ada", "bob"]))
    def leave(self, who: int, topic: bytes, member: str) -> None:
        self.cluster.leave(self.name(who), topic, member)

    @rule()
    def meet(self) -> None:
        self.cluster.meet()

    @rule(who=WHO)
    def flush(self, who: int) -> None:
        self.cluster.flush(self.name(who))

    @rule(who=WHO, count=st.sampled_from([1, 2, MANY]))
    def carry_up(self, who: int, count: int) -> None:
        self.cluster.carry_up(self.name(who), count)

    @rule(who=WHO, count=st.sampled_from([1, 2, MANY]))
    def carry_down(self, who: int, count: int) -> None:
        self.cluster.carry_down(self.name(who), count)

    @rule(who=WHO)
    def take_away_a_batch(self, who: int) -> None:
        self.cluster.take_away_a_batch(self.name(who))

    @rule()
    def wait(self) -> None:
        self.cluster.wait()

    @rule()
    def settle(self) -> None:
        self.cluster.settle()

    def teardown(self) -> None:
        self.cluster.settle()
