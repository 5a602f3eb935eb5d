"""Any sequence of events, with any interleaving, on several machines."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines import inbox_queue
from tests import profiles
from tests.core.machines.simulation import Machine, Node, SimulatedMachines

assert profiles

INDEX = st.integers(0, 5)
MANY = 1000
COUNT = st.sampled_from([0, 1, 2, MANY])


class MachinesMachine(RuleBasedStateMachine):
    """Drives SimulatedMachines, which check the rules."""

    def __init__(self) -> None:
        super().__init__()
        self.site = SimulatedMachines(machines=3, nodes=2)

    def machine(self, index: int) -> Machine:
        return self.site.machines[index % len(self.site.machines)]

    def node(self, index: int) -> Node:
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

    @rule(index=INDEX, times=st.integers(1, 3))
    def retain(self, index: int, times: int) -> None:
        for _ in range(times):
            self.site.retain(self.node(index))

    @rule(index=INDEX)
    def query(self, index: int) -> None:
        self.site.query(self.node(index))

    @rule(index=INDEX, size=st.sampled_from([1, 1000]))
    def publish(self, index: int, size: int) -> None:
        self.site.publish(self.node(index), b"x" * size)

    @rule(index=INDEX, barrier=st.sampled_from(["a", "b"]), leaves=st.booleans())
    def barrier(self, index: int, barrier: str, leaves: bool) -> None:
        if leaves:
            self.site.withdraw(self.node(index), barrier)
        else:
            self.site.arrive(self.node(index), barrier, 2)

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

    @rule(milliseconds=st.sampled_from([1, 300, 2000, 6000]))
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


class SimulationTests(SynchronousTestCase):
    """The rules hold in any sequence of events."""

    def test_any_sequence_of_events(self) -> None:
        run_state_machine_as_test(MachinesMachine)

    def test_any_sequence_of_events_with_small_inboxes(self) -> None:
        for name, value in (("HIGH_WATER", 3000), ("LOW_WATER", 1000), ("LIMIT", 6000)):
            self.patch(inbox_queue, name, value)

        class SmallInboxes(MachinesMachine):
            def __init__(self) -> None:
                super().__init__()
                self.site = SimulatedMachines(machines=2, nodes=2, inbox_bytes=2000)

        run_state_machine_as_test(SmallInboxes)
