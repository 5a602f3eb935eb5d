"""Brokers and nodes with real links (ipc) in a temporary folder, and ways to wait for them."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from cluster.broker.broker import Broker
from cluster.core import wire
from cluster.net import zmq_socket
from cluster.net.bus_keys import BusKeys
from cluster.net.zmq_socket import ZmqSocket
from cluster.pubsub import remote_nodes
from cluster.pubsub.pubsub import PubSub
from cluster.pubsub.zmq_bus import ZmqBus
from tests.fakes import RecordingConnection, RecordingReceiver

reactor: Any = _reactor


class Frames(list[bytes]):
    """The queue of a connection that calls back when a frame arrives."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed

    def append(self, frame: bytes) -> None:
        super().append(frame)
        self._changed()


class _ObservedReceiver:
    """A receiver that calls back after each call of the real one."""

    def __init__(self, receiver: Any, changed: Callable[[], None]) -> None:
        self._receiver = receiver
        self._changed = changed

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> None:
            getattr(self._receiver, name)(*args)
            self._changed()

        return call


class BusNode:
    """PubSub on a bus, flushed in each turn in which something is published."""

    def __init__(self, bus: Any, changed: Callable[[], None]) -> None:
        self.bus = bus
        self.published: list[Any] = []
        self.pubsub = PubSub(bus, self.published, self._schedule, reactor)
        self._changed = changed
        self._scheduled: Any = None
        bus.start(_ObservedReceiver(self.pubsub, changed))

    def connect(self, *topics: bytes) -> RecordingConnection:
        """Return a connection that is subscribed to these topics."""
        connection = RecordingConnection()
        connection.out = Frames(self._changed)
        for topic in topics:
            self.pubsub.subscribe(connection, topic)
        return connection

    def stop(self) -> None:
        """Leave the bus, as a node that was stopped."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        self.pubsub.stop()

    def _schedule(self) -> None:
        if self._scheduled is None:
            self._scheduled = reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        self._scheduled = None
        self.published.clear()  # connections of tests send nothing
        self.pubsub.flush()
        self._changed()


class LinkedNode(BusNode):
    """A node on a ZmqBus."""

    bus: ZmqBus

    def __init__(self, name: str, address: str, changed: Callable[[], None]) -> None:
        super().__init__(ZmqBus(name, address, reactor), changed)

    def subscribe(self, *topics: bytes) -> list[bytes]:
        """Subscribe; returns the list to which arriving frames are added."""
        return self.connect(*topics).out


class Stranger:
    """A bare socket that sends anything to the broker, and records the answers."""

    def __init__(self, address: str, changed: Callable[[], None], identity: bytes) -> None:
        self.answers: list[list[bytes]] = []
        self._changed = changed
        self._context: zmq.Context[Any] = zmq.Context()
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.ROUTING_ID, identity)
        socket.connect(address)
        self.link = ZmqSocket(reactor, socket, self._received)
        self.link.start()

    def send(self, *parts: bytes) -> None:
        assert self.link.send(parts)

    def _received(self, parts: list[bytes]) -> None:
        self.answers.append(parts)
        self._changed()

    def stop(self) -> None:
        self.link.close()
        self._context.term()


class LinksTestCase(TestCase):
    """Stops everything that was started, at the end of the test."""

    timeout = 120

    def setUp(self) -> None:
        # Longer than any test: on a busy machine ZeroMQ's threads may not run for 3 s, and nodes
        # would leave and rejoin, which these tests do not expect.
        self.patch(zmq_socket, "HEARTBEAT_TIMEOUT_MS", 10 * 1000 * self.timeout)
        # For the same reason, extend the time for which nodes wait for each other to rejoin.
        self.patch(remote_nodes, "REJOIN_TIMEOUT_S", 10 * self.timeout)
        # Not mktemp(): an ipc address has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.address = f"ipc://{self.folder}/broker.ipc"
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def start_broker(self, keys: BusKeys | None = None, history: str = "") -> Broker:
        broker = Broker(self.address, reactor, keys, history)
        broker.startService()
        self.addCleanup(self.stop_broker, broker)
        return broker

    def stop_broker(self, broker: Broker) -> None:
        """Stop a broker without Goodbye, as if it were killed."""
        if broker.running:
            broker.stopService()

    def start_bus(self, name: str, keys: BusKeys | None = None) -> tuple[ZmqBus, RecordingReceiver]:
        bus = ZmqBus(name, self.address, reactor, keys)
        receiver = RecordingReceiver(lambda event: self.changed())
        bus.start(receiver)
        self.addCleanup(bus.stop)
        return bus, receiver

    def start_node(self, name: str) -> LinkedNode:
        node = LinkedNode(name, self.address, self.changed)
        self.addCleanup(node.stop)
        return node

    def start_stranger(self, identity: bytes = b"stranger") -> Stranger:
        stranger = Stranger(self.address, self.changed, identity)
        self.addCleanup(stranger.stop)
        return stranger

    async def nodes(self, *names: str) -> list[LinkedNode]:
        """Start nodes, and wait until they know each other."""
        nodes = [self.start_node(name) for name in names]
        await self.until(
            lambda: all(len(node.pubsub.remote_nodes.names) == len(names) - 1 for node in nodes)
        )
        return nodes

    async def buses(self, *names: str) -> list[tuple[ZmqBus, RecordingReceiver]]:
        """Start buses, wait until their receivers know each other, then clear the events."""
        buses: list[tuple[ZmqBus, RecordingReceiver]] = []
        for name in names:
            bus, receiver = self.start_bus(name)
            await self.until(lambda bus=bus: bus.is_up)
            joined = wire.Joined(name)
            for _, other in buses:
                await self.until(lambda events=other.events, joined=joined: joined in events)
            buses.append((bus, receiver))
        for _, receiver in buses:
            receiver.events.clear()
        return buses

    def until(self, is_so: Callable[[], bool]) -> "Deferred[None]":
        """Fires when ``is_so`` returns True; it is called after each event."""
        so: Deferred[None] = Deferred()
        self._waiting.append((is_so, so))
        self.changed()
        return so

    def polled(self, is_so: Any) -> Any:
        """Test a condition that has no event in each turn of the event loop."""

        def poll() -> bool:
            if is_so():
                return True
            reactor.callLater(0, self.changed)
            return False

        return poll

    def changed(self) -> None:
        for entry in self._waiting[:]:
            if entry[0]():
                self._waiting.remove(entry)
                # In the next turn: the waiting test may stop the object that is calling this
                # method.
                reactor.callLater(0, entry[1].callback, None)


def pause(bus: ZmqBus) -> None:
    """Stop reading from the bus, like a process that hangs."""
    reactor.removeReader(bus._link)


def unpause(bus: ZmqBus) -> None:
    bus._link.start()


def kill(bus: ZmqBus) -> None:
    """Close without Goodbye, like a process that is killed."""
    bus._monitor.close()
    bus._link.close()
    bus._context.term()
    bus._receiver = None
