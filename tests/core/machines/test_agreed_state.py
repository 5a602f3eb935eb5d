"""What all gateways agree on."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.broker_state.exchange import Outgoing
from cluster.core.exceptions import WireError
from cluster.core.machines.agreed_state import ALL_NODES, AgreedState
from cluster.core.machines.encodings.log_payloads import (
    GATEWAY,
    encode_event,
    encode_log_payload,
)
from cluster.core.machines.encodings.plain_values import decode_value, encode_value
from cluster.core.machines.engine import JOINED, LEFT, TURN, LogEntry
from tests import profiles

assert profiles

A, B = "A~00000001", "B~00000002"
NODE, OTHER = "n.1@A", "n.1@B"


def turn(id: str, member: str, *events: tuple[str, wire.Message], ready: bool = False) -> LogEntry:
    data = encode_log_payload(ready, [encode_event(*event) for event in events])
    return LogEntry(id, TURN, member, data)


def copied(state: AgreedState) -> AgreedState:
    """The state after a transfer."""
    return AgreedState.restored([decode_value(encode_value(each)) for each in state.snapshot()])


class AgreedStateTests(SynchronousTestCase):
    """AgreedState with the ready members A and B."""

    def setUp(self) -> None:
        self.state = AgreedState("e", [A, B])
        self.number = 0
        for member in (A, B):
            self.apply(member, ready=True)

    def apply(self, member: str, *events: tuple[str, wire.Message], ready: bool = False) -> Any:
        self.number += 1
        return self.state.apply(turn(f"{self.number}-0", member, *events, ready=ready))[0]

    def test_nodes_learn_of_each_other_once(self) -> None:
        self.assertEqual(
            self.apply(A, (NODE, wire.Hello(returning=True))),
            [(ALL_NODES, wire.Joined(NODE, True))],
        )
        subscriptions = wire.NodeSubscriptions(OTHER, (b"t",))
        self.assertEqual(
            self.apply(B, (OTHER, wire.Hello()), (OTHER, subscriptions)),
            [(ALL_NODES, wire.Joined(OTHER)), (ALL_NODES, subscriptions)],
        )
        self.assertEqual(self.apply(A, (NODE, wire.Left(NODE))), [(ALL_NODES, wire.Left(NODE))])

    def test_a_member_takes_its_nodes_with_it(self) -> None:
        self.apply(A, (NODE, wire.Hello()), ("n.2@A", wire.Hello()))
        self.apply(B, (OTHER, wire.Hello()))
        self.apply(B, (OTHER, wire.Arrive("b", 0, (1,))))
        outgoing, _ = self.state.apply(LogEntry("9-0", LEFT, A, b"", True))
        self.assertEqual(
            outgoing,
            [
                (ALL_NODES, wire.Left(NODE, True)),
                (ALL_NODES, wire.Left("n.2@A", True)),
                (OTHER, wire.Release("b", (1,))),
            ],
        )
        self.assertTrue(OTHER in self.state.exchange and NODE not in self.state.exchange)

    def test_what_the_gateway_restores(self) -> None:
        self.apply(B, (OTHER, wire.Hello()), (OTHER, wire.NodeSubscriptions(OTHER, (b"t",))))
        restore = wire.Restore(b"t", 1, 5, (b"f",), "old")
        ((node, message),) = self.apply(A, (GATEWAY, restore))
        self.assertEqual((node, message.offset, message.frames), (OTHER, 5, (b"f",)))

    def test_frames_expire_by_the_time_of_the_log(self) -> None:
        self.apply(A, (NODE, wire.Hello()), (NODE, wire.Retain(b"t", 2, b"f", 1000)))
        (before,) = self.state.exchange.histories()
        self.number = 20_000
        self.apply(A)
        (unchanged,) = self.state.exchange.histories()
        self.apply(A, (NODE, wire.Query(b"t")))
        (after,) = self.state.exchange.histories()
        self.assertEqual((before.frames, before.expires), ((b"f",), (1003,)))
        self.assertEqual((unchanged.frames, after.frames), ((b"f",), ()))

    def test_what_cannot_be_decoded_is_ignored_and_counted(self) -> None:
        digest = self.state.digest()
        self.state.apply(LogEntry("9-0", TURN, A, b"?"))
        self.apply(A, (OTHER, wire.Hello()))
        self.apply("C~00000003", ("n.1@C", wire.Hello()))
        self.state.apply(LogEntry("9-1", JOINED, "C~00000003"))
        self.apply("C~00000003", ("n.1@C", wire.Hello()))
        self.assertEqual(self.state.ignored, {"malformed": 2, "not_ready": 2})
        self.state.apply(LogEntry("9-2", LEFT, "C~00000003"))
        self.assertEqual(self.state.digest(), digest)

    def test_no_snapshot(self) -> None:
        records = self.state.snapshot()
        for wrong in ([], records[:1], records[:2], [*records, (1,)], [(1,), *records[1:]]):
            self.assertRaises(WireError, AgreedState.restored, wrong)

    def test_a_restored_state_behaves_in_the_same_way(self) -> None:
        run_state_machine_as_test(CopyMachine)


NODES = st.sampled_from([NODE, "n.2@A", OTHER, "n.2@B"])
TOPIC = st.sampled_from([b"t", b"u", b"v"])


class CopyMachine(RuleBasedStateMachine):
    """Two states apply the same log. One of them is copied repeatedly."""

    def __init__(self) -> None:
        super().__init__()
        self.states = [AgreedState("e", [A, B]), AgreedState("e", [A, B])]
        self.numbers: dict[str, int] = {}
        self.time = 1
        for state in self.states:
            state.exchange.retained.max_topics = 2
        self.apply(LogEntry("1-0", TURN, A, encode_log_payload(True, [])))
        self.apply(LogEntry("1-1", TURN, B, encode_log_payload(True, [])))

    def apply(self, entry: LogEntry) -> None:
        answers: list[Outgoing] = [sorted_by_node(each.apply(entry)[0]) for each in self.states]
        assert answers[0] == answers[1]
        assert self.states[0].digest() == self.states[1].digest()

    def say(self, node: str, message: wire.Message) -> None:
        self.time += 1
        self.apply(turn(f"{self.time}-0", A if node.endswith("A") else B, (node, message)))

    @rule()
    def copy(self) -> None:
        self.states[1] = copied(self.states[0])
        self.states[1].exchange.retained.max_topics = 2

    @rule(node=NODES, returning=st.booleans())
    def hello(self, node: str, returning: bool) -> None:
        self.say(node, wire.Hello(returning=returning))

    @rule(node=NODES, event=st.sampled_from(["goodbye", "left", "query"]), topic=TOPIC)
    def node_event(self, node: str, event: str, topic: bytes) -> None:
        messages = {"goodbye": wire.Goodbye(), "left": wire.Left(node), "query": wire.Query(topic)}
        self.say(node, messages[event])

    @rule(node=NODES, added=st.lists(TOPIC), removed=st.lists(TOPIC))
    def subscribe(self, node: str, added: list[bytes], removed: list[bytes]) -> None:
        self.say(node, wire.NodeSubscriptions(node, tuple(added), tuple(removed)))

    @rule(node=NODES, full=st.booleans(), topics=st.lists(TOPIC))
    def presence(self, node: str, full: bool, topics: list[bytes]) -> None:
        self.say(node, wire.PresenceUpdate(node, full, tuple((each, "ada") for each in topics)))

    @rule(
        node=NODES,
        expected=st.integers(0, 3),
        tokens=st.sets(st.integers(1, 4), max_size=2),
        released=st.booleans(),
    )
    def arrive(self, node: str, expected: int, tokens: set[int], released: bool) -> None:
        self.say(node, wire.Arrive(f"b{expected}", expected, tuple(sorted(tokens)), released))

    @rule(node=NODES, expected=st.integers(0, 3), token=st.integers(1, 4))
    def withdraw(self, node: str, expected: int, token: int) -> None:
        self.say(node, wire.Withdraw(f"b{expected}", (token,)))

    @rule(node=NODES, topic=TOPIC, depth=st.integers(1, 3), lifetime=st.sampled_from([0, 5]))
    def retain(self, node: str, topic: bytes, depth: int, lifetime: int) -> None:
        number = self.numbers[node] = self.numbers.get(node, 0) + 1
        self.say(node, wire.Retain(topic, depth, b"%d" % self.time, lifetime, number))

    @rule(node=NODES)
    def gap(self, node: str) -> None:
        self.numbers[node] = self.numbers.get(node, 0) + 1

    @rule(node=NODES, topic=TOPIC, offset=st.integers(1, 9), epochs=st.sampled_from(["x", "y x:2"]))
    def restore(self, node: str, topic: bytes, offset: int, epochs: str) -> None:
        frames, sources = (b"%d" % self.time,), f"{node}:{offset}"
        self.say(node, wire.Restore(topic, 2, offset, frames, epochs, (), sources))

    @rule(milliseconds=st.sampled_from([3, 20_000]))
    def advance(self, milliseconds: int) -> None:
        self.time += milliseconds


def sorted_by_node(outgoing: Outgoing) -> Outgoing:
    """The order of messages to different nodes does not matter."""
    return sorted(outgoing, key=lambda each: each[0])
