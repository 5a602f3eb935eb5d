"""Publishing, the order of a flush, and what happens when the bus goes down and up."""

from typing import Any

from cluster.core import wire
from cluster.core.broker_state.retained_topic import GAP
from cluster.core.exceptions import NotPublished
from cluster.pubsub.batches import HIGH_WATER, MAX_PUBLICATION
from cluster.pubsub.remote_nodes import AWAY_S, REJOIN_TIMEOUT_S
from tests.fakes import RecordingConnection
from tests.pubsub.node_case import PubSubTestCase


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

    def test_publish_here_sends_to_no_other_node(self) -> None:
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


class BusLifeTests(PubSubTestCase):
    """Going up, down, and up again."""

    def up(self, epoch: str, *nodes: str) -> list[Any]:
        """Bring the bus up (again); returns what is sent."""
        self.bus.take()
        self.bus.up(epoch, *nodes)
        return self.taken()

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

    def test_batches_that_are_not_acknowledged_are_sent_again_in_order(self) -> None:
        for number in (1, 2, 3):
            self.pubsub.publish(b"u", b"%d" % number)
            self.flushed()
        self.acknowledge(1)
        self.bus.down()
        self.pubsub.publish(b"u", b"4")
        self.pubsub.flush()
        batches = [item for item in self.up("first", "a") if isinstance(item, tuple)]
        self.assertEqual(batches, [("a", n, [b"u", b"%d" % n]) for n in (2, 3, 4)])

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

    def test_nodes_that_do_not_rejoin_in_time_are_away_and_then_gone(self) -> None:
        self.bus.down()
        self.pubsub.publish(b"t", b"1")
        self.pubsub.flush()
        self.up("second", "b")
        self.clock.advance(REJOIN_TIMEOUT_S)
        self.assertEqual(self.pubsub.remote_nodes.names, ("a", "b"))
        self.clock.advance(AWAY_S)
        self.assertEqual(self.pubsub.remote_nodes.names, ("b",))
        self.assertEqual(self.pubsub.dropped, {"node_gone": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_changes_do_not_accumulate_while_the_bus_is_down(self) -> None:
        """Not even if clients subscribe and unsubscribe repeatedly."""
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

    def test_nodes_that_the_same_broker_does_not_know_may_have_lost_their_link_too(self) -> None:
        self.bus.down()
        self.pubsub.publish(b"u", b"1")
        self.pubsub.flush()
        self.up("first", "b")
        self.receive(wire.Joined("a"))
        self.assertEqual(self.taken(), [("a", 1, [b"u", b"1"])])

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

    def test_nothing_is_sent_after_the_stop(self) -> None:
        """Handlers that end with the node may still publish; the socket is closed."""
        self.pubsub.stop()
        self.bus.take()
        self.pubsub.publish(b"t", b"1")
        self.assertEqual(self.flushed(), [])


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

    def test_the_first_subscribers_receive_a_history_as_they_read_too(self) -> None:
        """It would be copied for each of them, and would count for the limits of their queues."""
        first, skipping, blocked = self.subscribed(b"k"), RecordingConnection(), []
        self.pubsub.subscribe_skipping(skipping, b"k", lambda: None)
        slow = RecordingConnection()
        self.pubsub.subscribe_skipping(slow, b"k", lambda: blocked.append(True))
        slow.blocked = True
        self.receive(wire.Retained(b"k", 3, 3, (b"1", b"2", b"3")))
        self.receive(wire.Retained(b"k", 3, 4, (b"4",), full=False))
        self.assertEqual((first.histories, skipping.histories), ([0, 3], [0, 3]))
        self.assertEqual((first.out, skipping.out), ([b"1", b"2", b"3", b"4"],) * 2)
        self.assertEqual((slow.out, blocked), ([], [True, True]))
        self.assertEqual(self.pubsub.subscriptions.conflated, 4)

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

    def test_retained_publications_wait_until_all_nodes_have_sent_their_state(self) -> None:
        """Otherwise a new broker would give them offsets that other nodes know for older frames."""
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
        frame = bytes(HIGH_WATER)
        self.assertEqual(self.pubsub.publish_retained(b"t", frame, 1), (2, 0))
        self.assertEqual(self.events, [])
        self.pubsub.publish_retained(b"t", b"more", 1)
        self.assertEqual((self.events, self.pubsub.full), (["full"], True))
        self.pubsub.publish_retained(b"t", frame, 1)
        with self.assertRaises(NotPublished) as raised:
            self.pubsub.publish_retained(b"t", b"x", 1)
        self.assertIn("32 MiB of publications wait", str(raised.exception))
        self.assertEqual(self.pubsub.dropped, {"bus_queue_full": 1})
        self.bus.up("second")
        self.clock.advance(REJOIN_TIMEOUT_S)
        sent = self.flushed()[2:]
        self.assertEqual([retain.number for retain in sent], [1, 2, 3, 4])
        self.assertEqual(sent[3], wire.Retain(b"t", 1, GAP, number=4))
        self.receive(wire.Acknowledged(4))
        self.assertEqual((self.events[-1], self.pubsub.queued_bytes), ("free", 0))

    def test_subscribers_learn_of_refused_publications_in_their_place(self) -> None:
        connection = self.subscribed(b"k")
        events: list[Any] = []
        self.pubsub.follow(
            b"k",
            lambda frame, offset: events.append((frame, offset)),
            replay=False,
            answer=lambda *answer: events.append(answer),
        )
        self.flushed()
        self.receive(wire.Retained(b"k", 2, 1, (b"1",), "e"))
        self.receive(wire.Retained(b"k", 2, 2, (GAP,), "e", full=False))
        self.receive(wire.Retained(b"k", 2, 3, (b"3",), "e", full=False))
        self.assertEqual(connection.out, [b"1", b"3"])
        self.assertEqual(connection.lost, [b"k"])
        self.assertEqual(events, [(False, "e", 1), (False, "e", 2), (b"3", 3)])
        late = self.subscribed(b"k")
        self.assertEqual((late.out, late.lost), ([b"1", b"3"], []))

    def test_a_gap_follows_when_more_was_refused_after_the_first_was_sent(self) -> None:
        with self.assertRaises(NotPublished):
            self.pubsub.publish_retained(b"k", bytes(MAX_PUBLICATION + 1), 1)
        self.assertEqual([retain.frame for retain in self.flushed()], [GAP])
        with self.assertRaises(NotPublished):
            self.pubsub.publish_retained(b"k", bytes(MAX_PUBLICATION + 1), 1)
        self.assertEqual(self.flushed(), [])
        before = self.scheduled
        self.receive(wire.Acknowledged(1))
        self.assertEqual(self.scheduled, before + 1)
        self.assertEqual(self.flushed(), [wire.Retain(b"k", 1, GAP, number=2)])

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
