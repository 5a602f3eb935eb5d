"""The gateways of two machines around an engine in memory."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.machines import gateway as gateway_module
from cluster.core.machines import inbox_queue
from cluster.core.machines.encodings.inbox_payloads import SnapshotPiece, encode_piece
from cluster.core.machines.encodings.log_payloads import READY
from cluster.core.machines.engine import (
    BATCHES,
    LEFT,
    START,
    TURN,
    Batch,
    Gone,
    InboxEntry,
    Joined,
    LogEntry,
)
from cluster.core.machines.gateway import Gateway
from tests.machines.engine_model import ModelRedis

X, Y = "x.1@A", "y.1@A"
N = "n.1@B"
UNKNOWN = wire.UnknownNode()


class GatewayTestCase(SynchronousTestCase):
    """Machine A with the nodes X and Y, machine B with the node N. All have joined."""

    def setUp(self) -> None:
        self.server = ModelRedis()
        self.a = Gateway("A", "ea")
        self.b = Gateway("B", "eb")
        self.members: dict[Gateway, Joined] = {}
        self.sent: list[tuple[str, Any]] = []
        self.hello(self.a)
        self.hello(self.b)
        self.run_all()
        for gateway, name in ((self.a, X), (self.a, Y), (self.b, N)):
            self.say(gateway, name, wire.Hello())
        self.run_all()
        self.sent.clear()

    def hello(self, gateway: Gateway, shift: int = 0) -> None:
        machine = gateway.machine
        name = f"{machine}~{self.server.calls['hello']:08x}"
        joined = self.server.hello(name, machine, machine, "site")
        self.members[gateway] = joined
        self.sent += gateway.joined(joined, self.server.now - shift)

    def say(self, gateway: Gateway, node: str, *messages: wire.Message) -> None:
        for message in messages:
            self.sent += gateway.receive(node, message)

    def write(self, gateway: Gateway) -> bool:
        turn, joined = gateway.take_turn(), self.members[gateway]
        if turn is None:
            return False
        refused = self.server.write(joined.generation, joined.member, turn)
        self.sent += gateway.turn_written(refused)
        return True

    def read(self, gateway: Gateway) -> Any:
        joined = self.members[gateway]
        ids = gateway.applied, gateway.read_inbox
        log, inbox = self.server.read(joined.generation, joined.member, *ids)
        messages, external = gateway.read(log, inbox)
        self.sent += messages
        return external

    def run_all(self) -> None:
        for _ in range(4):
            for gateway in self.members:
                while self.write(gateway):
                    pass
                self.read(gateway)

    def taken(self) -> list[tuple[str, Any]]:
        sent, self.sent = self.sent, []
        return sent

    def to(self, node: str) -> list[Any]:
        return [message for name, message in self.taken() if name == node]


class GatewayTests(GatewayTestCase):
    """Gateway."""

    def test_all_agree(self) -> None:
        self.assertEqual((self.a.state, self.b.state), ("joined", "joined"))
        self.assertEqual((self.a.machines, self.b.machines), (("B",), ("A",)))
        self.assertEqual((self.a.applied, self.a.digest()), (self.b.applied, self.b.digest()))
        self.assertEqual((self.a.nodes, self.b.nodes), ((X, Y), (N,)))

    def test_subscriptions_reach_this_machine_at_once_and_others_through_the_log(self) -> None:
        message = wire.NodeSubscriptions(X, (b"t",))
        self.say(self.a, X, message)
        self.assertEqual(self.taken(), [(Y, message)])
        self.run_all()
        self.assertEqual(self.taken(), [(N, message)])

    def test_welcome_has_the_nodes_of_other_machines(self) -> None:
        self.say(self.b, N, wire.NodeSubscriptions(N, (b"t",)))
        self.run_all()
        self.taken()
        self.say(self.a, X, wire.Hello(returning=True))
        self.assertEqual(
            self.to(X),
            [wire.Welcome("eax1", (Y, N)), wire.NodeSubscriptions(N, (b"t",))],
        )
        self.run_all()
        self.assertEqual(self.taken(), [(N, wire.Left(X)), (N, wire.Joined(X, True))])

    def test_a_barrier_of_nodes_on_two_machines(self) -> None:
        self.say(self.a, X, wire.Arrive("b", 2, (1,)))
        self.run_all()
        self.say(self.b, N, wire.Arrive("b", 2, (7,)))
        self.run_all()
        releases = [(X, wire.Release("b", (1,))), (N, wire.Release("b", (7,)))]
        self.assertCountEqual(self.taken(), releases)

    def test_retained_frames_reach_all_in_the_same_order(self) -> None:
        for gateway, node in ((self.a, X), (self.b, N)):
            self.say(gateway, node, wire.NodeSubscriptions(node, (b"t",)))
        for number in (1, 2):
            self.say(self.a, X, wire.Retain(b"t", 5, b"x%d" % number, 0, number))
            self.say(self.b, N, wire.Retain(b"t", 5, b"n%d" % number, 0, number))
        self.run_all()
        received: dict[str, list[bytes]] = {X: [], N: []}
        for node, message in self.taken():
            if isinstance(message, wire.Retained):
                received[node] += message.frames
        self.assertEqual(received[X], received[N])
        self.assertEqual(len(received[X]), 4)
        self.assertEqual(list(self.a.retained.topics()), [b"t"])

    def test_expiry_times_are_those_of_the_machine(self) -> None:
        self.hello(self.a, shift=1000)  # the engine's clock is a second ahead
        self.run_all()
        self.say(self.a, X, wire.Hello(returning=True), wire.NodeSubscriptions(X, (b"t",)))
        self.say(self.a, X, wire.Retain(b"t", 1, b"f", 500, 1))
        self.run_all()
        *_, message = self.to(X)
        self.assertEqual(message.expires, (self.server.now + 500 - 1000,))
        history = self.a.history(b"t", 0)
        assert history is not None
        self.assertEqual(history.expires, message.expires)
        self.a.clock(self.server.now, self.server.now)
        history = self.a.history(b"t", 0)
        assert history is not None
        self.assertEqual(history.expires, (self.server.now + 500,))
        self.assertIsNone(self.a.history(b"u", 0))

    def test_a_batch_to_another_machine(self) -> None:
        self.assertTrue(self.a.send_batch(X, N, b"data"))
        self.assertEqual(self.a.queued_bytes, 4)
        self.run_all()
        self.assertEqual(self.taken(), [(N, Batch(X, b"data"))])

    def test_batches_that_cannot_be_sent(self) -> None:
        for node in ("n.2@B", "n.1@C", Y, "n.1"):
            self.assertFalse(self.a.send_batch(X, node, b"data"), node)

    def test_a_batch_for_a_node_that_is_gone_is_counted(self) -> None:
        self.a.send_batch(X, N, b"data")
        self.b.leave(N)
        self.run_all()
        self.assertEqual(self.b.dropped["node_gone"], 1)

    def test_subscriptions_precede_the_batches_that_were_sent_after_them(self) -> None:
        message = wire.NodeSubscriptions(X, (b"answers",))
        self.say(self.a, X, message)
        self.a.send_batch(X, N, b"request")
        self.taken()
        self.write(self.a)
        joined = self.members[self.b]
        ids = self.b.applied, self.b.read_inbox
        log, inbox = self.server.read(joined.generation, joined.member, *ids)
        self.assertEqual(self.b.read([], inbox).messages, [])
        self.assertEqual(
            self.b.read(log, inbox).messages, [(N, message), (N, Batch(X, b"request"))]
        )

    def test_a_machine_that_does_not_read(self) -> None:
        for name, value in (("HIGH_WATER", 10), ("LOW_WATER", 4), ("LIMIT", 20)):
            self.patch(inbox_queue, name, value)
        self.server.inbox_bytes = -1
        queue = self.a._queue.inbox(self.members[self.b].member)
        queue.marks = type(queue.marks)(10, 4)
        self.a.send_batch(X, N, bytes(11))
        congested = [(X, wire.Congested(N)), (Y, wire.Congested(N))]
        self.assertEqual((self.a.take_notices(), self.a.take_notices()), (congested, []))
        self.assertEqual(self.a._view.congestion("C", True), [])
        self.say(self.a, Y, wire.Hello(returning=True))
        self.assertIn((Y, wire.Congested(N)), self.taken())
        self.say(self.b, "n.2@B", wire.Hello())
        self.run_all()
        self.assertIn((X, wire.Congested("n.2@B")), self.taken())
        self.a.send_batch(X, N, bytes(11))
        self.assertTrue(self.a.send_batch(X, N, b"lost"))
        self.assertEqual(self.a.dropped["machine_stalled"], 1)
        self.server.inbox_bytes = 1 << 20
        self.a.retry()
        self.run_all()
        # X sends again what N has not acknowledged.
        sent = [each for each in self.taken() if each[0] in (X, Y)]
        self.assertEqual(
            [message for node, message in sent if node == X],
            [wire.Cleared(N), wire.Cleared("n.2@B"), wire.Left(N), wire.Joined(N)],
        )

    def test_a_batch_that_was_lost_to_a_node_that_is_gone(self) -> None:
        self.assertEqual(self.a._view.returned(X, "n.9@B"), [])
        self.assertEqual(self.a._view.returned("x.9@A", N), [])

    def test_external_requests(self) -> None:
        member = self.server.outside("1", b"publish", prefer="A")
        self.assertEqual(member, self.members[self.a].member)
        self.assertEqual(self.read(self.a), [("1", b"publish")])
        self.a.answer("1", b"published")
        self.write(self.a)
        self.assertEqual(self.server.answers, {"1": [b"published"]})
        self.a.cut_off()
        self.a.answer("2", b"published")
        self.assertEqual(self.a.dropped["external_answers"], 1)

    def test_a_request_for_hello_that_is_answered_already(self) -> None:
        """Publications of an old link arrive with a gap; then the node's Hello."""
        self.say(self.a, X, wire.Retain(b"t", 1, b"1", 0, 1), wire.Retain(b"t", 1, b"3", 0, 3))
        self.run_all()
        self.assertEqual(self.to(X), [wire.Acknowledged(1), UNKNOWN])
        self.say(self.a, X, wire.Hello(returning=True), wire.Retain(b"t", 1, b"2", 0, 2))
        self.say(self.a, X, wire.Retain(b"t", 1, b"4", 0, 4))
        self.write(self.a)
        self.say(self.a, X, wire.Hello(returning=True))
        self.taken()
        self.run_all()
        self.assertEqual(self.to(X), [wire.Acknowledged(2)])

    def test_too_much_for_the_log(self) -> None:
        self.patch(gateway_module, "LOG_LIMIT", 1000)
        self.say(self.a, X, wire.Retain(b"t", 1, bytes(1000), 0, 1))
        self.assertEqual(self.taken(), [(X, UNKNOWN), (Y, UNKNOWN)])
        self.assertEqual((self.a.dropped["log_queue_full"], self.a.queued_bytes), (1, 0))
        self.assertEqual(self.a.nodes, ())

    def test_nodes_that_do_not_belong_here(self) -> None:
        self.say(self.a, N, wire.Hello())
        self.assertIsInstance(self.taken()[0][1], wire.Rejected)

    def test_what_was_read_before_has_no_effect(self) -> None:
        digest = self.a.digest()
        joined = self.members[self.a]
        log, inbox = self.server.read(joined.generation, joined.member, START, START)
        self.assertEqual(self.a.read(log, inbox), ([], []))
        self.assertEqual(self.a.digest(), digest)

    def test_a_piece_that_nobody_waits_for(self) -> None:
        piece = encode_piece(SnapshotPiece("1-0", 0, True, b""))
        entry = InboxEntry("1800000000000-0", BATCHES, "B~1", START, piece)
        self.assertEqual(self.a.read([], [entry]), ([], []))


class MembershipTests(GatewayTestCase):
    """Machines that come, go, and lose the engine."""

    def test_a_machine_that_leaves(self) -> None:
        self.a.send_batch(X, N, b"data")
        joined = self.members.pop(self.b)
        self.server.goodbye(joined.generation, joined.member)
        self.read(self.a)
        self.assertEqual(self.taken(), [(X, wire.Left(N, True)), (Y, wire.Left(N, True))])
        self.assertEqual((self.a.machines, self.a.dropped["machine_gone"]), ((), 1))

    def test_a_machine_that_is_cut_off(self) -> None:
        self.a.send_batch(X, N, b"data")
        outgoing = self.a.cut_off()
        left = [(X, wire.Left(N)), (Y, wire.Left(N))]
        self.assertEqual(outgoing, [*left, (X, UNKNOWN), (Y, UNKNOWN)])
        self.assertEqual((self.a.state, self.a.machines, self.a.take_turn()), ("cut off", (), None))
        self.assertEqual(self.a.dropped["machine_gone"], 1)
        self.assertFalse(self.a.send_batch(X, N, b"data"))
        self.assertEqual(self.a.cut_off(), [])
        # Its nodes still reach each other. What depends on other machines waits.
        for node in (X, Y):
            self.say(self.a, node, wire.Hello(returning=True))
        self.taken()
        subscriptions = wire.NodeSubscriptions(X, (b"t",))
        self.say(self.a, X, subscriptions, wire.Retain(b"t", 1, b"f", 0, 1))
        self.assertEqual(self.taken(), [(Y, subscriptions)])
        entry = LogEntry("1800000000000-0", TURN, self.members[self.b].member, READY)
        self.assertEqual(self.a.read([entry], []), ([], []))

    def test_a_machine_that_joins_again(self) -> None:
        self.a.cut_off()
        self.taken()
        self.hello(self.a)
        self.assertEqual((self.a.state, self.taken()), ("joining", []))
        self.say(self.a, "z.1@A", wire.Hello())
        self.assertEqual(self.taken(), [])
        self.run_all()
        for node in (X, Y):
            self.say(self.a, node, wire.Hello(returning=True))
        self.assertEqual(self.a.state, "joined")
        self.assertEqual(self.to("z.1@A")[0], wire.Welcome("eax3", (N,)))

    def test_a_machine_without_an_engine(self) -> None:
        alone = Gateway("C", "ec")
        self.assertEqual(alone.state, "joining")
        self.say(alone, "c.1@C", wire.Hello())
        self.assertEqual((alone.nodes, self.taken()), ((), []))
        welcome = [("c.1@C", wire.Welcome("ecx0", ()))]
        self.assertEqual((alone.cut_off(), alone.state), (welcome, "alone"))

    def test_a_member_that_was_removed(self) -> None:
        joined = self.members[self.a]
        entry = LogEntry("1800000000000-0", LEFT, joined.member)
        self.assertRaises(Gone, self.a.read, [entry], [])

    def test_retained_topics_outlast_the_engine(self) -> None:
        self.say(self.a, X, wire.Retain(b"t", 1, b"f", 0, 1))
        self.run_all()
        self.server.restart()
        kept: list[wire.Retained] = []
        self.b.on_retained = kept.append
        self.hello(self.b)
        self.assertEqual(self.b.state, "joined")
        self.assertEqual(kept, [])  # it is the same as before
        self.hello(self.a)
        self.run_all()
        self.assertEqual(self.a.digest(), self.b.digest())
        history = self.a.history(b"t", 0)
        assert history is not None
        self.assertEqual((history.offset, history.frames), (1, (b"f",)))

    def test_a_topic_that_only_one_machine_knows(self) -> None:
        """It was read from the file of an earlier broker."""
        restore = wire.Restore(b"file", 1, 9, (b"f",), "old")
        other = Gateway("C", "ec")
        other.load([restore], 0)
        kept: list[wire.Retained] = []
        self.a.on_retained = kept.append
        self.hello(other)
        self.run_all()
        self.assertEqual(len({each.digest() for each in self.members}), 1)
        self.assertEqual([(each.topic, each.offset) for each in kept], [(b"file", 9)])

    def test_a_topic_that_nodes_restore(self) -> None:
        """Only what the others lack is written to the log."""
        self.say(self.a, X, wire.Restore(b"t", 1, 9, (b"f",), "old"))
        self.run_all()
        self.say(self.a, Y, wire.Restore(b"t", 1, 9, (b"f",), "old"))
        self.assertIsNone(self.a.take_turn())
        self.say(self.a, Y, wire.Restore(b"t", 1, 10, (b"f",), "old"))
        self.assertIsNotNone(self.a.take_turn())

    def test_a_new_member_takes_over_what_the_others_retain(self) -> None:
        self.say(self.a, X, wire.Retain(b"t", 1, b"f", 0, 1))
        other = Gateway("C", "ec")
        kept: list[wire.Retained] = []
        other.on_retained = kept.append
        self.hello(other)
        self.run_all()
        self.assertEqual([each.frames for each in kept], [(b"f",)])

    def test_the_oldest_member_sends_the_state_and_the_next_one_if_it_is_gone(self) -> None:
        other = Gateway("C", "ec")
        self.hello(other)
        self.read(self.a)
        self.read(self.b)
        self.assertIsNotNone(self.a.take_turn())
        self.assertIsNone(self.b.take_turn())
        joined = self.members.pop(self.a)
        self.server.goodbye(joined.generation, joined.member)
        self.run_all()
        self.assertEqual((other.state, other.digest()), ("joined", self.b.digest()))

    def test_a_member_begins_if_all_that_have_the_state_are_gone(self) -> None:
        other = Gateway("C", "ec")
        self.hello(other)
        for gateway in (self.a, self.b):
            joined = self.members.pop(gateway)
            self.server.goodbye(joined.generation, joined.member)
        self.read(other)
        self.assertEqual((other.state, other.machines), ("joined", ()))
