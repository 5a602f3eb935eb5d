"""PubSubs around an exchange, with failures at any moment."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.pubsub import history_outbox
from tests import profiles
from tests.pubsub.simulation import RETAINED, SimulatedCluster

assert profiles


class SimulationTests(SynchronousTestCase):
    """Any sequence of events, with any interleaving of messages."""

    def test_the_rules_hold_in_any_sequence_of_events(self) -> None:
        self.patch(history_outbox, "GRACE_S", 1e9)  # simulated time passes fast
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
        """All nodes but one receive retained frames; that node later, or after its link was
        lost."""
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
        """Start a new broker, which receives the state of the nodes."""
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
