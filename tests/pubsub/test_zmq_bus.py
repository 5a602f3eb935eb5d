"""A node's link to the broker, over real sockets."""

import gc
import os
from typing import Any

import zmq
from twisted.trial.unittest import SynchronousTestCase

from cluster.broker import queues
from cluster.core import wire
from cluster.core.wire.batches import encode_batch
from cluster.net import zmq_socket
from cluster.pubsub import zmq_bus as module
from cluster.pubsub.zmq_bus import ZmqBus
from tests.fakes import RecordingReceiver
from tests.pubsub.links import LinksTestCase, kill, pause, reactor, unpause


class LinkTests(LinksTestCase):
    """Two nodes and a broker."""

    async def test_hello_and_welcome(self) -> None:
        self.start_broker()
        bus, receiver = self.start_bus("a")
        self.assertFalse(bus.is_up)
        bus.send(wire.NodeSubscriptions("a", (b"t",)))  # ignored before Welcome; sent in bus_up
        await self.until(lambda: bus.is_up)
        (welcome,) = receiver.events
        self.assertEqual(welcome.nodes, ())
        other, other_receiver = self.start_bus("b")
        await self.until(lambda: other.is_up)
        self.assertEqual(other_receiver.events, [wire.Welcome(welcome.epoch, ("a",))])
        await self.until(lambda: len(receiver.events) > 1)
        self.assertEqual(receiver.events[1:], [wire.Joined("b")])

    async def test_the_broker_may_start_later(self) -> None:
        bus, _ = self.start_bus("a")
        self.start_broker()
        await self.until(lambda: bus.is_up)

    def test_a_malformed_address(self) -> None:
        bus = ZmqBus("a", "nowhere", reactor)
        self.assertRaises(zmq.ZMQError, bus.start, RecordingReceiver())
        self.assertTrue(bus._context.closed)  # an open context blocks in garbage collection
        bus.stop()

    async def test_messages_and_batches(self) -> None:
        self.start_broker()
        (a, _), (_, b_receiver) = await self.buses("a", "b")
        a.send(wire.NodeSubscriptions("a", (b"t",)))
        a.send_batch("b", b"a batch")
        await self.until(lambda: len(b_receiver.events) == 2)
        self.assertEqual(
            b_receiver.events, [wire.NodeSubscriptions("a", (b"t",)), ("a", b"a batch")]
        )

    async def test_stop_sends_goodbye(self) -> None:
        self.start_broker()
        (a, _), (_, b_receiver) = await self.buses("a", "b")
        a.stop()
        a.stop()
        await self.until(lambda: b_receiver.events == [wire.Left("a", ended=True)])

    async def test_a_killed_node_leaves_at_once(self) -> None:
        self.start_broker()
        (a, _), (b, b_receiver) = await self.buses("a", "b")
        # The closed socket shows it: a missing heartbeat takes longer than the test's timeout.
        self.assertGreater(zmq_socket.HEARTBEAT_TIMEOUT_MS, self.timeout * 1000)
        kill(a)
        await self.until(lambda: b_receiver.events == [wire.Left("a")])
        b.send_batch("a", b"to no node")

    async def test_all_descriptors_are_closed(self) -> None:
        await self.until(lambda: True)  # the reactor has opened its own by now
        gc.collect()  # objects of other tests must not be closed in between
        before = set(reactor.getReaders()), os.listdir("/proc/self/fd")
        broker = self.start_broker()
        (a, _), (b, _) = await self.buses("a", "b")
        for bus in (a, b):
            bus.stop()
        self.stop_broker(broker)
        after = set(reactor.getReaders()), os.listdir("/proc/self/fd")
        self.assertEqual(after[0], before[0])
        self.assertEqual(len(after[1]), len(before[1]))

    async def test_ten_thousand_batches_in_order(self) -> None:
        """Ten times as many as ZeroMQ queues; the bus queues the rest until ZeroMQ has room."""
        self.patch(module, "HIGH_WATER", 10_000)
        self.patch(module, "LOW_WATER", 1_000)
        self.start_broker()
        (_, b_receiver) = (await self.buses("b"))[0]
        a, a_receiver = self.start_bus("a")
        await self.until(lambda: a.is_up)
        # So long that the kernel cannot buffer the batches that exceed ZeroMQ's two queues of
        # 1,000.
        batches = [b"batch %d " % n + bytes(1000) for n in range(10_000)]
        for batch in batches:
            a.send_batch("b", batch)
        self.assertIn("full", a_receiver.events)
        self.assertGreater(a.queued_bytes, 10_000)
        last = wire.NodeSubscriptions("a", (b"last",))
        a.send(last)
        await self.until(lambda: b_receiver.events[-1:] == [last])
        self.assertEqual(
            [event[1] for event in b_receiver.events if isinstance(event, tuple)], batches
        )
        await self.until(lambda: a_receiver.events[-2:] == ["full", "free"])
        self.assertEqual(a.queued_bytes, 0)
        self.assertEqual(a.dropped, {})

    async def test_batches_that_are_queued_when_the_broker_dies_are_forgotten(self) -> None:
        self.patch(zmq_socket, "HIGH_WATER_MESSAGES", 10)
        self.patch(module, "HIGH_WATER", 10_000)
        self.patch(module, "LOW_WATER", 1_000)
        broker = self.start_broker()
        (a, a_receiver), _ = await self.buses("a", "b")
        for n in range(100):
            a.send_batch("b", b"%4d" % n + bytes(40_000))
        self.stop_broker(broker)
        await self.until(lambda: not a.is_up)
        self.assertEqual(a_receiver.events, ["full", "down", "free"])
        self.assertEqual(a.queued_bytes, 0)


class BackpressureTests(LinksTestCase):
    """A node that does not read."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(zmq_socket, "HIGH_WATER_MESSAGES", 10)
        self.patch(queues, "HIGH_WATER", 2_000_000)  # more than kernel and ZeroMQ queue
        self.patch(queues, "LOW_WATER", 100_000)

    async def flood(self, until: Any, may_send: Any = lambda: True) -> int:
        """Send batches to b while ``may_send()``, until ``until()``; returns their number."""
        sent = 0

        def more() -> bool:
            nonlocal sent
            if until():
                return True
            if self.a.queued_bytes < 100_000 and may_send():
                sent += 1
                self.a.send_batch("b", encode_batch(sent, [b"t", bytes(20_000)]))
            reactor.callLater(0, self.changed)
            return False

        await self.until(more)
        return sent

    async def test_the_other_nodes_receive_congested_and_then_cleared(self) -> None:
        broker = self.start_broker()
        (self.a, a_receiver), (b, b_receiver), (_, c_receiver) = await self.buses("a", "b", "c")
        pause(b)
        congested = wire.Congested("b")
        # Node a pauses while the queue is full, like a node that stops reading from its clients.
        sent = await self.flood(
            lambda: congested in a_receiver.events and congested in c_receiver.events,
            lambda: broker.stats()["queue_bytes"] <= 2_000_000,
        )
        self.assertLess(broker.stats()["queue_bytes"], 3_000_000)
        _, d_receiver = self.start_bus("d")  # a node that joins now must receive Congested, too
        await self.until(lambda: congested in d_receiver.events)
        unpause(b)
        cleared = wire.Cleared("b")
        await self.until(lambda: cleared in a_receiver.events and cleared in c_receiver.events)
        await self.until(
            lambda: len([e for e in b_receiver.events if isinstance(e, tuple)]) == sent
        )
        batches = [event for event in b_receiver.events if isinstance(event, tuple)]
        self.assertEqual(
            batches, [("a", encode_batch(n, [b"t", bytes(20_000)])) for n in range(1, sent + 1)]
        )
        # b has all of its batches; messages to d may still be queued for a moment.
        await self.until(lambda: broker.stats()["queue_bytes"] == 0)
        self.assertEqual(broker.stats()["messages_dropped"], {})
        self.assertEqual(c_receiver.events, [congested, wire.Joined("d"), cleared])

    async def test_a_node_that_does_not_read_is_disconnected_and_rejoins(self) -> None:
        self.patch(queues, "STALLED", 4_000_000)
        broker = self.start_broker()
        (self.a, a_receiver), (b, b_receiver) = await self.buses("a", "b")
        pause(b)
        await self.flood(lambda: wire.Left("b") in a_receiver.events)
        stats = broker.stats()
        self.assertEqual(stats["nodes"], 1)
        self.assertGreater(stats["messages_dropped"]["node_stalled"], 10)
        self.assertLess(stats["queue_bytes"], 1000)
        unpause(b)  # it receives the request for a Hello, although it sends nothing
        await self.until(lambda: wire.Joined("b", returning=True) in a_receiver.events)
        await self.until(lambda: isinstance(b_receiver.events[-1], wire.Welcome))
        self.assertEqual(b_receiver.events[-2], "down")
        self.assertTrue(b.is_up)

    async def test_a_node_that_dies_while_batches_wait_for_it(self) -> None:
        broker = self.start_broker()
        (self.a, a_receiver), (b, _) = await self.buses("a", "b")
        pause(b)
        await self.flood(lambda: wire.Congested("b") in a_receiver.events)
        kill(b)
        await self.until(lambda: wire.Left("b") in a_receiver.events)
        self.assertEqual(broker.stats()["queue_bytes"], 0)
        self.assertGreater(broker.stats()["messages_dropped"]["node_gone"], 50)


class AnotherBrokerTests(LinksTestCase):
    """Nodes whose broker is a socket that the test reads and writes itself."""

    def bind(self) -> "zmq.Socket[bytes]":
        context: zmq.Context[Any] = zmq.Context()
        self.addCleanup(context.destroy, linger=0)
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.LINGER, 1000)
        socket.setsockopt(zmq.RCVTIMEO, 60_000)
        socket.bind(self.address)
        return socket

    async def hello(self, socket: "zmq.Socket[bytes]", returning: bool = False) -> None:
        """Wait for a Hello, while the reactor runs."""
        await self.until(lambda: self.has_message(socket))
        hello = wire.Hello(returning=returning)
        self.assertEqual(socket.recv_multipart(), [b"a", wire.encode(hello)])

    def has_message(self, socket: "zmq.Socket[bytes]") -> bool:
        if socket.poll(0):
            return True
        reactor.callLater(0, self.changed)
        return False

    async def welcomed(self, socket: "zmq.Socket[bytes]", *messages: wire.Message) -> None:
        await self.hello(socket)
        for message in (wire.Welcome("x", ("b",)), *messages):
            socket.send_multipart([b"a", wire.encode(message)])

    async def test_malformed_messages_are_dropped_and_counted(self) -> None:
        socket = self.bind()
        bus, receiver = self.start_bus("a")
        await self.welcomed(socket)
        for data in (b"?", b"J", b"J\x01\x00\x00\x00\xff\xff\xff\xff", os.urandom(100)):
            socket.send_multipart([b"a", data])
        socket.send_multipart([b"a", wire.BATCH + b"\xff", b"of a malformed name"])
        socket.send_multipart([b"a", b""])  # a probe of the broker
        socket.send_multipart([b"a", wire.encode(wire.Joined("c"))])
        await self.until(lambda: wire.Joined("c") in receiver.events)
        self.assertEqual(receiver.events[1:], [wire.Joined("c")])
        self.assertEqual(bus.dropped, {"malformed": 5})

    async def test_hello_is_sent_again_on_request(self) -> None:
        socket = self.bind()
        bus, receiver = self.start_bus("a")
        await self.welcomed(socket, wire.UnknownNode())
        await self.hello(socket, returning=True)
        self.assertFalse(bus.is_up)
        self.assertEqual(receiver.events, [wire.Welcome("x", ("b",)), "down"])
        socket.send_multipart([b"a", wire.encode(wire.Welcome("x", ()))])
        await self.until(lambda: bus.is_up)

    async def test_an_unexpected_welcome_is_ignored(self) -> None:
        socket = self.bind()
        _, receiver = self.start_bus("a")
        await self.welcomed(socket, wire.Welcome("y", ()), wire.Joined("c"))
        await self.until(lambda: wire.Joined("c") in receiver.events)
        self.assertEqual(receiver.events, [wire.Welcome("x", ("b",)), wire.Joined("c")])

    async def test_the_bus_stays_down_after_a_rejection(self) -> None:
        socket = self.bind()
        bus, receiver = self.start_bus("a")
        await self.hello(socket)
        socket.send_multipart([b"a", wire.encode(wire.Rejected("of another version"))])
        socket.send_multipart([b"a", wire.encode(wire.Joined("c"))])
        await self.until(lambda: wire.Joined("c") in receiver.events)
        self.assertFalse(bus.is_up)

    async def test_messages_of_a_dead_broker_are_not_delivered_after_the_next_welcome(self) -> None:
        first = self.bind()
        bus, receiver = self.start_bus("a")
        await self.welcomed(first)
        await self.until(lambda: bus.is_up)
        # The node hangs from here on: the reactor does not run during this function.
        for n in range(300):
            first.send_multipart([b"a", wire.encode(wire.Left(f"old {n}"))])
        first.send_multipart([b"a", wire.encode(wire.Welcome("x", ("stale",)))])
        first.close()
        # The thread of the old context sends all messages within the linger time. Then another
        # broker starts.
        second = self.bind()
        connections = second.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.assertTrue(connections.poll(60_000))
        await self.hello(second, returning=True)
        for message in (wire.Welcome("y", ()), wire.Joined("c")):
            second.send_multipart([b"a", wire.encode(message)])
        await self.until(lambda: wire.Joined("c") in receiver.events)
        self.assertEqual(receiver.events[-2:], [wire.Welcome("y", ()), wire.Joined("c")])
        self.assertNotIn(wire.Welcome("x", ("stale",)), receiver.events)
        connections.close()

    async def test_an_error_of_the_receiver_is_logged(self) -> None:
        socket = self.bind()
        _, receiver = self.start_bus("a")
        receiver.bus_batch = lambda origin, data: {}[origin]  # type: ignore[method-assign]
        await self.hello(socket)
        for parts in ([wire.BATCH + b"b", b"a batch"], [wire.encode(wire.Welcome("x", ()))]):
            socket.send_multipart([b"a", *parts])
        await self.until(lambda: receiver.events == [wire.Welcome("x", ())])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class FakeLink:
    """Accepts messages while there is ``room``."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.room = 100

    def send(self, parts: list[bytes]) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.sent.append(parts)
        return True

    def drain(self) -> None:
        self.sent.append("drained")


HELLO = [wire.encode(wire.Hello())]


class RefusalTests(SynchronousTestCase):
    """ZeroMQ may refuse any message at any time, even Hello."""

    def setUp(self) -> None:
        self.bus = ZmqBus("a", "ipc:///nowhere", None)
        self.receiver = RecordingReceiver()
        self.link = FakeLink()
        self.bus._receiver = self.receiver
        self.bus._link = self.link  # type: ignore[assignment]

    def test_hello_is_sent_when_the_socket_takes_it(self) -> None:
        self.link.room = 0
        self.bus._connected()
        self.bus._writable()
        self.assertEqual(self.link.sent, ["drained"])
        self.link.room = 2
        self.bus._writable()
        self.bus._writable()
        self.assertEqual(self.link.sent, ["drained", HELLO])
        self.bus._received([wire.encode(wire.Welcome("x", ()))])
        self.assertTrue(self.bus.is_up)

    def test_no_hello_is_sent_after_the_connection_is_lost(self) -> None:
        self.link.room = 0
        self.bus._connected()
        self.bus._lost()
        self.link.room = 1
        self.bus._writable()
        self.assertEqual(self.link.sent, ["drained"])

    def test_the_order_is_kept_when_messages_are_refused_in_between(self) -> None:
        self.bus._connected()
        self.bus._received([wire.encode(wire.Welcome("x", ("b",)))])
        self.link.room = 1
        for n in range(3):
            self.bus.send_batch("b", b"%d" % n)
        self.link.room = 1
        self.bus._writable()
        self.bus.send_batch("b", b"3")
        self.link.room = 9
        self.bus._writable()
        batches = [parts[1] for parts in self.link.sent[2:]]
        self.assertEqual(batches, [b"0", b"1", b"2", b"3"])
        self.assertEqual(self.bus.queued_bytes, 0)

    def test_nothing_is_delivered_after_stop(self) -> None:
        self.bus._receiver = None
        self.bus._received([wire.encode(wire.Welcome("x", ()))])
        self.assertEqual(self.receiver.events, [])
