"""The events of a simulation of several machines, as rules for hypothesis."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines import inbox_queue
from tests.core.machines.simulation import Machine

INDEX = st.integers(0, 5)
MANY = 1000
COUNT = st.sampled_from([0, 1, 2, MANY])


class MachinesDriver(RuleBasedStateMachine):
    """Drives SimulatedMachines, which check the rules. A subclass says which, and adds what nodes
    do."""

    def __init__(self) -> None:
        super().__init__()
        self.site = self.make_site()

    def make_site(self) -> Any:
        raise NotImplementedError

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


def shrink_inboxes(test: SynchronousTestCase) -> None:
    """Let inboxes be full after a few batches, in this test."""
    for name, value in (("HIGH_WATER", 3000), ("LOW_WATER", 1000), ("LIMIT", 6000)):
        test.patch(inbox_queue, name, value)
