"""Several machines: gateways around an engine in memory, and nodes with FIFO links.

The test decides who reads, writes and beats when, and what fails, so that any interleaving is
possible. The simulation checks at each step:

* gateways that have applied the same log entry have equal digests;
* no two retained frames have the same epoch and offset;
* a node that is released at a barrier knows the subscriptions of all parties;
* what waits for the engine is bounded.

``settle`` lets the faults stop. Then all must agree: nodes know all others, nobody waits at a
barrier for which all parties are there, and each node has the newest retained frame.
"""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from cluster.core import wire
from cluster.core.broker_state.retained_topic import parse_epochs
from cluster.core.machines.engine import Batch, EngineError, EngineFull, Joined, Turn
from cluster.core.machines.gateway import Gateway
from cluster.core.machines.names import machine_of
from tests.machines.engine_model import ModelRedis

TOPIC = b"retained"
BOUND = 1 << 20


class Node:
    """A node: what it has said and what it has received."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.up: deque[wire.Message | tuple[str, bytes]] = deque()
        self.down: deque[wire.Message | Batch] = deque()
        self.welcomed = False
        self.epoch = ""
        self.wanted: set[bytes] = {TOPIC}
        self.view: dict[str, set[bytes]] = {}
        self.expected: dict[str, int] = {}
        self.waiting: dict[str, set[int]] = {}
        self.released: dict[str, set[int]] = {}
        self.unacknowledged: dict[int, wire.Retain] = {}
        self.kept: wire.Retained | None = None
        self.batches: list[tuple[str, bytes]] = []
        self.number = 0

    def say(self, *messages: wire.Message) -> None:
        if self.welcomed:
            self.up += messages

    def hello(self) -> None:
        self.welcomed = False
        self.up.append(wire.Hello())

    def welcome(self, message: wire.Welcome) -> None:
        self.welcomed = True
        self.epoch = message.epoch
        self.view = {name: set() for name in message.nodes}
        kept = self.kept
        if kept is not None:
            fields = (kept.depth, kept.offset, kept.frames, kept.epochs, (), kept.sources)
            self.say(wire.Restore(TOPIC, *fields))
        self.say(wire.NodeSubscriptions(self.name, tuple(sorted(self.wanted))))
        self.say(wire.PresenceUpdate(self.name, True, ((b"t", self.name),)))
        for parties, is_released in ((self.released, True), (self.waiting, False)):
            for name, tokens in parties.items():
                if tokens:
                    arrival = (name, self.expected[name], tuple(sorted(tokens)), is_released)
                    self.say(wire.Arrive(*arrival))
        self.say(*self.unacknowledged.values())


class Machine:
    """A machine with its gateway, and what its uplink does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lives = 0
        self.nodes: dict[str, Node] = {}
        self.deaf = False
        self.start()

    def start(self) -> None:
        before: Gateway | None = getattr(self, "gateway", None)
        self.lives += 1
        self.gateway: Gateway = Gateway(self.name, f"{self.name}{self.lives}")
        if before is not None:
            kept = [before.history(topic, 0) for topic in before.retained.topics()]
            restores = [
                wire.Restore(
                    each.topic,
                    each.depth,
                    each.offset,
                    each.frames,
                    each.epochs,
                    each.expires,
                    each.sources,
                )
                for each in kept
                if each is not None
            ]
            self.gateway.load(restores, 0)
        self.joined: Joined | None = None
        self.turn: Turn | None = None
        self.until = 0
        self.run = 0


class SimulatedMachines:
    def __init__(self, machines: int, nodes: int, inbox_bytes: int = 8 << 20) -> None:
        self.server = ModelRedis(inbox_bytes=inbox_bytes)
        self.machines = [Machine(chr(ord("A") + index)) for index in range(machines)]
        self.saved: Any = None
        self.started = self.tokens = self.meetings = self.frames = 0
        self.faults = 0
        self.digests: dict[tuple[str, str, str], str] = {}
        self.retained: dict[tuple[str, int], bytes] = {}
        self.dropped: Counter[str] = Counter()
        for machine in self.machines:
            for _ in range(nodes):
                self.start_node(machine)

    # Nodes.

    @property
    def nodes(self) -> list[Node]:
        return [node for machine in self.machines for node in machine.nodes.values()]

    def machine_of(self, node: Node) -> Machine:
        return next(each for each in self.machines if node.name in each.nodes)

    def start_node(self, machine: Machine) -> Node:
        self.started += 1
        node = Node(f"n.{self.started}@{machine.name}")
        machine.nodes[node.name] = node
        node.hello()
        return node

    def stop_node(self, node: Node, says_goodbye: bool) -> None:
        self.faults += 1
        machine = self.machine_of(node)
        if says_goodbye:
            node.say(wire.Goodbye())
            self.carry_up(node, 1000)
        del machine.nodes[node.name]
        self.deliver(machine, machine.gateway.leave(node.name))

    def cut(self, node: Node) -> None:
        """Lose the link of a node with its messages; it connects again at once."""
        self.faults += 1
        node.up.clear()
        node.down.clear()
        node.hello()

    def subscribe(self, node: Node, topic: bytes) -> None:
        node.wanted.add(topic)
        node.say(wire.NodeSubscriptions(node.name, (topic,)))

    def retain(self, node: Node) -> None:
        node.number += 1
        self.frames += 1
        message = wire.Retain(TOPIC, 2, b"%d" % self.frames, 0, node.number)
        node.unacknowledged[node.number] = message
        node.say(message)

    def query(self, node: Node) -> None:
        node.say(wire.Query(TOPIC))

    def publish(self, node: Node, data: bytes) -> None:
        """Send a batch to each node that is known."""
        if node.welcomed:
            node.up += [(other, data) for other in node.view]

    def arrive(self, node: Node, barrier: str, expected: int) -> None:
        self.tokens += 1
        node.expected[barrier] = expected
        node.waiting.setdefault(barrier, set()).add(self.tokens)
        node.say(wire.Arrive(barrier, expected, (self.tokens,)))

    def withdraw(self, node: Node, barrier: str) -> None:
        for parties in (node.waiting, node.released):
            tokens = parties.pop(barrier, set())
            if tokens:
                node.say(wire.Withdraw(barrier, tuple(tokens)))

    def meet(self) -> None:
        """All nodes subscribe, then arrive at a barrier that waits for all of them."""
        nodes = self.nodes
        self.meetings += 1
        self.present = dict.fromkeys([node.name for node in nodes], self.faults)
        for node in nodes:
            barrier = f"meeting {self.meetings}"
            self.subscribe(node, f"{barrier} {node.name}".encode())
            self.arrive(node, barrier, len(nodes))

    # Links.

    def carry_up(self, node: Node, count: int) -> None:
        machine = self.machine_of(node)
        for _ in range(min(count, len(node.up))):
            item = node.up.popleft()
            if isinstance(item, wire.Message):
                self.deliver(machine, machine.gateway.receive(node.name, item, self.server.now))
            elif node.name in machine.gateway.nodes:
                destination, data = item
                if destination in machine.gateway.nodes:
                    machine.nodes[destination].down.append(Batch(node.name, data))
                else:
                    machine.gateway.send_batch(node.name, destination, data)
                    self.deliver(machine, machine.gateway.take_notices())
        assert machine.gateway.queued_bytes < BOUND

    def carry_down(self, node: Node, count: int) -> None:
        for _ in range(min(count, len(node.down))):
            item = node.down.popleft()
            if isinstance(item, Batch):
                node.batches.append(item)
            else:
                self.receive(node, item)

    def deliver(self, machine: Machine, messages: Iterable[tuple[str, Any]]) -> None:
        for name, message in messages:
            assert machine_of(name) == machine.name, name
            if name in machine.nodes:
                machine.nodes[name].down.append(message)

    def receive(self, node: Node, message: wire.Message) -> None:
        if isinstance(message, wire.UnknownNode):
            node.hello()
        elif isinstance(message, wire.Welcome):
            node.welcome(message)
        if not node.welcomed:
            return
        match message:
            case wire.Rejected():
                raise AssertionError(message)
            case wire.Joined(other):
                assert other not in node.view
                node.view[other] = set()
            case wire.Left(other):
                node.view.pop(other, None)  # it may have joined again while the machine did
            case wire.NodeSubscriptions(other, added, removed):
                node.view[other] = node.view[other] - set(removed) | set(added)
            case wire.Release(barrier, tokens):
                self.released(node, barrier, tokens)
            case wire.Refuse(barrier, tokens):
                node.waiting.get(barrier, set()).difference_update(tokens)
            case wire.Acknowledged(number):
                self.acknowledged(node, number)
            case wire.Retained():
                self.retained_received(node, message)

    def acknowledged(self, node: Node, number: int) -> None:
        for each in [each for each in node.unacknowledged if each <= number]:
            del node.unacknowledged[each]

    def released(self, node: Node, barrier: str, tokens: Iterable[int]) -> None:
        freed = node.waiting.get(barrier, set()) & set(tokens)
        node.waiting.get(barrier, set()).difference_update(freed)
        node.released.setdefault(barrier, set()).update(freed)
        if barrier == f"meeting {self.meetings}" and self.present.get(node.name) == self.faults:
            for other in self.present:
                topic = f"{barrier} {other}".encode()
                assert other == node.name or topic in node.view[other], (
                    f"{node.name} was released before it knew the subscriptions of {other}"
                )

    def retained_received(self, node: Node, message: wire.Retained) -> None:
        if message.number:
            self.acknowledged(node, message.number)
        if message.offset:
            self.check_offsets(message)
            node.kept = message

    def check_offsets(self, message: wire.Retained) -> None:
        epoch, earlier = parse_epochs(message.epochs)
        first = message.offset - len(message.frames) + 1
        for offset, frame in enumerate(message.frames, first):
            if not any(offset <= last for last in earlier.values()):
                seen = self.retained.setdefault((epoch, offset), frame)
                assert seen == frame, f"two frames at {epoch}:{offset}"

    # The uplinks.

    def hello(self, machine: Machine) -> None:
        """Say hello, if the machine is no member."""
        if machine.joined is None and machine.deaf:
            self.deliver(machine, machine.gateway.cut_off())
        elif machine.joined is None:
            machine.until = self.server.now + 5000
            name = f"{machine.name}~{self.started:04x}{self.server.calls['hello']:04x}"
            machine.joined = self.server.hello(name, machine.name, machine.name, "site")
            machine.turn = None
            machine.run = self.server.runs
            answers = machine.gateway.joined(machine.joined, self.server.now - 77)
            self.deliver(machine, answers)

    def removed(self, machine: Machine, is_cut_off: bool = True) -> None:
        self.faults += 1
        machine.joined = machine.turn = None
        if is_cut_off:
            self.deliver(machine, machine.gateway.cut_off())

    def is_connected(self, machine: Machine) -> bool:
        """Whether the machine reaches the server. It notices here that this is another one."""
        if machine.joined is None or machine.deaf:
            return False
        if machine.run != self.server.runs:
            self.removed(machine, is_cut_off=False)  # hello may succeed at once
            return False
        return True

    def write(self, machine: Machine, answer_is_lost: bool = False) -> None:
        joined = machine.joined
        if joined is None or not self.is_connected(machine):
            return
        if machine.turn is None:
            machine.turn = machine.gateway.take_turn()
        if machine.turn is None:
            return
        try:
            refused = self.server.write(joined.generation, joined.member, machine.turn)
        except EngineFull:
            return
        except EngineError:
            self.removed(machine)
            return
        if not answer_is_lost:
            machine.turn = None
            self.deliver(machine, machine.gateway.turn_written(refused))

    def read(self, machine: Machine, log_count: int = 1000, inbox_count: int = 1000) -> None:
        joined, gateway = machine.joined, machine.gateway
        if joined is None or not self.is_connected(machine):
            return
        ids = gateway.applied, gateway.read_inbox
        log, inbox = self.server.read(joined.generation, joined.member, *ids)
        try:
            self.deliver(machine, gateway.read([], inbox[:inbox_count]).messages)
            for entry in log[:log_count]:
                self.deliver(machine, gateway.read([entry], []).messages)
                self.check_digest(machine)
        except EngineError:
            self.removed(machine)

    def check_digest(self, machine: Machine) -> None:
        gateway = machine.gateway
        if gateway.state == "joined" and machine.joined is not None:
            digest = gateway.digest()
            key = (machine.joined.generation, gateway.retained.epoch, gateway.applied)
            assert self.digests.setdefault(key, digest) == digest, (machine.name, key)

    def beat(self, machine: Machine) -> None:
        joined, gateway = machine.joined, machine.gateway
        if joined is None:
            return
        if self.is_connected(machine):
            ids = gateway.applied, gateway.read_inbox
            try:
                now = self.server.beat(joined.generation, joined.member, *ids)
            except EngineError:
                self.removed(machine)
                return
            machine.until = self.server.now + 5000
            gateway.clock(now, now - 77)
            gateway.retry()
        elif machine.joined is not None and self.server.now >= machine.until:
            self.removed(machine)

    # Faults.

    def crash(self, machine: Machine) -> None:
        """Replace the gateway. The nodes connect to the new one."""
        self.faults += 1
        self.dropped.update(machine.gateway.dropped)
        machine.start()
        for node in machine.nodes.values():
            self.cut(node)

    def set_deaf(self, machine: Machine, deaf: bool) -> None:
        """Cut a machine off from the engine, or connect it again."""
        machine.deaf = deaf

    def restart_engine(self) -> None:
        self.faults += 1
        self.saved = None
        self.server.restart()

    def save_engine(self) -> None:
        self.saved = self.server.save()

    def fail_over(self) -> None:
        if self.saved is not None:
            self.faults += 1
            self.server.fail_over(self.saved)
            self.saved = None

    def advance(self, milliseconds: int) -> None:
        """Let time pass, and all uplinks beat each second."""
        while milliseconds > 0:
            self.server.now += min(1000, milliseconds)
            milliseconds -= 1000
            for machine in self.machines:
                self.beat(machine)

    # The end of faults.

    def round(self) -> None:
        for machine in self.machines:
            self.hello(machine)
            self.write(machine)
            self.read(machine)
        for node in self.nodes:
            self.carry_up(node, 1000)
            self.carry_down(node, 1000)

    def settle(self) -> None:
        for machine in self.machines:
            machine.deaf = False
        for _ in range(12):
            self.round()
            self.advance(1000)
        for _ in range(200):
            before = self.progress()
            for _ in range(4):
                self.round()
            self.advance(300)
            if self.progress() == before:
                break
        else:
            raise AssertionError("the machines do not come to rest")
        self.check_agreement()

    def progress(self) -> Any:
        return (
            [(each.gateway.state, each.gateway.applied, each.joined) for each in self.machines],
            [(node.name, len(node.up), len(node.down), node.number) for node in self.nodes],
        )

    def check_agreement(self) -> None:
        gateways = [machine.gateway for machine in self.machines]
        assert {gateway.state for gateway in gateways} == {"joined"}
        assert len({(each.applied, each.digest()) for each in gateways}) == 1
        assert all(gateway.queued_bytes == 0 for gateway in gateways)
        names = {node.name for node in self.nodes}
        for gateway in gateways:
            others = {each.name for each in self.machines if each.name != gateway.machine}
            assert set(gateway.machines) == others
        wanted = {node.name: node.wanted for node in self.nodes}
        for node in self.nodes:
            assert node.welcomed
            views = {name: wanted[name] for name in names - {node.name}}
            assert node.view == views, (node.name, node.view, views)
            assert not node.unacknowledged
            kept = gateways[0].retained.get(TOPIC)
            if kept is not None:
                assert node.kept is not None
                assert (node.kept.offset, node.kept.frames[-1]) == (kept.offset, kept.frames[-1])
        waiting = Counter(
            barrier for node in self.nodes for barrier, tokens in node.waiting.items() if tokens
        )
        for barrier, count in waiting.items():
            expected = max(node.expected.get(barrier, 0) for node in self.nodes)
            assert count < expected, f"{barrier} was not released"
