"""PubSubs on several machines, with failures at any moment."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines import inbox_queue
from cluster.pubsub import history_outbox
from tests import profiles
from tests.core.machines.simulation import Machine
from tests.pubsub.machines_simulation import MachinesOfPubSubs

assert profiles

INDEX = st.integers(0, 5)
MANY = 1000
COUNT = st.sampled_from([0, 1, 2, MANY])
TOPICS = st.sampled_from([b"t", b"u"])


class MachinesMachine(RuleBasedStateMachine):
    """Drives MachinesOfPubSubs, which check the rules."""

    inbox_bytes = 8 << 20

    def __init__(self) -> None:
        super().__init__()
        self.site = MachinesOfPubSubs(machines=2, nodes=2, inbox_bytes=self.inbox_bytes)
        self.site.settle()

    def machine(self, index: int) -> Machine:
        return self.site.machines[index % len(self.site.machines)]

    def node(self, index: int) -> Any:
        nodes = self.site.nodes
        return nodes[index % len(nodes)]

    @rule(index=INDEX, event=st.sampled_from(["crash", "deaf", "hears", "hello", "node"]))
    def machine_event(self, index: int, event: str) -> None:
        machine = self.machine(index)
        if event == "crash":
            self.site.crash(machine)
        elif event == "hello":
            self.site.hello(machine)
        elif event == "node":
            if len(machine.nodes) < 3:
                self.site.start_node(machine)
        else:
            self.site.set_deaf(machine, event == "deaf")

    @rule(index=INDEX, event=st.sampled_from(["stop", "die", "cut"]))
    def node_event(self, index: int, event: str) -> None:
        node = self.node(index)
        if event == "cut":
            self.site.cut(node)
        elif len(self.site.machine_of(node).nodes) > 1:
            self.site.stop_node(node, event == "stop")

    @rule(event=st.sampled_from(["restart", "save", "fail over"]))
    def engine_event(self, event: str) -> None:
        if event == "restart":
            self.site.restart_engine()
        elif event == "save":
            self.site.save_engine()
        else:
            self.site.fail_over()

    @rule(index=INDEX, topic=TOPICS)
    def subscribe(self, index: int, topic: bytes) -> None:
        self.site.follow(self.node(index), topic)

    @rule(index=INDEX)
    def unsubscribe(self, index: int) -> None:
        self.site.unfollow(self.node(index))

    @rule(index=INDEX, topic=TOPICS, times=st.integers(1, 3), retained=st.booleans())
    def publish(self, index: int, topic: bytes, times: int, retained: bool) -> None:
        node = self.node(index)
        for _ in range(times):
            if retained:
                self.site.retain(node)
            else:
                self.site.publish_to(node, topic)
        self.site.flush(node)

    @rule(index=INDEX, member=st.sampled_from(["ada", "bob"]))
    def presence(self, index: int, member: str) -> None:
        self.site.join(self.node(index), member)

    @rule()
    def meet(self) -> None:
        self.site.meet()

    @rule(index=INDEX, up=COUNT, down=COUNT)
    def carry(self, index: int, up: int, down: int) -> None:
        node = self.node(index)
        self.site.carry_up(node, up)
        self.site.carry_down(node, down)

    @rule(index=INDEX, lost=st.booleans())
    def write(self, index: int, lost: bool) -> None:
        self.site.write(self.machine(index), lost)

    @rule(index=INDEX, log=COUNT, inbox=COUNT)
    def read(self, index: int, log: int, inbox: int) -> None:
        self.site.read(self.machine(index), log, inbox)

    @rule(milliseconds=st.sampled_from([1, 300, 2000, 6000, 20_000]))
    def advance(self, milliseconds: int) -> None:
        self.site.advance(milliseconds)

    @rule()
    def round(self) -> None:
        self.site.round()

    @rule()
    def settle(self) -> None:
        self.site.settle()

    def teardown(self) -> None:
        self.site.settle()


class SmallInboxes(MachinesMachine):
    inbox_bytes = 2000


class SimulationTests(SynchronousTestCase):
    """The rules hold in any sequence of events."""

    def setUp(self) -> None:
        self.patch(history_outbox, "GRACE_S", 1e9)  # simulated time passes fast

    def test_any_sequence_of_events(self) -> None:
        run_state_machine_as_test(MachinesMachine)

    def test_any_sequence_of_events_with_small_inboxes(self) -> None:
        for name, value in (("HIGH_WATER", 3000), ("LOW_WATER", 1000), ("LIMIT", 6000)):
            self.patch(inbox_queue, name, value)
        run_state_machine_as_test(SmallInboxes)
