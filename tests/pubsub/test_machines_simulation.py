"""PubSubs on several machines, with failures at any moment."""

from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.pubsub import history_outbox
from tests import profiles
from tests.core.machines.driver import INDEX, MachinesDriver, shrink_inboxes
from tests.pubsub.machines_simulation import MachinesOfPubSubs

assert profiles

TOPICS = st.sampled_from([b"t", b"u"])


class PubSubsDriver(MachinesDriver):
    inbox_bytes = 8 << 20

    def make_site(self) -> MachinesOfPubSubs:
        site = MachinesOfPubSubs(machines=2, nodes=2, inbox_bytes=self.inbox_bytes)
        site.settle()
        return site

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


class SmallInboxes(PubSubsDriver):
    inbox_bytes = 2000


class SimulationTests(SynchronousTestCase):
    """The rules hold in any sequence of events."""

    def setUp(self) -> None:
        self.patch(history_outbox, "GRACE_S", 1e9)  # simulated time passes fast

    def test_any_sequence_of_events(self) -> None:
        run_state_machine_as_test(PubSubsDriver)

    def test_any_sequence_of_events_with_small_inboxes(self) -> None:
        shrink_inboxes(self)
        run_state_machine_as_test(SmallInboxes)
