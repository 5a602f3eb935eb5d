"""A cluster of PubSubs around an Exchange, with FIFO links instead of sockets and a clock.

The test decides when links deliver messages, so that any interleaving is possible. When a link
breaks, the messages on it are lost. ``settle`` delivers all messages and then checks that each
subscriber has received each publication for it, once and in order, unless a node was away for so
long that others gave it up.
"""

from collections import Counter, deque
from typing import Any

from twisted.internet.task import Clock

from cluster.core import wire
from cluster.core.broker_state.exchange import Exchange
from cluster.pubsub.batches import ACKNOWLEDGE_S
from cluster.pubsub.pubsub import PubSub
from cluster.pubsub.remote_nodes import AWAY_S, REJOIN_TIMEOUT_S
from tests.fakes import RecordingConnection

RETAINED = b"retained"

Publication = tuple[str, int]
"""A publisher and the number of its publication."""


class SimulatedBus:
    """A Bus whose link is two queues: ``up`` to the broker, and ``down`` to the node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dropped: Counter[str] = Counter()
        self.is_up = False
        self.queued_bytes = 0
        self.up: deque[Any] = deque()
        self.down: deque[Any] = deque()

    def start(self, receiver: Any) -> None:
        raise AssertionError("the simulation sends Hello")

    def stop(self) -> None:
        self.is_up = False

    def send(self, message: wire.Message) -> None:
        if self.is_up:
            self.up.append(message)

    def send_batch(self, node: str, data: bytes) -> None:
        assert self.is_up, "a bus that is down takes no batches"
        self.up.append((node, data))


class SimulatedNode:
    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.bus = SimulatedBus(name)
        self.pubsub = PubSub(self.bus, [], lambda: None, clock, clock.seconds)
        self.connections: dict[bytes, list[tuple[RecordingConnection, int]]] = {}
        """Topic -> its subscribers, and when they subscribed."""
        self.excused: set[bytes] = set()
        """Retained frames that a subscriber may have missed because of several faults."""
        self.published = 0


class Roamer:
    """A subscriber that moves from node to node, and resumes the retained topic each time.

    ``before``: frame -> the frame that the exchange stored before it. A roamer must have received
    that frame, unless it has received that its history is not ``recovered`` since. It must
    not receive a frame twice. Two faults at once may break both rules.
    """

    def __init__(self, before: dict[bytes, bytes | None]) -> None:
        self.before = before
        self.node: SimulatedNode | None = None
        self.position: tuple[str, int] | None = None
        self.last: bytes | None = None
        self.received: set[bytes] = set()
        self.all_received: set[bytes] = set()
        self.wrong: list[str] = []
        self.subscriber: Any = None

    def move(self, node: SimulatedNode | None) -> None:
        if self.subscriber is not None:
            self.subscriber.stop()
            self.subscriber = None
        self.node = node
        if node is not None:
            self.subscriber = node.pubsub.follow(
                RETAINED, self.receive, since=self.position, answer=self.answer
            )

    def forgive(self) -> None:
        """Forget the received frames, because the rules did not hold for them."""
        self.last = None
        self.received.clear()
        self.wrong.clear()

    def answer(self, recovered: bool, epoch: str, offset: int) -> None:
        if not recovered:
            self.last = None
            self.received.clear()
            self.position = (epoch, offset) if epoch else None

    def receive(self, frame: bytes, offset: int) -> None:
        assert self.node is not None
        before = self.before.get(frame)
        # PubSub would only log exceptions from here, so keep them for ``settle``.
        if frame in self.received:
            self.wrong.append(f"{frame!r} twice")
        if self.received and before is not None and before not in self.received:
            self.wrong.append(f"{frame!r} without {before!r}")
        self.last = frame
        self.received.add(frame)
        self.all_received.add(frame)
        if self.subscriber is not None:  # it is None if the answer arrives within ``follow``
            self.position = (self.subscriber.epoch, offset)
        else:
            kept = self.node.pubsub.subscriptions.history_cache.get(RETAINED)
            assert kept is not None
            self.position = (kept.epoch, offset)


class SimulatedCluster:
    def __init__(self) -> None:
        self.clock = Clock()
        self.before: dict[bytes, bytes | None] = {}
        self.retained: dict[bytes, str] = {}
        """Retained frames and their publishers, since ``settle`` was called or a node was lost. The
        death of a broker must not lose them."""
        self.settled: set[bytes] = set()
        """Retained frames that all subscribers have had time to receive."""
        self.roamers = [Roamer(self.before) for _ in range(2)]
        self.faults: list[str] = []
        self.members: dict[str, Counter[tuple[bytes, str]]] = {}
        self.nodes: dict[str, SimulatedNode] = {}
        self.started = 0
        self.broker_number = 0
        self.moment = 0
        self.expected: dict[Publication, dict[str, tuple[bytes, int]]] = {}
        """Publication -> the nodes to which it was queued: for which topic, and when."""
        self.meetings = 0
        self.batch_taken_away = False
        self.start_broker()
        self.faults.clear()

    # Events.

    def fault(self, kind: str) -> None:
        """Record that a broker, a link or a node failed, or that a timeout passed."""
        self.faults.append(kind)

    @property
    def several_faults(self) -> bool:
        """Whether something else failed together with a broker."""
        return "broker" in self.faults and len(self.faults) > 1

    def start_broker(self) -> None:
        """Lose the broker with all messages on its links; ``connect`` uses the new one."""
        self.fault("broker")
        self.broker_number += 1
        self.exchange = Exchange(f"broker{self.broker_number}")
        for node in self.nodes.values():
            self._break(node)

    def start(self) -> SimulatedNode:
        self.started += 1
        node = SimulatedNode(f"n{self.started}", self.clock)
        self.nodes[node.name] = node
        self.connect(node.name)
        return node

    def connect(self, name: str) -> None:
        """Connect the link (again), and send Hello first."""
        node = self.nodes[name]
        welcomed = any(isinstance(item, wire.Welcome) for item in node.bus.down)
        hello = wire.Hello(returning=bool(node.pubsub.remote_nodes.epoch))
        if not node.bus.is_up and not welcomed and hello not in node.bus.up:
            node.bus.up.append(hello)

    def cut(self, name: str, noticed: bool) -> None:
        """Lose a link with its messages; the broker may notice only when the next Hello arrives."""
        self.fault("link")
        self._break(self.nodes[name])
        if noticed:
            self._answer(self.exchange.leave(name))

    def crash(self, name: str) -> None:
        node = self.nodes.pop(name)
        node.pubsub.stop()
        self.members.pop(name, None)
        self.retained.clear()
        self.fault("node")
        for roamer in self.roamers:
            if roamer.node is node:
                roamer.node = roamer.subscriber = None
        self._answer(self.exchange.leave(name))
        for expected in self.expected.values():
            expected.pop(name, None)
        self.expected = {key: value for key, value in self.expected.items() if key[0] != name}

    def subscribe(self, name: str, topic: bytes) -> None:
        connection = RecordingConnection()
        self.moment += 1
        self.nodes[name].connections.setdefault(topic, []).append((connection, self.moment))
        self.nodes[name].pubsub.subscribe(connection, topic)

    def unsubscribe(self, name: str, topic: bytes) -> None:
        """The oldest subscriber leaves."""
        connections = self.nodes[name].connections.get(topic)
        if connections:
            connection, _ = connections.pop(0)
            self.nodes[name].pubsub.drop(connection)

    def publish(self, name: str, topic: bytes) -> None:
        node = self.nodes[name]
        node.published += 1
        self.moment += 1
        publication = (name, node.published)
        remote_nodes = node.pubsub.remote_nodes.subscriptions.get(topic) or ()
        self.expected[publication] = {each.name: (topic, self.moment) for each in remote_nodes}
        connections = node.connections.get(topic, ())
        receipt = node.pubsub.publish(topic, b"%s %d" % (name.encode(), node.published))
        assert receipt == (len(remote_nodes) + bool(connections), len(connections))
        if connections:
            self.expected[publication][name] = (topic, self.moment)

    def retain(self, name: str) -> None:
        self.moment += 1
        frame = b"r %d" % self.moment
        self.nodes[name].pubsub.publish_retained(RETAINED, frame, 2)
        self.retained[frame] = name

    def roam(self, roamer: int, name: str | None) -> None:
        self.roamers[roamer].move(None if name is None else self.nodes[name])

    def join(self, name: str, topic: bytes, member: str) -> None:
        self.members.setdefault(name, Counter())[topic, member] += 1
        self.nodes[name].pubsub.presence.join(topic, member)

    def leave(self, name: str, topic: bytes, member: str) -> None:
        held = self.members.get(name, Counter())
        if held[topic, member]:
            held[topic, member] -= 1
            self.nodes[name].pubsub.presence.leave(topic, member)

    def meet(self) -> None:
        """All nodes subscribe and wait at a barrier; released nodes must know all subscriptions."""
        self.meetings += 1
        barrier = f"meeting {self.meetings}"
        broker_number, names = self.broker_number, list(self.nodes)
        for name in names:
            topic = f"{barrier} {name}".encode()
            self.subscribe(name, topic)

            def released(name: str = name) -> None:
                for other in names:
                    if (
                        name in self.nodes
                        and other in self.nodes
                        and self.broker_number == broker_number
                    ):
                        topic = f"{barrier} {other}".encode()
                        nodes, _ = self.nodes[name].pubsub.publish(topic, b"m 0")
                        assert nodes == 1, (
                            f"{name} was released before it knew the subscriptions of {other}"
                        )

            self.nodes[name].pubsub.barriers.arrive(barrier, len(names), released, lambda why: None)

    def flush(self, name: str) -> None:
        self.nodes[name].pubsub.flush()

    def carry_up(self, name: str, count: int = 1) -> None:
        """Deliver messages of a node to the broker, which processes them as cluster.broker does."""
        queue = self.nodes[name].bus.up
        for _ in range(min(count, len(queue))):
            item = queue.popleft()
            if isinstance(item, wire.Retain):
                self._retained(name, item)
            elif isinstance(item, wire.Message):
                self._answer(self.exchange.receive(name, item))
            elif name in self.exchange.nodes and item[0] in self.exchange.nodes:
                self.nodes[item[0]].bus.down.append((name, item[1]))

    def _retained(self, name: str, message: wire.Retain) -> None:
        kept = self.exchange.retained.get(RETAINED)
        offset, before = (0, None) if kept is None else (kept.offset, kept.frames[-1])
        self._answer(self.exchange.receive(name, message))
        kept = self.exchange.retained.get(RETAINED)
        if kept is not None and kept.offset > offset:  # it was not a known one that was sent again
            self.before[message.frame] = before

    def carry_down(self, name: str, count: int = 1) -> None:
        """Deliver messages of the broker to a node."""
        node = self.nodes[name]
        for _ in range(min(count, len(node.bus.down))):
            item = node.bus.down.popleft()
            if isinstance(item, tuple):
                node.pubsub.bus_batch(*item)
            elif isinstance(item, wire.Welcome):
                node.bus.is_up = True
                node.pubsub.bus_up(item)
            else:
                assert not isinstance(item, wire.UnknownNode | wire.Rejected)
                node.pubsub.bus_message(item)

    def take_away_a_batch(self, name: str) -> None:
        """Lose a batch between the broker and a node, although no link breaks."""
        queue = self.nodes[name].bus.down
        for index, item in enumerate(queue):
            if isinstance(item, tuple):
                del queue[index]
                self.batch_taken_away = True
                return

    def wait(self) -> None:
        """Let more time pass than the timeouts and the grace period."""
        self.retained.clear()
        self.fault("timeout")
        self.clock.advance(max(REJOIN_TIMEOUT_S, AWAY_S) + 1)

    def settle(self) -> None:
        """Connect all nodes and deliver all messages, then check."""
        for name in self.nodes:
            self.connect(name)
        self._travel()
        # Those that have not rejoined are away, then gone.
        for seconds in (REJOIN_TIMEOUT_S, AWAY_S):
            self.clock.advance(seconds + 1)
            self._travel()
        if not self.batch_taken_away:
            self._check_delivery()
        # Else one more batch each must show that the last ones are missing.
        for name, node in self.nodes.items():
            for topic in [topic for other in self.nodes.values() for topic in other.connections]:
                if topic != RETAINED and node.pubsub.remote_nodes.subscriptions.get(topic):
                    self.publish(name, topic)
        for _ in range(3):  # a request for missing batches, their acknowledgement
            self._travel()
            self.clock.advance(ACKNOWLEDGE_S)
        self._travel()
        self._check_delivery()
        for node in self.nodes.values():
            self._check_views(node)
            self._check_members(node)
            # Nobody asks for a batch that is missing if no other one follows.
            assert self.batch_taken_away or node.pubsub.queued_bytes == 0
            assert not node.pubsub.full
        if not any(node.pubsub.queued_bytes for node in self.nodes.values()):
            self.batch_taken_away = False
        assert not self.clock.getDelayedCalls()
        kept = self.exchange.retained.get(RETAINED)
        if not self.several_faults:
            self._check_history()
        for roamer in self.roamers:
            assert self.several_faults or not roamer.wrong, roamer.wrong
            if self.several_faults:
                roamer.forgive()
            if roamer.node is not None and kept is not None:
                assert roamer.last is None or kept.frames[-1] in roamer.all_received, (
                    roamer.last,
                    kept,
                )
                # None: the epoch is another, and frames received before were not sent again.
                missed = kept.after(*roamer.position) if roamer.position is not None else None
                # After several faults a frame may be in the history twice; it is delivered once.
                again = roamer.all_received | self.settled if self.several_faults else set()
                assert not missed or again.issuperset(missed), missed
        if self.several_faults:
            for node in self.nodes.values():
                node.excused |= self.before.keys()
                for connection, _ in node.connections.get(RETAINED, ()):
                    connection.out.clear()
        self.settled = set(self.before)
        self.retained.clear()
        self.faults.clear()

    # Checks.

    def _check_delivery(self) -> None:
        """Subscribers have received everything, except what was given up and counted."""
        self.unaccounted: set[tuple[Publication, str]] = set()
        for node in self.nodes.values():
            self._check_connections(node)
            self._check_losses(node)
        missing = Counter(publisher for (publisher, _), _ in self.unaccounted)
        for name, count in missing.items():
            assert count <= self.nodes[name].pubsub.dropped["node_gone"], self.unaccounted

    def _check_history(self) -> None:
        """The recent publications to the retained topic are part of its history."""
        kept = self.exchange.retained.get(RETAINED)
        history: list[bytes] = []
        frame = None if kept is None else kept.frames[-1]
        while frame is not None:
            assert frame not in history, f"{frame!r} twice"
            history.append(frame)
            frame = self.before[frame]
        lost = [frame for frame in self.retained if frame not in history]
        assert not lost, f"{lost} lost, of {history}"

    def _check_views(self, node: SimulatedNode) -> None:
        """Every node knows exactly the subscriptions of all others."""
        others = {name for name in self.nodes if name != node.name}
        assert set(node.pubsub.remote_nodes.names) == others
        for name in others:
            wanted = {
                topic for topic, connections in self.nodes[name].connections.items() if connections
            }
            if any(roamer.node is self.nodes[name] for roamer in self.roamers):
                wanted.add(RETAINED)
            assert (
                set(
                    node.pubsub.remote_nodes.subscriptions.topics(
                        node.pubsub.remote_nodes.by_name[name]
                    )
                )
                == wanted
            )

    def _check_members(self, node: SimulatedNode) -> None:
        """Every node knows all members."""
        held = [each for held in self.members.values() for each in held if held[each]]
        for topic in (b"t", b"u"):
            wanted = {member for where, member in held if where == topic}
            assert set(node.pubsub.presence.members(topic)) == wanted

    def _check_connections(self, node: SimulatedNode) -> None:
        for topic, connections in node.connections.items():
            for connection, since in connections:
                if topic == RETAINED:
                    self._check_retained(node, connection)
                    continue
                seen = [tuple(frame.decode().split()) for frame in connection.out]
                numbers: dict[str, list[int]] = {}
                for publisher, number in seen:
                    if publisher != "m":
                        numbers.setdefault(publisher, []).append(int(number))
                for publisher, received in numbers.items():
                    ordered = sorted(set(received))
                    assert received == ordered, f"{publisher}: {received}"
                self._check_complete(node, topic, since, numbers)

    def _check_complete(
        self, node: SimulatedNode, topic: bytes, since: int, numbers: dict[str, list[int]]
    ) -> None:
        """Earlier subscribers have received each publication, unless its publisher gave up."""
        for (publisher, number), expected in self.expected.items():
            wanted, moment = expected.get(node.name, (b"", 0))
            if wanted != topic or moment < since or number in numbers.get(publisher, ()):
                continue
            assert publisher != node.name
            self.unaccounted.add(((publisher, number), node.name))

    def _check_retained(self, node: SimulatedNode, connection: RecordingConnection) -> None:
        assert self.several_faults or len(connection.out) == len(set(connection.out)), (
            f"twice: {connection.out}"
        )
        kept = self.exchange.retained.get(RETAINED)
        if kept is not None and self.broker_number == 1:
            assert connection.out[-1:] == [kept.frames[-1]]
        if kept is not None and not self.several_faults:
            never_received = set(kept.frames).difference(connection.out, node.excused)
            assert not never_received, f"{never_received} not received, only {connection.out}"

    def _check_losses(self, node: SimulatedNode) -> None:
        """A loss was announced, and nothing else was dropped."""
        gave_up = any(
            publisher in self.nodes
            for (publisher, _), name in self.unaccounted
            if name == node.name
        )
        assert not gave_up or node.pubsub.batches.gaps
        assert not node.pubsub.dropped["malformed"]

    def _answer(self, outgoing: list[tuple[str, wire.Message]]) -> None:
        for name, message in outgoing:
            if name in self.nodes:
                self.nodes[name].bus.down.append(message)

    def _travel(self) -> None:
        while True:
            for node in self.nodes.values():
                node.pubsub.flush()
            if not any(node.bus.up or node.bus.down for node in self.nodes.values()):
                return
            for name, node in self.nodes.items():
                self.carry_up(name, len(node.bus.up))
                self.carry_down(name, len(node.bus.down))

    def _break(self, node: SimulatedNode) -> None:
        node.bus.up.clear()
        node.bus.down.clear()
        if node.bus.is_up:
            node.bus.is_up = False
            node.pubsub.bus_down()
