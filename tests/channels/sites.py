"""Where the tests of the specification run: one process, a node in memory, two nodes on a bus."""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from cluster.channels import ClusterChannelLayer
from cluster.core import wire
from cluster.core.broker_state.exchange import Exchange
from cluster.core.wire.external_publisher import Accepted, Publish
from cluster.django.api.publication import Counts, Done, Publication
from cluster.node.publishing.publications import ExternalPublications
from cluster.pubsub.pubsub import PubSub
from cluster.testing.loop_reactor import LoopReactor
from cluster.testing.memory_node import MemoryNode

EXPIRY, GROUP_EXPIRY, CAPACITY = 60, 1000, 5


class Site:
    """Layers of one site: ``sender`` sends and ``receiver`` receives. ``now``: their clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sender, self.receiver = self.layers()

    def layers(self) -> tuple[Any, Any]:
        """Return both layers, which may be the same."""
        layer = self.make_layer(lambda: None)
        return layer, layer

    def make_layer(self, node: Callable[[], Any], **options: Any) -> ClusterChannelLayer:
        return ClusterChannelLayer(
            **{"expiry": EXPIRY, "group_expiry": GROUP_EXPIRY, "capacity": CAPACITY, **options},
            channel_capacity={"small*": 1, "large.*": 2000},
            clock=lambda: self.now,
            node=node,
        )

    @property
    def is_one_process(self) -> bool:
        """Whether the sender is in the process of the receiver."""
        return self.sender is self.receiver

    async def settle(self) -> None:
        """Wait until everything that was sent has arrived."""
        for _ in range(20):
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Stop the nodes."""


class MemorySite(Site):
    """A node in memory, as applications' tests have it."""

    def layers(self) -> tuple[Any, Any]:
        node = MemoryNode.current()
        layer = self.make_layer(lambda: node)
        return layer, layer


class TwoNodesSite(Site):
    """Two nodes, and the exchange of a broker between them."""

    def layers(self) -> tuple[Any, Any]:
        self.wire = Wire()
        self.nodes = [LinkedNode(name, self.wire) for name in ("a", "b")]
        layers = [self.make_layer(lambda node=node: node) for node in self.nodes]
        return layers[0], layers[1]

    async def settle(self) -> None:
        await super().settle()
        while self.wire.calls:
            await super().settle()

    def stop(self) -> None:
        for node in self.nodes:
            node.pubsub.stop()


class ExternalTo:
    """The publish backend of a process without a node: one node takes its publications."""

    def __init__(self, node: "LinkedNode") -> None:
        self._publications = ExternalPublications(node.pubsub)

    def check(self) -> None:
        """Do nothing: the node is running."""

    def publish(self, publication: Publication) -> Counts:
        topic, frame, kept, _ = publication
        answer = self._publications.publish(Publish(topic, frame, kept.depth, kept.lifetime))
        assert isinstance(answer, Accepted)
        return answer.nodes, answer.connections

    def publish_later(self, publication: Publication, done: Done) -> None:
        done(self.publish(publication))


class Wire:
    """The links of all nodes, in order: each message arrives in a later turn of the loop."""

    def __init__(self) -> None:
        self.exchange = Exchange("epoch")
        self.buses: dict[str, WiredBus] = {}
        self.calls: deque[Callable[[], None]] = deque()
        self._loop = asyncio.get_running_loop()

    def later(self, call: Callable[[], None]) -> None:
        self.calls.append(call)
        self._loop.call_soon(lambda: self.calls.popleft()())


class WiredBus:
    """The bus of one node."""

    def __init__(self, name: str, wires: Wire) -> None:
        self.name = name
        self.dropped: Counter[str] = Counter()
        self.is_up = True
        self.queued_bytes = 0
        self.receiver: Any = None
        self._wire = wires
        wires.buses[name] = self

    def start(self, receiver: Any) -> None:
        self.receiver = receiver
        self.send(wire.Hello())

    def stop(self) -> None:
        self.is_up = False

    def send(self, message: wire.Message) -> None:
        self._wire.later(lambda: self._exchange(message))

    def send_batch(self, node: str, data: bytes) -> None:
        self._wire.later(
            lambda: self._wire.later(lambda: self._wire.buses[node].receive_batch(self.name, data))
        )

    def receive_batch(self, origin: str, data: bytes) -> None:
        if self.is_up:
            self.receiver.bus_batch(origin, data)

    def _exchange(self, message: wire.Message) -> None:
        for name, answer in self._wire.exchange.receive(self.name, message, 0):
            self._wire.later(lambda name=name, answer=answer: self._wire.buses[name].take(answer))

    def take(self, message: wire.Message) -> None:
        if not self.is_up:
            return
        if isinstance(message, wire.Welcome):
            self.receiver.bus_up(message)
        else:
            self.receiver.bus_message(message)


class LinkedNode:
    """A node: its topics, and its event loop."""

    def __init__(self, name: str, wires: Wire) -> None:
        self.node_name = name
        self.ask_supervisor = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._scheduled = False
        self.pubsub = PubSub(WiredBus(name, wires), [], self._schedule, LoopReactor(self._loop))
        self.pubsub.start()

    def is_reactor_thread(self) -> bool:
        return threading.get_ident() == self._thread

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.is_reactor_thread():
            return function(*args)

        async def call() -> Any:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def in_reactor_later(self, function: Callable[[], None]) -> None:
        if self.is_reactor_thread():
            function()
        else:
            self._loop.call_soon_threadsafe(function)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        self.pubsub.flush()
