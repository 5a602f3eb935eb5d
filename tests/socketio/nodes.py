"""Nodes on one exchange, in the event loop of a test, and clients that record what they receive."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from cluster.core import wire
from cluster.core.broker_state.exchange import Exchange
from cluster.core.socketio.packets import decode
from cluster.core.socketio.reassembly import Reassembly
from cluster.django.api.payloads import as_message
from cluster.pubsub.pubsub import PubSub
from cluster.socketio import SocketIO
from cluster.socketio.bus.addresses import server_topic
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.engine.registry import sessions
from cluster.testing.loop_reactor import LoopReactor

EVENT_TYPES = (2, 5)
ACK_TYPES = (3, 6)


class ExchangeBus:
    """A bus to an exchange in this process; messages are delivered in later turns of the loop."""

    is_up = False
    queued_bytes = 0

    def __init__(self, name: str, cluster: "Nodes") -> None:
        self.name = name
        self.dropped: Counter[str] = Counter()
        self.cluster = cluster
        self.receiver: Any = None

    def start(self, receiver: Any) -> None:
        self.receiver = receiver
        self.is_up = True
        self.send(wire.Hello())

    def stop(self) -> None:
        self.receiver = None
        self.is_up = False

    def send(self, message: wire.Message) -> None:
        now = int(time.time() * 1000)
        for name, answer in self.cluster.exchange.receive(self.name, message, now):
            self.cluster.soon(name, answer)

    def send_batch(self, node: str, data: bytes) -> None:
        self.cluster.soon(node, (self.name, data))

    def deliver(self, item: Any) -> None:
        if self.receiver is None:
            return
        if isinstance(item, tuple):
            self.receiver.bus_batch(*item)
        elif isinstance(item, wire.Welcome):
            self.receiver.bus_up(item)
        else:
            self.receiver.bus_message(item)


class Node:
    """A node: topics on the bus of a cluster."""

    node_name = "node"
    ask_supervisor = None

    def __init__(self, name: str, cluster: "Nodes") -> None:
        self.reactor: Any = LoopReactor(asyncio.get_running_loop())
        self.bus = ExchangeBus(name, cluster)
        self.is_scheduled = False
        self.pubsub = PubSub(self.bus, [], self.schedule, self.reactor)
        self.thread = threading.get_ident()
        self.pubsub.start()

    def schedule(self) -> None:
        if not self.is_scheduled:
            self.is_scheduled = True
            self.reactor.callLater(0, self.flush)

    def flush(self) -> None:
        self.is_scheduled = False
        self.pubsub.flush()

    def is_reactor_thread(self) -> bool:
        return threading.get_ident() == self.thread

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.is_reactor_thread():
            return function(*args)
        done = asyncio.run_coroutine_threadsafe(_call(function, args), self.reactor._loop)
        return done.result()


async def _call(function: Callable[..., Any], args: Any) -> Any:
    return function(*args)


class Nodes:
    """A cluster: ``await start(namespaces)`` for each node."""

    def __init__(self) -> None:
        self.exchange = Exchange("test")
        self.nodes: dict[str, Node] = {}
        self.started = 0
        sessions.end_of_turn = SimpleNamespace(  # type: ignore[assignment]
            published=[], schedule_published=lambda: None
        )

    def soon(self, name: str, item: Any) -> None:
        node = self.nodes.get(name)
        if node is not None:
            asyncio.get_running_loop().call_soon(node.bus.deliver, item)

    async def start(self, namespaces: Any, **options: Any) -> "NodeServer":
        name = f"n{self.started}"
        self.started += 1
        node = Node.__new__(Node)
        self.nodes[name] = node
        node.__init__(name, self)  # type: ignore[misc]
        server = NodeServer(namespaces, **options)
        server.made = NodeLink(node, server.name, server.namespaces, server.recovery)
        topic = server_topic(server.name)
        node.pubsub.listen(topic, lambda frame: server.take(as_message(frame)))
        await turns()
        return server

    def stop(self) -> None:
        for node in self.nodes.values():
            node.pubsub.stop()


class NodeServer(SocketIO):
    """A server on a node of its own."""

    made: NodeLink

    def link(self) -> NodeLink | None:
        return self.made

    def client(self, **request: Any) -> "RecordingClient":
        """A new client of this node."""
        client = RecordingClient(**request)
        self._on_client(client)  # type: ignore[arg-type]
        return client

    @property
    def dropped(self) -> dict[str, int]:
        """What was dropped and refused, by reason."""
        return dict(self.made.pubsub.dropped)


class RecordingClient:
    """An EngineClient; ``sent`` has what the server sent, decoded."""

    connection: Any = None
    queued_bytes = 0
    transport_name = "websocket"
    address = "127.0.0.1"
    writable = True

    def __init__(self, **request: Any) -> None:
        self.sid = "engine"
        self.request: Any = SimpleNamespace(user="anna", session={}, user_key="7", **request)
        self.sent: list[tuple[Any, ...]] = []
        self.packets: list[OutPacket] = []
        self.paused: list[str] = []
        self.on_message: Callable[[bytes, bool], None]
        self.on_close: Callable[[str], None]
        self.on_closing: Callable[[], None]
        self.closed: str | None = None
        self._last_id = 0

    # For the server.

    @property
    def is_open(self) -> bool:
        return self.closed is None

    def send(self, packet: OutPacket) -> None:
        if self.closed is not None:
            return
        assert packet.text[:1] == b"4"
        self.packets.append(packet)
        found = decode(packet.text[1:])
        if found.attachments:
            reassembly = Reassembly(found)
            for data in packet.attachments:
                whole = reassembly.attachment(data)
            assert whole is not None
            found = whole
        self.sent.append((found.type, found.namespace, found.data, found.id))

    def send_volatile(self, packet: OutPacket) -> bool:
        if self.writable:
            self.send(packet)
        return self.writable

    def pause(self, why: str) -> None:
        self.paused.append(why)

    def resume(self, why: str) -> None:
        self.paused.remove(why)

    def close(self, reason: str = "forced close") -> None:
        if self.closed is None:
            self.closed = reason
            self.on_close(reason)

    # For tests.

    def receive(self, text: str, *attachments: bytes) -> None:
        """The client sends a packet."""
        self.on_message(text.encode(), False)
        for data in attachments:
            self.on_message(data, True)

    async def connect(self, namespace: str = "/", auth: Any = None) -> "Connected":
        """Connect to a namespace."""
        before = len(self.sent)
        prefix = "" if namespace == "/" else namespace + ","
        self.receive(f"0{prefix}" + ("" if auth is None else json.dumps(auth)))
        answers: list[Any] = []

        def answered() -> bool:
            answers[:] = [each for each in self.sent[before:] if each[0] in (0, 4)]
            return bool(answers)

        await until(answered)
        return Connected(self, namespace, prefix, answers[0])

    def take(self) -> list[tuple[Any, ...]]:
        """What was sent since the last call."""
        sent, self.sent = self.sent, []
        return sent

    def events(self) -> list[Any]:
        """The events that were sent since the last call, without namespaces and ids."""
        return [data for kind, _, data, _ in self.take() if kind in EVENT_TYPES]


class Connected:
    """A client in a namespace."""

    def __init__(
        self, client: RecordingClient, namespace: str, prefix: str, answer: tuple[Any, ...]
    ) -> None:
        self.client = client
        self.namespace = namespace
        self.answer = answer
        self.prefix = prefix
        self.id = (self.answer[2] or {}).get("sid", "")

    def emit(self, *event: Any) -> None:
        """Emit an event without acknowledgement."""
        self.client.receive(f"2{self.prefix}{json.dumps(event)}")

    async def call(self, *event: Any) -> Any:
        """Emit an event, and wait for the acknowledgement."""
        self.client._last_id += 1
        number = self.client._last_id
        self.client.receive(f"2{self.prefix}{number}{json.dumps(event)}")
        found: list[Any] = []

        def answered() -> bool:
            found[:] = [each[2] for each in self.client.sent if each[0] in ACK_TYPES]
            return bool(found)

        await until(answered)
        self.client.sent = [each for each in self.client.sent if each[0] not in ACK_TYPES]
        return found[0]

    def acknowledge(self, number: int, *arguments: Any) -> None:
        """Acknowledge an event of the server."""
        self.client.receive(f"3{self.prefix}{number}{json.dumps(arguments)}")


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until a condition holds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    async with asyncio.timeout(5):  # a thread or a timer is at work
        while not condition():
            await asyncio.sleep(0.001)


async def turns(count: int = 30) -> None:
    """Let the event loop run, so that the nodes exchange what they have."""
    for _ in range(count):
        await asyncio.sleep(0)
