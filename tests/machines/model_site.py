"""Nodes of two machines whose gateways share an engine in memory, without sockets and processes."""

import time
from collections import Counter, deque
from typing import Any

from cluster.core import wire
from cluster.core.machines.engine import Batch, Deliveries, GenerationChanged, Gone
from cluster.core.machines.gateway import Gateway
from tests.machines.bus_sites import SiteTestCase
from tests.machines.engine_model import ModelRedis
from tests.pubsub.links import reactor

MACHINES = "AB"


class ModelBus:
    """A bus of a node: two queues to the gateway of its machine."""

    def __init__(self, name: str, machine: "ModelMachine") -> None:
        self.name = name
        self.dropped: Counter[str] = Counter()
        self.queued_bytes = 0
        self.is_up = False
        self.sent: deque[Any] = deque()
        self._machine = machine
        self._receiver: Any = None
        self._queue: deque[Any] = deque()

    def start(self, receiver: Any) -> None:
        self._receiver = receiver
        self._machine.buses[self.name] = self
        self._put(wire.Hello())

    def stop(self) -> None:
        if self._receiver is not None:
            self._put(wire.Goodbye())
            self._receiver = None
            self.is_up = False

    def send(self, message: wire.Message) -> None:
        if self.is_up:
            self._put(message)

    def send_batch(self, node: str, data: bytes) -> None:
        self._put((node, data))

    def _put(self, item: Any) -> None:
        self.sent.append(item)
        self._machine.site.wake()

    def deliver(self, item: Any) -> None:
        """Pass a message of the gateway to the node."""
        if self._receiver is None:
            return
        if isinstance(item, Batch):
            self._receiver.bus_batch(item.origin, item.data)
        elif isinstance(item, wire.Welcome):
            self.is_up = True
            self._receiver.bus_up(item)
        elif isinstance(item, wire.UnknownNode):
            if self.is_up:
                self.is_up = False
                self._receiver.bus_down()
            self._put(wire.Hello())
        else:
            self._receiver.bus_message(item)


class ModelMachine:
    """A gateway, what connects it with the engine, and the buses of its nodes."""

    def __init__(self, name: str, site: "ModelMachines") -> None:
        self.name = name
        self.site = site
        self.gateway = Gateway(name, f"epoch of {name}")
        self.buses: dict[str, ModelBus] = {}
        self._lives = 0
        self._generation = self._member = ""

    def step(self) -> None:
        """Pass everything on that waits: of the nodes, to the engine and from it."""
        for bus in list(self.buses.values()):
            sent, bus.sent = bus.sent, deque()
            for item in sent:
                self._from_node(bus.name, item)
        if self.site.stands_still:
            return
        try:
            if not self._member:
                self._join()
            self._exchange()
        except (Gone, GenerationChanged):
            self._member = ""
            self._deliver(self.gateway.cut_off())
            self.site.wake()

    def _from_node(self, node: str, item: Any) -> None:
        if not isinstance(item, tuple):
            self._deliver(self.gateway.receive(node, item, self.site.now))
            return
        destination, data = item
        if destination in self.buses:
            self._deliver([(destination, Batch(node, data))])
        else:
            self.gateway.send_batch(node, destination, data)
            self._deliver(self.gateway.take_notices())

    def _join(self) -> None:
        self._lives += 1
        self._member = f"{self.name}~{self._lives:08x}"
        joined = self.site.server.hello(self._member, self.name, f"owner of {self.name}", "site")
        self._generation = joined.generation
        self._deliver(self.gateway.joined(joined, self.site.now))

    def _exchange(self) -> None:
        server, where = self.site.server, (self._generation, self._member)
        while (turn := self.gateway.take_turn()) is not None:
            self._deliver(self.gateway.turn_written(server.write(*where, turn)))
            self.site.wake()  # for those that read it
        read = self.gateway.applied, self.gateway.read_inbox
        self.gateway.clock(server.beat(*where, *read), self.site.now)
        log, inbox = server.read(*where, *read)
        if log or inbox:
            self._deliver(self.gateway.read(log, inbox))
            self.site.wake()

    def _deliver(self, found: Any) -> None:
        for node, message in found.messages if isinstance(found, Deliveries) else found:
            if node in self.buses:
                self.buses[node].deliver(message)


class ModelMachines:
    """Machines on one engine. Each turn of the event loop every machine does what it can."""

    def __init__(self) -> None:
        self.server = ModelRedis()
        self.stands_still = False
        self.machines = [ModelMachine(name, self) for name in MACHINES]
        self._scheduled: Any = None

    @property
    def now(self) -> int:
        """Unix time in milliseconds."""
        return int(time.time() * 1000)

    def wake(self) -> None:
        """Let all machines make a step in the next turn."""
        if self._scheduled is None:
            self._scheduled = reactor.callLater(0, self._step)

    def stop(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()

    def _step(self) -> None:
        self._scheduled = None
        self.server.now = self.now
        for machine in self.machines:
            machine.step()


class ModelSite(SiteTestCase):
    """Two machines on an engine in memory."""

    async def start_site(self) -> None:
        self.site = ModelMachines()
        self.addCleanup(self.site.stop)
        self.site.wake()

    def node_name(self, number: int) -> str:
        return f"node{number}@{MACHINES[number % len(MACHINES)]}"

    def make_bus(self, name: str, number: int) -> Any:
        return ModelBus(name, self.site.machines[number % len(MACHINES)])

    async def restart_engine(self) -> None:
        self.site.server.restart()
        self.site.wake()

    def stop_engine(self) -> None:
        self.site.stands_still = True

    def continue_engine(self) -> None:
        self.site.stands_still = False
        self.site.wake()
