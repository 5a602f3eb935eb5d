"""SimulatedMachines whose nodes are real PubSubs on simulated links.

``settle`` lets the faults stop. Then each subscriber must have received each publication for it,
once and in order, or it was notified of a loss after the publication. That holds for all
subscribers that had subscribed when the machines came to rest the last time. Publishers that have
ended are an exception.
"""

from collections import Counter
from typing import Any

from twisted.internet.task import Clock

from cluster.core import wire
from cluster.core.machines.engine import Batch
from cluster.pubsub.batches import ACKNOWLEDGE_S
from cluster.pubsub.pubsub import PubSub
from cluster.pubsub.remote_nodes import AWAY_S, REJOIN_TIMEOUT_S
from tests.core.machines.simulation import Machine, SimulatedMachines
from tests.pubsub.simulation import RETAINED, SimulatedBus

DEPTH = 10_000


class Subscriber:
    """A connection that records when it receives frames, and when it is notified of a loss."""

    def __init__(self, site: "MachinesOfPubSubs", topic: bytes) -> None:
        self.site = site
        self.topic = topic
        self.since = site.moment
        self.blocked = False
        self.out: list[bytes] = []
        self.losses: list[int] = []

    def send_frame(self, frame: bytes) -> None:
        self.out.append(frame)

    def send_history(self, frames: Any) -> None:
        self.out.extend(frames)

    def frames_lost(self, topic: bytes) -> None:
        self.losses.append(self.site.moment)


class PubSubNode(SimulatedBus):
    """A node on a simulated link; this object is its Bus, too."""

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__(name)
        self.was_up = False
        self.awaits_welcome = False
        self.pubsub = PubSub(self, [], lambda: None, clock, clock.seconds)
        self.subscribers: list[Subscriber] = []
        self.members: set[tuple[bytes, str]] = set()
        self.number = 0

    def say(self, *messages: wire.Message) -> None:
        self.up += messages

    def hello(self) -> None:
        if self.is_up:
            self.is_up = False
            self.pubsub.bus_down()
        self.awaits_welcome = True
        self.up.append(wire.Hello(returning=self.was_up))

    def receive(self, item: Any) -> None:
        if isinstance(item, Batch):
            self.pubsub.bus_batch(*item)
        elif isinstance(item, wire.Welcome):
            if self.awaits_welcome:
                self.awaits_welcome = False
                self.is_up = self.was_up = True
                self.pubsub.bus_up(item)
        elif isinstance(item, wire.UnknownNode):
            self.hello()
        else:
            assert not isinstance(item, wire.Rejected), item
            self.pubsub.bus_message(item)


class MachinesOfPubSubs(SimulatedMachines):
    def __init__(self, machines: int, nodes: int, inbox_bytes: int = 8 << 20) -> None:
        self.clock = Clock()
        self.moment = 0
        self.rest = 0
        """The moment at which the machines came to rest the last time."""
        self.published: list[tuple[int, bytes, str, bytes]] = []
        """(moment, topic, node, frame)."""
        self.waiting = 0
        super().__init__(machines, nodes, inbox_bytes)

    # Nodes.

    def start_node(self, machine: Machine) -> Any:
        self.started += 1
        node = PubSubNode(f"n{self.started}.1@{machine.name}", self.clock)
        machine.nodes[node.name] = node  # type: ignore[assignment]
        node.hello()
        self.follow(node, RETAINED)
        return node

    def stop_node(self, node: Any, says_goodbye: bool) -> None:
        node.pubsub.flush()
        node.pubsub.stop()
        self.ended = node.name
        super().stop_node(node, says_goodbye)

    def follow(self, node: Any, topic: bytes) -> None:
        self.moment += 1
        subscriber = Subscriber(self, topic)
        node.subscribers.append(subscriber)
        node.pubsub.subscribe(subscriber, topic)

    def unfollow(self, node: Any) -> None:
        """The oldest subscriber of a plain topic leaves."""
        for subscriber in node.subscribers:
            if subscriber.topic in (b"t", b"u"):
                node.subscribers.remove(subscriber)
                node.pubsub.drop(subscriber)
                return

    def retain(self, node: Any) -> None:
        self.publish_to(node, RETAINED)

    def publish_to(self, node: Any, topic: bytes) -> None:
        if not node.was_up:
            return  # it has no clients yet
        self.moment += 1
        node.number += 1
        frame = b"%s %d" % (node.name.encode(), node.number)
        self.published.append((self.moment, topic, node.name, frame))
        if topic == RETAINED:
            node.pubsub.publish_retained(topic, frame, DEPTH)
        else:
            node.pubsub.publish(topic, frame)

    def join(self, node: Any, member: str) -> None:
        membership = (b"t", member)
        if membership in node.members:
            node.members.discard(membership)
            node.pubsub.presence.leave(*membership)
        else:
            node.members.add(membership)
            node.pubsub.presence.join(*membership)

    def meet(self) -> None:
        """All nodes wait at a barrier; who is released knows what all others subscribe to."""
        self.meetings += 1
        meeting = f"meeting {self.meetings}"
        nodes = self.nodes
        faults = self.faults

        def released(node: Any) -> None:
            self.waiting -= 1
            for other in nodes:
                if self.faults == faults:
                    topic = f"{meeting} {other.name}".encode()
                    count, _ = node.pubsub.publish(topic, b"meeting")
                    assert count == 1, f"{node.name} does not know {other.name}"

        def refused(why: str) -> None:
            self.waiting -= 1

        for node in nodes:
            self.waiting += 1
            self.follow(node, f"{meeting} {node.name}".encode())
            node.pubsub.barriers.arrive(  # type: ignore[attr-defined]
                meeting, len(nodes), lambda node=node: released(node), refused
            )

    def flush(self, node: Any) -> None:
        node.pubsub.flush()

    def receive(self, node: Any, message: Any) -> None:
        node.receive(message)

    def carry_down(self, node: Any, count: int) -> None:
        for _ in range(min(count, len(node.down))):
            node.receive(node.down.popleft())

    def advance(self, milliseconds: int) -> None:
        while milliseconds > 0:
            step = min(1000, milliseconds)
            super().advance(step)
            self.clock.advance(step / 1000)
            milliseconds -= step

    # The end of faults.

    def round(self) -> None:
        for node in self.nodes:
            self.flush(node)
        super().round()

    def settle(self) -> None:
        for machine in self.machines:
            machine.deaf = False
        # Until leases are over, all have joined, and nodes that are away are gone.
        for _ in range(int(REJOIN_TIMEOUT_S + AWAY_S + ACKNOWLEDGE_S) + 3):
            self.round()
            self.advance(1000)
        # A node that has dropped its last publications announces it with the next batch.
        for node in self.nodes:
            for topic in (b"t", b"u"):
                self.publish_to(node, topic)
        super().settle()
        self.rest = self.moment
        self.published.clear()

    def progress(self) -> Any:
        machines = [(each.gateway.state, each.gateway.applied) for each in self.machines]
        return machines, [(node.name, len(node.up), len(node.down)) for node in self.nodes]

    def check_agreement(self) -> None:
        gateways = [machine.gateway for machine in self.machines]
        assert {gateway.state for gateway in gateways} == {"joined"}
        assert len({(each.applied, each.digest()) for each in gateways}) == 1
        assert all(gateway.queued_bytes == 0 for gateway in gateways)
        nodes: list[Any] = list(self.nodes)
        members = {member for node in nodes for _, member in node.members}
        for node in nodes:
            remote = node.pubsub.remote_nodes
            assert set(remote.names) == {other.name for other in nodes} - {node.name}, node.name
            for other in nodes:
                if other is not node:
                    known = set(remote.subscriptions.topics(remote.by_name[other.name]))
                    assert known == {each.topic for each in other.subscribers}
            assert set(node.pubsub.presence.members(b"t")) == members
            assert node.pubsub.queued_bytes == 0, (node.name, node.pubsub.queued_bytes)
            assert not node.pubsub.full
            assert not node.pubsub.dropped["malformed"]
        self.check_delivery(nodes)

    def check_delivery(self, nodes: list[Any]) -> None:
        alive = {node.name for node in nodes}
        for node in nodes:
            for subscriber in node.subscribers:
                received = Counter(subscriber.out)
                twice = [frame for frame, count in received.items() if count > 1]
                assert subscriber.topic.startswith(b"meeting") or not twice, (node.name, twice)
                if subscriber.since > self.rest:
                    continue
                last_loss = max(subscriber.losses, default=0)
                for moment, topic, publisher, frame in self.published:
                    if topic != subscriber.topic or publisher not in alive:
                        continue
                    assert frame in received or moment <= last_loss, (
                        f"{node.name} has not received {frame!r} of {topic!r}"
                    )
                self.check_order(node.name, subscriber.out)

    def check_order(self, name: str, frames: list[bytes]) -> None:
        last: dict[bytes, int] = {}
        for frame in frames:
            publisher, _, number = frame.partition(b" ")
            if number:
                assert int(number) > last.get(publisher, 0), (name, frame)
                last[publisher] = int(number)
