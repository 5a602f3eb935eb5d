"""The broker's state machine."""

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.broker_state.barrier import EVERY_NODE
from cluster.core.broker_state.exchange import Exchange, Outgoing
from cluster.core.broker_state.retained_topic import GAP
from tests.core.broker_state.simulation import SimulatedCluster


class ExchangeTestCase(SynchronousTestCase):
    """An exchange with the live nodes a, b and c."""

    def setUp(self) -> None:
        self.exchange = Exchange("first")
        for name in "abc":
            self.exchange.receive(name, wire.Hello())

    def receive(self, node: str, message: wire.Message) -> Outgoing:
        return self.exchange.receive(node, message)

    def assertAnswered(self, node: str, message: wire.Message, *answers: wire.Message) -> None:
        """Only the sender receives messages."""
        self.assertEqual(self.receive(node, message), [(node, answer) for answer in answers])


class LifeTests(ExchangeTestCase):
    """Hello, Goodbye and leave."""

    def test_the_first_node_is_welcomed_without_other_nodes(self) -> None:
        exchange = Exchange("x")
        self.assertEqual(exchange.receive("a", wire.Hello()), [("a", wire.Welcome("x", ()))])
        self.assertEqual(exchange.nodes, ("a",))

    def test_a_node_that_joins_and_the_other_nodes_are_notified_of_each_other(self) -> None:
        self.receive("b", wire.NodeSubscriptions("b", (b"t", b"u")))
        self.assertEqual(
            self.receive("d", wire.Hello()),
            [
                ("d", wire.Welcome("first", ("a", "b", "c"))),
                ("d", wire.NodeSubscriptions("b", (b"t", b"u"))),
                ("a", wire.Joined("d")),
                ("b", wire.Joined("d")),
                ("c", wire.Joined("d")),
            ],
        )

    def test_another_version_is_rejected(self) -> None:
        (answer,) = self.receive("d", wire.Hello(wire.VERSION + 1))
        self.assertEqual(answer[0], "d")
        self.assertIsInstance(answer[1], wire.Rejected)
        self.assertNotIn("d", self.exchange.nodes)

    def test_a_node_that_reconnects_with_another_version_is_removed(self) -> None:
        self.receive("c", wire.NodeSubscriptions("c", (b"t",)))
        *to_others, (node, answer) = self.receive("c", wire.Hello(wire.VERSION + 1))
        self.assertEqual(to_others, [("a", wire.Left("c")), ("b", wire.Left("c"))])
        self.assertEqual((node, type(answer)), ("c", wire.Rejected))
        self.assertEqual(self.exchange.nodes, ("a", "b"))
        self.assertNotIn(b"t", self.exchange.subscriptions)

    def test_a_second_hello_is_answered_with_the_whole_state(self) -> None:
        self.receive("a", wire.NodeSubscriptions("a", (b"t",)))
        self.assertEqual(
            self.receive("a", wire.Hello()),
            [
                ("b", wire.Left("a")),
                ("c", wire.Left("a")),
                ("a", wire.Welcome("first", ("b", "c"))),
                ("b", wire.Joined("a")),
                ("c", wire.Joined("a")),
            ],
        )
        self.assertNotIn(b"t", self.exchange.subscriptions)

    def test_goodbye_and_leave_notify_the_other_nodes(self) -> None:
        self.receive("a", wire.NodeSubscriptions("a", (b"t",)))
        left = [("b", wire.Left("a", True)), ("c", wire.Left("a", True))]
        self.assertEqual(self.receive("a", wire.Goodbye()), left)
        self.assertEqual(self.exchange.leave("a"), [])
        self.assertEqual(self.exchange.leave("b"), [("c", wire.Left("b"))])
        self.assertEqual(self.exchange.nodes, ("c",))
        self.assertEqual(len(self.exchange.subscriptions), 0)

    def test_a_node_that_has_not_sent_hello_is_unknown(self) -> None:
        self.assertAnswered("d", wire.NodeSubscriptions("d", (b"t",)), wire.UnknownNode())
        self.assertAnswered("d", wire.Goodbye(), wire.UnknownNode())
        self.assertNotIn(b"t", self.exchange.subscriptions)

    def test_messages_that_only_a_broker_sends_are_rejected(self) -> None:
        reason = "a node does not send Release"
        self.assertAnswered("a", wire.Release("game", (1,)), wire.Rejected(reason))
        self.assertIn("a", self.exchange.nodes)


class NodeSubscriptionsTests(ExchangeTestCase):
    """NodeSubscriptions is forwarded to all other nodes."""

    def test_the_other_nodes_receive_the_changes(self) -> None:
        message = wire.NodeSubscriptions("a", (b"t",), (b"u",))
        self.assertEqual(self.receive("a", message), [("b", message), ("c", message)])
        self.assertEqual(self.exchange.subscriptions.topics("a"), (b"t",))

    def test_empty_subscriptions_are_sent_to_a_node_that_joins(self) -> None:
        """The new node may remember old ones. Node c has not sent any, and is left out."""
        self.receive("a", wire.NodeSubscriptions("a", (b"t",)))
        self.receive("a", wire.NodeSubscriptions("a", (), (b"t",)))
        self.receive("b", wire.NodeSubscriptions("b"))
        outgoing = self.receive("d", wire.Hello())
        received = [
            message for _, message in outgoing if isinstance(message, wire.NodeSubscriptions)
        ]
        self.assertEqual(received, [wire.NodeSubscriptions("a"), wire.NodeSubscriptions("b")])
        self.receive("b", wire.Hello())
        self.assertNotIn(("c", wire.NodeSubscriptions("b")), self.receive("c", wire.Hello()))

    def test_the_name_in_the_message_is_replaced_by_that_of_the_link(self) -> None:
        self.assertEqual(
            self.receive("a", wire.NodeSubscriptions("b", (b"t",))),
            [
                ("b", wire.NodeSubscriptions("a", (b"t",))),
                ("c", wire.NodeSubscriptions("a", (b"t",))),
            ],
        )

    def test_a_topic_both_removed_and_added_is_added(self) -> None:
        self.receive("a", wire.NodeSubscriptions("a", (b"t",), (b"t",)))
        self.assertIn(b"t", self.exchange.subscriptions)


class BarrierTests(ExchangeTestCase):
    """Arrive and Withdraw."""

    def test_the_last_arrival_releases_all(self) -> None:
        self.assertAnswered("a", wire.Arrive("game", 3, (1, 2)))
        self.assertEqual(
            self.receive("b", wire.Arrive("game", 3, (1,))),
            [("a", wire.Release("game", (1, 2))), ("b", wire.Release("game", (1,)))],
        )

    def test_a_party_in_excess_is_refused(self) -> None:
        self.receive("a", wire.Arrive("game", 2, (1,)))
        self.assertEqual(
            self.receive("b", wire.Arrive("game", 2, (1, 2))),
            [
                ("b", wire.Refuse("game", (2,))),
                ("a", wire.Release("game", (1,))),
                ("b", wire.Release("game", (1,))),
            ],
        )

    def test_a_party_that_expects_another_number_is_refused(self) -> None:
        self.receive("a", wire.Arrive("game", 2, (1,)))
        self.assertAnswered("b", wire.Arrive("game", 3, (1, 2)), wire.Refuse("game", (1, 2)))

    def test_a_party_that_withdraws_is_not_counted(self) -> None:
        self.receive("a", wire.Arrive("game", 2, (1, 2)[:1]))
        self.assertAnswered("a", wire.Withdraw("game", (1,)))
        self.assertAnswered("a", wire.Withdraw("game", (1,)))
        self.assertAnswered("b", wire.Arrive("game", 2, (1,)))

    def test_a_barrier_that_all_parties_have_left_is_forgotten(self) -> None:
        self.receive("a", wire.Arrive("game", 2, (1, 2)))
        self.assertAnswered("b", wire.Arrive("game", 2, (1,)), wire.Refuse("game", (1,)))
        self.receive("a", wire.Withdraw("game", (1,)))
        self.receive("a", wire.Withdraw("game", (2,)))
        self.assertAnswered("b", wire.Arrive("game", 1, (1,)), wire.Release("game", (1,)))
        self.exchange.leave("b")
        self.assertAnswered("a", wire.Arrive("game", 3, (3,)))

    def test_every_node_waits_for_one_party_of_each_node(self) -> None:
        self.receive("a", wire.Arrive("reset", EVERY_NODE, (1,)))
        self.receive("b", wire.Arrive("reset", EVERY_NODE, (1, 2)))
        self.assertEqual(
            self.receive("c", wire.Arrive("reset", EVERY_NODE, (1,))),
            [
                ("a", wire.Release("reset", (1,))),
                ("b", wire.Release("reset", (1, 2))),
                ("c", wire.Release("reset", (1,))),
            ],
        )

    def test_a_barrier_does_not_wait_for_a_node_that_has_left(self) -> None:
        self.receive("a", wire.Arrive("reset", EVERY_NODE, (1,)))
        self.receive("b", wire.Arrive("reset", EVERY_NODE, (1,)))
        self.assertEqual(
            self.exchange.leave("c"),
            [
                ("a", wire.Left("c")),
                ("b", wire.Left("c")),
                ("a", wire.Release("reset", (1,))),
                ("b", wire.Release("reset", (1,))),
            ],
        )

    def test_a_barrier_waits_for_a_node_that_sends_hello_again(self) -> None:
        """The node has not left: its link was lost, and its arrivals follow its Hello."""
        self.receive("a", wire.Arrive("reset", EVERY_NODE, (1,)))
        self.receive("b", wire.Arrive("reset", EVERY_NODE, (1,)))
        outgoing = self.receive("c", wire.Hello())
        self.assertEqual([m for _, m in outgoing if isinstance(m, wire.Release)], [])
        outgoing = self.receive("c", wire.Arrive("reset", EVERY_NODE, (1,)))
        self.assertEqual(outgoing, [(name, wire.Release("reset", (1,))) for name in "abc"])

    def test_parties_that_the_previous_broker_released_are_released_as_they_arrive(self) -> None:
        """The previous broker died when only node a had received the release."""
        self.assertAnswered("b", wire.Arrive("game", 3, (1,)))
        self.assertEqual(
            self.receive("a", wire.Arrive("game", 3, (1,), released=True)),
            [("b", wire.Release("game", (1,))), ("a", wire.Release("game", (1,)))],
        )
        outgoing = self.receive("c", wire.Arrive("game", 3, (1, 2)))
        self.assertIn(("c", wire.Release("game", (1,))), outgoing)
        self.assertIn(("c", wire.Refuse("game", (2,))), outgoing)

    def test_an_arrival_without_tokens_leaves_no_barrier_behind(self) -> None:
        for released in (False, True):
            self.assertAnswered("a", wire.Arrive("game", 2, (), released))
            self.assertAnswered("a", wire.Arrive("game", 1, (1,)), wire.Release("game", (1,)))
            self.receive("a", wire.Withdraw("game", (1,)))

    def test_barriers_above_the_maximum_are_refused(self) -> None:
        exchange = Exchange("x", max_barriers=1)
        exchange.receive("a", wire.Hello())
        exchange.receive("a", wire.Arrive("one", 2, (1,)))
        refused = [("a", wire.Refuse("two", (1,)))]
        self.assertEqual(exchange.receive("a", wire.Arrive("two", 2, (1,))), refused)
        exchange.receive("a", wire.Withdraw("one", (1,)))
        self.assertEqual(exchange.receive("a", wire.Arrive("two", 2, (1,))), [])


class RetainedTopicTests(ExchangeTestCase):
    """Retain, Restore and Query."""

    def retained(
        self, depth: int, offset: int, frames: tuple[bytes, ...], full: bool = True
    ) -> wire.Retained:
        return wire.Retained(b"t", depth, offset, frames, self.exchange.epoch, full=full)

    def setUp(self) -> None:
        super().setUp()
        for name in "ab":
            self.receive(name, wire.NodeSubscriptions(name, (b"t",)))

    def test_all_subscribers_receive_the_frame_with_its_offset(self) -> None:
        for offset, (sender, frame) in enumerate([("a", b"x"), ("c", b"y")], 1):
            self.assertEqual(
                self.receive(sender, wire.Retain(b"t", 2, frame)),
                [(name, self.retained(2, offset, (frame,), full=offset == 1)) for name in "ab"],
            )

    def test_each_change_is_recorded_and_can_be_loaded(self) -> None:
        recorded: list[wire.Retained] = []
        self.exchange.on_retained = recorded.append
        self.receive("a", wire.Restore(b"u", 2, 7, (b"x",), "e"))
        self.receive("a", wire.Retain(b"u", 2, b"y"))
        self.assertEqual([(m.offset, m.frames) for m in recorded], [(7, (b"x",)), (8, (b"y",))])
        known = self.exchange.history(b"u", 0)
        assert known is not None
        self.assertEqual((known.offset, known.frames), (8, (b"x", b"y")))
        after = Exchange("next")
        after.load([wire.Restore(b"u", 2, 8, known.frames, known.epochs)], 0)
        self.assertEqual(after.history(b"u", 0), known)
        self.assertIsNone(after.history(b"v", 0))

    def test_without_subscribers_nothing_is_sent(self) -> None:
        self.assertAnswered("a", wire.Retain(b"u", 2, b"x"))
        self.assertAnswered("a", wire.Restore(b"u", 2, 7, (b"y",)))

    def test_a_late_subscriber_receives_the_retained_frames(self) -> None:
        for frame in (b"x", b"y", b"z"):
            self.receive("a", wire.Retain(b"t", 2, frame))
        message = wire.NodeSubscriptions("c", (b"t", b"u"))
        self.assertEqual(
            self.receive("c", message),
            [("a", message), ("b", message), ("c", self.retained(2, 3, (b"y", b"z")))],
        )

    def test_restored_frames_go_to_all_subscribers(self) -> None:
        self.assertEqual(
            self.receive("a", wire.Restore(b"t", 2, 7, (b"x", b"y"), "old")),
            [(name, wire.Retained(b"t", 2, 7, (b"x", b"y"), "old")) for name in "ab"],
        )
        self.assertAnswered("b", wire.Restore(b"t", 2, 6, (b"w", b"x")))
        outgoing = self.receive("b", wire.Retain(b"t", 2, b"z"))
        news = wire.Retained(b"t", 2, 8, (b"z",), "firstx1 old:7", full=False)
        self.assertEqual(outgoing[0], ("a", news))

    def test_restoring_too_late_changes_nothing(self) -> None:
        self.receive("a", wire.Retain(b"t", 2, b"x"))
        self.assertAnswered("b", wire.Restore(b"t", 2, 7, (b"y", b"z"), "old"))
        self.assertAnswered("c", wire.Query(b"t"), self.retained(2, 1, (b"x",)))

    def test_an_evicted_topic_is_not_restored_with_offsets_that_were_given_again(self) -> None:
        self.exchange.retained.max_topics = 1
        for topic in (b"t", b"t", b"u"):
            self.receive("a", wire.Retain(topic, 1, b"x"))
        self.assertAnswered("a", wire.Restore(b"t", 1, 1, (b"x",)))
        self.assertEqual(len(self.receive("a", wire.Restore(b"t", 1, 3, (b"y",)))), 2)

    def test_a_depth_of_0_retains_one_frame(self) -> None:
        outgoing = self.receive("a", wire.Restore(b"t", 0, 5, (b"y",), "old"))
        self.assertEqual(outgoing[0], ("a", wire.Retained(b"t", 1, 5, (b"y",), "old")))
        outgoing = self.receive("a", wire.Retain(b"t", 0, b"x"))
        self.assertEqual(outgoing[0], ("a", wire.Retained(b"t", 1, 6, (b"x",), "firstx1 old:5")))

    def test_frames_after_restored_ones_have_another_epoch(self) -> None:
        self.receive("a", wire.Restore(b"t", 2, 7, (b"y",), "old"))
        outgoing = self.receive("b", wire.Retain(b"t", 2, b"z"))
        news = wire.Retained(b"t", 2, 8, (b"z",), "firstx1 old:7", full=False)
        self.assertEqual(outgoing[0], ("a", news))

    def test_a_gap_is_sent_to_subscribers_and_not_in_answers(self) -> None:
        gap = wire.Retain(b"t", 2, GAP, number=1)
        outgoing = self.receive("a", gap)
        news = wire.Retained(b"t", 2, 1, (GAP,), "first", (), "a:1")
        self.assertEqual(outgoing, [("a", replace(news, number=1)), ("b", news)])
        answer = wire.Retained(b"t", 2, 1, (), "first", (), "a:1")
        self.assertAnswered("c", wire.Query(b"t"), answer)
        self.receive("a", wire.Retain(b"t", 2, b"x", number=2))
        outgoing = self.receive("b", wire.Retain(b"t", 2, GAP))
        self.assertEqual(outgoing[0], ("a", wire.Retained(b"t", 2, 3, (GAP,), "first", full=False)))

    def test_a_query_is_answered(self) -> None:
        self.assertAnswered("c", wire.Query(b"t"), wire.Retained(b"t", 0, 0, ()))
        self.receive("a", wire.Retain(b"t", 2, b"x"))
        self.assertAnswered("c", wire.Query(b"t"), self.retained(2, 1, (b"x",)))

    def test_the_publisher_receives_an_acknowledgement(self) -> None:
        epoch = self.exchange.epoch
        news = wire.Retained(b"t", 2, 1, (b"x",), epoch, (), "a:1")
        self.assertEqual(
            self.receive("a", wire.Retain(b"t", 2, b"x", number=1)),
            [("a", replace(news, number=1)), ("b", news)],
        )
        news = wire.Retained(b"t", 2, 2, (b"y",), epoch, (), "c:8", full=False)
        self.assertEqual(
            self.receive("c", wire.Retain(b"t", 2, b"y", number=8)),
            [("a", news), ("b", news), ("c", wire.Acknowledged(8))],
        )
        both = wire.Retained(b"t", 2, 2, (b"x", b"y"), epoch, (), "a:1 c:8")
        self.assertAnswered("c", wire.Query(b"t"), both)

    def test_a_publication_that_is_sent_again_is_stored_once(self) -> None:
        for number in (1, 2):
            self.receive("a", wire.Retain(b"t", 2, b"x", number=number))
        self.receive("a", wire.Hello())
        self.receive("a", wire.NodeSubscriptions("a", (b"t",)))
        again = wire.Retain(b"t", 2, b"x", number=2)
        self.assertAnswered("a", again, wire.Acknowledged(2))
        outgoing = self.receive("a", wire.Retain(b"t", 2, b"y", number=3))
        self.assertEqual([message.offset for _, message in outgoing], [3, 3])

    def test_another_broker_recognizes_publications_by_restored_sources(self) -> None:
        self.receive("b", wire.Restore(b"t", 2, 7, (b"x",), "old", (), "a:4 gone:9"))
        self.assertAnswered("a", wire.Retain(b"t", 2, b"x", number=4), wire.Acknowledged(4))
        outgoing = self.receive("a", wire.Retain(b"t", 2, b"y", number=5))
        self.assertEqual([message.offset for _, message in outgoing], [8, 8])

    def test_a_publication_after_a_gap_is_not_stored_and_a_hello_is_requested(self) -> None:
        """The last publications on the old connection were lost; this one came before the Hello."""
        self.receive("a", wire.Retain(b"t", 2, b"1", number=1))
        late = wire.Retain(b"t", 2, b"3", number=3)
        self.assertAnswered("a", late, wire.UnknownNode())
        self.assertAnswered("a", replace(late, number=4))
        self.receive("a", wire.Hello())
        self.receive("a", wire.Retain(b"t", 2, b"2", number=2))
        self.receive("a", late)
        kept = self.exchange.retained.get(b"t")
        assert kept is not None
        self.assertEqual((kept.offset, list(kept.frames)), (3, [b"2", b"3"]))

    def test_expired_frames_are_not_sent(self) -> None:
        self.exchange.receive("a", wire.Retain(b"t", 3, b"short", lifetime=500), 1000)
        self.exchange.receive("a", wire.Retain(b"t", 3, b"long", lifetime=900), 1100)
        asked = [
            self.exchange.receive("c", wire.Query(b"t"), now)[0][1] for now in (1499, 1500, 2000)
        ]
        epoch = self.exchange.epoch
        self.assertEqual(
            asked,
            [
                wire.Retained(b"t", 3, 2, (b"short", b"long"), epoch, (1500, 2000)),
                wire.Retained(b"t", 3, 2, (b"long",), epoch, (2000,)),
                wire.Retained(b"t", 3, 2, (), epoch),
            ],
        )


class PresenceTests(ExchangeTestCase):
    """PresenceUpdate."""

    def test_the_other_nodes_receive_updates(self) -> None:
        message = wire.PresenceUpdate("a", False, ((b"t", "ada"),))
        self.assertEqual(self.receive("a", message), [("b", message), ("c", message)])

    def test_a_node_that_joins_receives_all_members(self) -> None:
        self.receive("a", wire.PresenceUpdate("a", False, ((b"t", "ada"), (b"t", "bob"))))
        self.receive("a", wire.PresenceUpdate("a", False, (), ((b"t", "bob"),)))
        update = ("d", wire.PresenceUpdate("a", True, ((b"t", "ada"),)))
        self.assertIn(update, self.receive("d", wire.Hello()))

    def test_a_node_that_reconnects_receives_an_empty_presence(self) -> None:
        """Its link was lost when the last member left."""
        self.receive("a", wire.PresenceUpdate("a", True, ((b"t", "ada"),)))
        self.receive("a", wire.PresenceUpdate("a", False, (), ((b"t", "ada"),)))
        outgoing = self.receive("b", wire.Hello())
        self.assertIn(("b", wire.PresenceUpdate("a", True)), outgoing)
        self.assertNotIn(("b", wire.PresenceUpdate("c", True)), outgoing)

    def test_a_full_update_replaces_earlier_ones(self) -> None:
        self.receive("a", wire.PresenceUpdate("a", False, ((b"t", "ada"),)))
        self.receive("a", wire.PresenceUpdate("a", True, ((b"t", "bob"),)))
        update = ("d", wire.PresenceUpdate("a", True, ((b"t", "bob"),)))
        self.assertIn(update, self.receive("d", wire.Hello()))

    def test_a_node_that_is_gone_has_no_members(self) -> None:
        self.receive("a", wire.PresenceUpdate("a", False, ((b"t", "ada"),)))
        self.exchange.leave("a")
        kinds = [type(message) for node, message in self.receive("d", wire.Hello()) if node == "d"]
        self.assertNotIn(wire.PresenceUpdate, kinds)

    def test_the_name_in_an_update_is_replaced_by_that_of_the_link(self) -> None:
        outgoing = self.receive("a", wire.PresenceUpdate("b", False, ((b"t", "ada"),)))
        self.assertEqual(outgoing[0], ("b", wire.PresenceUpdate("a", False, ((b"t", "ada"),))))


class SimulationTests(SynchronousTestCase):
    """Any sequence of events, with any interleaving of messages."""

    def test_the_rules_hold_in_any_sequence_of_events(self) -> None:
        run_state_machine_as_test(ClusterMachine)


NAMES = st.sampled_from(["a", "b", "c"])
TOPICS = st.sampled_from([b"t", b"u", b"v"])
TOPIC_SETS = st.sets(TOPICS, max_size=2)
BARRIERS = {"pair": 2, "four": 4, "all": EVERY_NODE}
BARRIER_NAMES = st.sampled_from(sorted(BARRIERS))
FAILURES = st.sampled_from(["crash", "cut", "stop", "evicted", "broker"])
FAR = st.sampled_from([0, 0, 1, 2])
"""Where messages are delivered after an event: nowhere, to the exchange, or to the nodes, too."""


class ClusterMachine(RuleBasedStateMachine):
    """Drives a SimulatedCluster, which checks the rules."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = SimulatedCluster(BARRIERS, max_retained=2)
        self.frames = 0
        for name in "ab":
            self.cluster.start(name)

    def travel(self, name: str, far: int) -> None:
        if far:
            self.cluster.carry_up(name, 100)
        if far > 1:
            for other in sorted(self.cluster.nodes):
                self.cluster.carry_down(other, 100)

    def node(self, name: str, far: int = 0) -> str:
        """Start the node if it does not run."""
        if name not in self.cluster.nodes:
            self.cluster.start(name)
            self.travel(name, far)
        return name

    @rule(name=NAMES, failure=FAILURES)
    def fails(self, name: str, failure: str) -> None:
        if failure == "broker":
            self.cluster.start_broker()
        elif name in self.cluster.nodes:
            getattr(self.cluster, failure)(name)
        else:
            self.cluster.evicted(name)

    @rule(name=NAMES, added=TOPIC_SETS, removed=TOPIC_SETS, far=FAR)
    def want(self, name: str, added: set[bytes], removed: set[bytes], far: int) -> None:
        self.cluster.want(self.node(name, far), added, removed)
        self.travel(name, far)

    @rule(name=NAMES, barrier=BARRIER_NAMES, parties=st.integers(1, 3), far=FAR)
    def arrive(self, name: str, barrier: str, parties: int, far: int) -> None:
        self.cluster.arrive(self.node(name, far), barrier, parties)
        self.travel(name, far)

    @rule(name=NAMES, barrier=BARRIER_NAMES, far=FAR)
    def withdraw(self, name: str, barrier: str, far: int) -> None:
        self.cluster.withdraw(self.node(name), barrier)
        self.travel(name, far)

    @rule(name=NAMES, topic=TOPICS, depth=st.integers(1, 3), far=FAR)
    def retain(self, name: str, topic: bytes, depth: int, far: int) -> None:
        self.frames += 1
        self.cluster.retain(self.node(name, far), topic, depth, b"%d" % self.frames)
        self.travel(name, far)

    @rule(name=NAMES, count=st.integers(1, 5))
    def carry_up(self, name: str, count: int) -> None:
        self.cluster.carry_up(self.node(name), count)

    @rule(name=NAMES, count=st.integers(1, 5))
    def carry_down(self, name: str, count: int) -> None:
        self.cluster.carry_down(self.node(name), count)

    @rule()
    def settle(self) -> None:
        self.cluster.settle()

    def teardown(self) -> None:
        self.cluster.settle()
