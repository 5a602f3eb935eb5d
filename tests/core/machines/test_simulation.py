"""Any sequence of events, with any interleaving, on several machines."""

from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests import profiles
from tests.core.machines.driver import INDEX, MachinesDriver, shrink_inboxes
from tests.core.machines.simulation import SimulatedMachines

assert profiles


class GatewaysDriver(MachinesDriver):
    def make_site(self) -> SimulatedMachines:
        return SimulatedMachines(machines=3, nodes=2)

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


class SmallInboxes(GatewaysDriver):
    def make_site(self) -> SimulatedMachines:
        return SimulatedMachines(machines=2, nodes=2, inbox_bytes=2000)


class SimulationTests(SynchronousTestCase):
    """The rules hold in any sequence of events."""

    def test_any_sequence_of_events(self) -> None:
        run_state_machine_as_test(GatewaysDriver)

    def test_any_sequence_of_events_with_small_inboxes(self) -> None:
        shrink_inboxes(self)
        run_state_machine_as_test(SmallInboxes)
