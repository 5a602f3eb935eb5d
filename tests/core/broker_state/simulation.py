"""A cluster of an Exchange and nodes, with FIFO links instead of sockets and no clock.

The test decides when a link delivers a message (``carry_up``, ``carry_down``), so that any
interleaving is possible. The simulation checks the rules at each step. ``settle`` delivers all
messages, then checks that the nodes and the exchange agree.
"""

from collections import deque
from dataclasses import dataclass, field

from cluster.core import wire
from cluster.core.broker_state.exchange import Exchange, Outgoing

Views = dict[str, frozenset[bytes]]
"""Live node -> the topics that it has subscribed to."""


@dataclass
class SimulatedNode:
    """One process with its link, and what it has received."""

    name: str
    up: deque[wire.Message] = field(default_factory=deque)
    down: deque[tuple[wire.Message, Views]] = field(default_factory=deque)
    welcomed: bool = False
    wanted: set[bytes] = field(default_factory=set)
    view: dict[str, set[bytes]] = field(default_factory=dict)
    waiting: dict[str, set[int]] = field(default_factory=dict)
    released: dict[str, set[int]] = field(default_factory=dict)
    frames: dict[bytes, list[bytes]] = field(default_factory=dict)
    offsets: dict[bytes, int] = field(default_factory=dict)
    epochs: dict[bytes, str] = field(default_factory=dict)

    def send(self, message: wire.Message) -> None:
        self.up.append(message)

    def send_hello(self, expected: dict[str, int]) -> None:
        """Send Hello, and all that the exchange must know of this node."""
        self.welcomed = False
        self.send(wire.Hello())
        for topic, offset in self.offsets.items():
            frames = tuple(self.frames[topic])
            self.send(wire.Restore(topic, 2, offset, frames, self.epochs[topic]))
        self.send(wire.NodeSubscriptions(self.name, tuple(sorted(self.wanted))))
        for parties, is_released in ((self.released, True), (self.waiting, False)):
            for barrier, tokens in parties.items():
                if tokens:
                    arrival = wire.Arrive(
                        barrier, expected[barrier], tuple(sorted(tokens)), is_released
                    )
                    self.send(arrival)


@dataclass
class SimulatedBarrier:
    """The state of a barrier, derived from the messages of the exchange."""

    expected: int
    parties: set[tuple[str, int]] = field(default_factory=set)
    released: bool = False
    rejoined: bool = False

    def complete(self, live: set[str]) -> bool:
        if self.expected:
            assert len(self.parties) <= self.expected or self.rejoined
            return len(self.parties) >= self.expected
        return live <= {node for node, _ in self.parties}


class SimulatedCluster:
    """``expected``: barrier -> how many parties it waits for."""

    def __init__(self, expected: dict[str, int], max_retained: int) -> None:
        self.expected = expected
        self.max_retained = max_retained
        self.nodes: dict[str, SimulatedNode] = {}
        self.broker_number = 0
        self.tokens = 0
        # (broker, topic, offset) -> frame, which must be the same for all nodes.
        self.retained: dict[tuple[int, bytes, int], bytes] = {}
        self.start_broker()

    # Events.

    def start_broker(self) -> None:
        """Lose the broker with all messages on its links; all nodes connect to a new one."""
        self.broker_number += 1
        self.exchange = Exchange(f"broker{self.broker_number}")
        self.exchange.retained.max_topics = self.max_retained
        self.live: set[str] = set()
        self.sent_subscriptions: dict[str, set[bytes]] = {}
        self.barriers: dict[str, SimulatedBarrier] = {}
        for name in self.nodes:
            self.cut(name)
        for name in self.nodes:
            self.carry_up(name, len(self.nodes[name].up))

    def start(self, name: str) -> None:
        """Start a process; the exchange may not have noticed that its predecessor is gone."""
        self.nodes[name] = SimulatedNode(name)
        self.nodes[name].send_hello(self.expected)

    def cut(self, name: str) -> None:
        """Lose the link with all messages on it, and connect it again at once."""
        node = self.nodes[name]
        node.up.clear()
        node.down.clear()
        node.send_hello(self.expected)

    def crash(self, name: str) -> None:
        """Lose the process without the broker noticing."""
        del self.nodes[name]

    def evicted(self, name: str) -> None:
        """The broker assumes that the node is gone; it may be wrong."""
        self._check_and_send(name, None, self.exchange.leave(name))

    def stop(self, name: str) -> None:
        """The process sends Goodbye, and closes its link when Goodbye has arrived."""
        self.nodes[name].send(wire.Goodbye())
        self.carry_up(name, len(self.nodes[name].up))
        del self.nodes[name]

    def want(self, name: str, added: set[bytes], removed: set[bytes]) -> None:
        node = self.nodes[name]
        node.wanted = node.wanted - removed | added
        for topic in removed - added:
            node.offsets.pop(topic, None)
            node.frames.pop(topic, None)
        node.send(wire.NodeSubscriptions(name, tuple(sorted(added)), tuple(sorted(removed))))

    def arrive(self, name: str, barrier: str, parties: int) -> None:
        tokens = tuple(range(self.tokens + 1, self.tokens + parties + 1))
        self.tokens += parties
        self.nodes[name].waiting.setdefault(barrier, set()).update(tokens)
        self.nodes[name].send(wire.Arrive(barrier, self.expected[barrier], tokens))

    def withdraw(self, name: str, barrier: str) -> None:
        """The oldest party leaves, whether waiting or released."""
        node = self.nodes[name]
        tokens = node.waiting.get(barrier, set()) | node.released.get(barrier, set())
        if tokens:
            token = min(tokens)
            for parties in (node.waiting, node.released):
                parties.get(barrier, set()).discard(token)
            node.send(wire.Withdraw(barrier, (token,)))

    def retain(self, name: str, topic: bytes, depth: int, frame: bytes) -> None:
        self.nodes[name].send(wire.Retain(topic, depth, frame))

    def carry_up(self, name: str, count: int = 1) -> None:
        """Deliver messages of a node to the exchange."""
        node = self.nodes[name]
        for _ in range(min(count, len(node.up))):
            message = wire.decode(wire.encode(node.up.popleft()))
            self._check_and_send(name, message, self.exchange.receive(name, message))

    def carry_down(self, name: str, count: int = 1) -> None:
        """Deliver messages of the exchange to a node."""
        node = self.nodes[name]
        for _ in range(min(count, len(node.down))):
            message, views = node.down.popleft()
            self._node_receives(node, wire.decode(wire.encode(message)), views)

    def settle(self) -> None:
        """Deliver all messages, then compare what the nodes and the exchange know."""
        for name in self.live - set(self.nodes):
            self.evicted(name)
        for name, node in self.nodes.items():
            if name not in self.live:
                node.send(
                    wire.NodeSubscriptions(name)
                )  # an evicted node is notified when it sends its next message
        while any(node.up or node.down for node in self.nodes.values()):
            for name, node in self.nodes.items():
                self.carry_up(name, len(node.up))
                self.carry_down(name, len(node.down))
        assert set(self.exchange.nodes) == self.live == set(self.nodes)
        for node in self.nodes.values():
            assert node.welcomed
            wanted = {name: other.wanted for name, other in self.nodes.items() if other is not node}
            assert node.view == wanted
            for topic in node.wanted:
                kept = self.exchange.retained.get(topic)
                if kept is not None:
                    assert node.offsets[topic] == kept.offset
                    frames = list(kept.frames)
                    common = min(len(frames), len(node.frames[topic]))
                    assert frames[-common:] == node.frames[topic][-common:]
        for barrier, expected in self.expected.items():
            waiting = [len(node.waiting.get(barrier, ())) for node in self.nodes.values()]
            if any(node.released.get(barrier) for node in self.nodes.values()):
                assert not any(waiting)
            elif expected:
                assert sum(waiting) < expected
            else:
                assert not waiting or not all(waiting)

    # Checks.

    def _check_and_send(
        self, sender: str, message: wire.Message | None, outgoing: Outgoing
    ) -> None:
        """Check the answers of the exchange to a message (None: a node is gone), and send them."""
        known = sender in self.live
        match message:
            case wire.Hello():
                self._remove(sender)
                self.live.add(sender)
                self.sent_subscriptions[sender] = set()
            case None | wire.Goodbye():
                self._remove(sender)
            case wire.NodeSubscriptions(_, added, removed) if known:
                wanted = self.sent_subscriptions[sender] - set(removed) | set(added)
                self.sent_subscriptions[sender] = wanted
            case wire.Arrive(name, expected, tokens, released) if known:
                refused = {
                    token
                    for _, answer in outgoing
                    if isinstance(answer, wire.Refuse)
                    for token in answer.tokens
                }
                assert refused <= set(tokens)
                barrier = self.barriers.setdefault(name, SimulatedBarrier(expected))
                barrier.parties |= {(sender, token) for token in tokens if token not in refused}
                barrier.rejoined = barrier.rejoined or released
            case wire.Withdraw(name, tokens) if known and name in self.barriers:
                self.barriers[name].parties -= {(sender, token) for token in tokens}
        self._check_releases(outgoing)
        self._forget_empty_barriers()
        views = {name: frozenset(topics) for name, topics in self.sent_subscriptions.items()}
        for name, answer in outgoing:
            self._check_address(name, answer)
            if name in self.nodes:
                self.nodes[name].down.append((answer, views))

    def _remove(self, name: str) -> None:
        self.live.discard(name)
        self.sent_subscriptions.pop(name, None)
        for barrier in self.barriers.values():
            barrier.parties = {party for party in barrier.parties if party[0] != name}
        self._forget_empty_barriers()

    def _forget_empty_barriers(self) -> None:
        self.barriers = {
            name: barrier for name, barrier in self.barriers.items() if barrier.parties
        }

    def _check_address(self, name: str, message: wire.Message) -> None:
        if isinstance(message, wire.UnknownNode | wire.Rejected):
            return
        assert name in self.live, f"{message} for {name}, which is gone"
        if isinstance(message, wire.Joined | wire.Left | wire.NodeSubscriptions):
            assert message.node != name, f"{message} for itself"

    def _check_releases(self, outgoing: Outgoing) -> None:
        released_by_name: dict[str, set[tuple[str, int]]] = {}
        for node, message in outgoing:
            if isinstance(message, wire.Release):
                released_by_name.setdefault(message.barrier, set()).update(
                    (node, token) for token in message.tokens
                )
        for name, barrier in self.barriers.items():
            if name in released_by_name:
                assert released_by_name[name] == barrier.parties
                assert barrier.rejoined or not barrier.released, "released twice"
                assert barrier.rejoined or barrier.complete(self.live), "released too early"
                barrier.released = True
            elif barrier.parties:
                assert barrier.released or not barrier.complete(self.live), "not released"
        assert set(released_by_name) <= set(self.barriers)

    def _node_receives(self, node: SimulatedNode, message: wire.Message, views: Views) -> None:
        """A node receives a message. Messages before the answer to its Hello belong to an old
        link."""
        if isinstance(message, wire.Welcome):
            assert message.epoch == self.exchange.epoch
            node.welcomed = True
            node.view = {other: set() for other in message.nodes}
        if not node.welcomed:
            return
        match message:
            case wire.UnknownNode():
                node.send_hello(self.expected)
            case wire.Joined(other):
                assert other not in node.view
                node.view[other] = set()
            case wire.Left(other):
                del node.view[other]
            case wire.NodeSubscriptions(other, added, removed):
                node.view[other] = node.view[other] - set(removed) | set(added)
            case wire.Release(barrier, tokens):
                others = {other: topics for other, topics in views.items() if other != node.name}
                assert node.view == others, "released before the subscriptions were known"
                freed = node.waiting.get(barrier, set()) & set(tokens)
                node.waiting.get(barrier, set()).difference_update(freed)
                node.released.setdefault(barrier, set()).update(freed)
            case wire.Refuse(barrier, tokens):
                assert not node.released.get(barrier, set()) & set(tokens), "refused after release"
                node.waiting.get(barrier, set()).difference_update(tokens)
            case wire.Retained():
                self._receive_retained(node, message)

    def _receive_retained(self, node: SimulatedNode, message: wire.Retained) -> None:
        first = message.offset - len(message.frames) + 1
        for offset, frame in enumerate(message.frames, first):
            seen = self.retained.setdefault((self.broker_number, message.topic, offset), frame)
            assert seen == frame, "two frames under one number"
        if message.topic not in node.wanted:
            return  # sent before the exchange received the unsubscription
        known = node.offsets.get(message.topic, 0)
        news = message.frames[-(message.offset - known) :] if message.offset > known else ()
        if message.offset > known:
            node.epochs[message.topic] = message.epochs
        node.offsets[message.topic] = max(known, message.offset)
        before = node.frames.get(message.topic, []) if first <= known + 1 else []
        node.frames[message.topic] = [*before, *news][-2:]
