"""A ZeroMQ socket in the reactor: nothing that came is overlooked, nothing is left behind."""

from collections import deque
from typing import Any

import zmq
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cluster.net import zmq_socket
from cluster.net.zmq_socket import BATCH, ZmqSocket, make_socket, monitor

reactor: Any = _reactor


class FakeSocket:
    """An edge-triggered socket: what has come is in ``messages``; ``room`` messages may be sent."""

    def __init__(self) -> None:
        self.messages: deque[list[bytes]] = deque()
        self.sent: list[list[bytes]] = []
        self.room = 100
        self.error: Exception | None = None
        self.lingers: list[int] = []

    def getsockopt(self, option: int) -> int:
        if option == zmq.FD:
            return 42
        return (zmq.POLLIN if self.messages else 0) | (zmq.POLLOUT if self.room else 0)

    def send_multipart(self, parts: list[bytes], flags: int) -> None:
        if self.error is not None:
            raise self.error
        if not self.room:
            raise zmq.Again
        self.room -= 1
        self.sent.append(parts)

    def recv_multipart(self, flags: int) -> list[bytes]:
        if not self.messages:
            raise zmq.Again
        return self.messages.popleft()

    def close(self, linger: int) -> None:
        self.lingers.append(linger)


class LinkTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.socket = FakeSocket()
        self.events: list[Any] = []
        self.link = self.make(lambda: self.events.append("writable"))

    def make(self, writable: Any = None) -> ZmqSocket:
        socket: Any = self.socket
        return ZmqSocket(self.reactor, socket, self.received, writable)

    def received(self, parts: list[bytes]) -> None:
        self.events.append(parts[0])

    def come(self, *messages: bytes) -> None:
        self.socket.messages += ([message] for message in messages)

    def assertIdle(self) -> None:
        """Nothing is left to look at."""
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ReceiveTests(LinkTestCase):
    def test_what_came_before_the_start_is_taken(self) -> None:
        """Its edge is gone."""
        self.come(b"1")
        self.link.start()
        self.assertEqual(self.reactor.getReaders(), [self.link])
        self.assertIdle()
        self.assertEqual(self.events, [b"1"])
        self.assertEqual((self.link.fileno(), self.link.logPrefix()), (42, "zmq"))

    def test_a_batch_and_then_others_have_their_turn(self) -> None:
        self.come(*[b"%d" % n for n in range(2 * BATCH + 1)])
        for expected in (BATCH, 2 * BATCH):
            self.link.doRead()
            self.assertEqual(len(self.events), expected)
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.assertIdle()
        self.assertEqual(len(self.events), 2 * BATCH + 1)

    def test_errors_are_logged_and_the_next_is_taken(self) -> None:
        self.received = lambda parts: self.events.append({b"fine": 1}[parts[0]])  # type: ignore
        link = self.make()
        self.come(b"bad", b"fine")
        link.doRead()
        self.assertEqual(self.events, [1])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_what_comes_while_the_last_is_handled(self) -> None:
        """Between the last receive and the look at EVENTS."""

        def writable() -> None:
            self.come(b"late")

        link = self.make(writable)
        self.socket.room = 0
        link.send([b"x"])
        self.socket.room = 1
        link.doRead()
        self.assertEqual(self.events, [])
        self.assertIdle()
        self.assertEqual(self.events, [b"late"])

    def test_drain_takes_more_than_a_batch(self) -> None:
        self.come(*[b"x"] * zmq_socket.HIGH_WATER_MESSAGES)
        self.link.drain()
        self.assertEqual(len(self.events), zmq_socket.HIGH_WATER_MESSAGES)
        self.assertIdle()


class SendTests(LinkTestCase):
    def test_sent_at_once(self) -> None:
        self.assertTrue(self.link.send([b"a", b"b"]))
        self.assertEqual(self.socket.sent, [[b"a", b"b"]])
        self.assertIdle()

    def test_refused_and_told_when_there_is_room(self) -> None:
        self.socket.room = 0
        self.assertFalse(self.link.send([b"a"]))
        self.link.doRead()
        self.assertEqual(self.events, [])
        self.socket.room = 1
        self.link.doRead()
        self.link.doRead()
        self.assertEqual(self.events, ["writable"])

    def test_nobody_to_tell(self) -> None:
        link = self.make()
        self.socket.room = 0
        self.assertFalse(link.send([b"a"]))
        self.socket.room = 1
        link.doRead()
        self.assertIdle()

    def test_a_send_swallows_the_edge_of_a_message(self) -> None:
        """Taken, refused or failed: each makes ZeroMQ look at its signals, once for all."""
        outcomes = [
            (1, None),
            (0, None),
            (1, zmq.ZMQError(zmq.EHOSTUNREACH)),
        ]
        for room, error in outcomes:
            self.come(b"1")
            self.socket.room, self.socket.error = room, error
            try:
                self.link.send([b"x"])
                self.link.send([b"x"])
            except zmq.ZMQError:
                self.assertIs(error, self.socket.error)
            self.assertEqual(self.events, [])
            self.assertIdle()
            self.assertEqual(self.events[:1], [b"1"])
            self.events.clear()

    def test_room_again_right_after_a_refusal(self) -> None:
        self.socket.error = zmq.Again()
        self.assertFalse(self.link.send([b"x"]))
        self.assertIdle()
        self.assertEqual(self.events, ["writable"])


class CloseTests(LinkTestCase):
    def test_nothing_is_delivered_any_more(self) -> None:
        self.link.start()
        self.come(b"1")
        self.link.close(linger_ms=7)
        self.link.close()
        self.link.doRead()
        self.assertEqual(self.socket.lingers, [7])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertIdle()
        self.assertEqual(self.events, [])

    def test_closed_by_who_receives(self) -> None:
        self.received = lambda parts: (self.events.append("last"), self.link.close())  # type: ignore
        self.link = self.make()
        self.come(b"1", b"2")
        self.link.doRead()
        self.assertEqual(self.events, ["last"])
        self.assertIdle()

    def test_closed_by_who_writes(self) -> None:
        link = self.make(lambda: link.close())
        self.socket.room = 0
        link.send([b"x"])
        self.socket.room = 1
        link.doRead()
        self.assertTrue(link.is_closed())

    def test_the_reactor_stops(self) -> None:
        self.link.start()
        self.link.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.socket.lingers, [0])
        self.assertIdle()


class SocketTests(TestCase):
    """Real sockets."""

    timeout = 120

    def setUp(self) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.addCleanup(self.context.destroy, linger=0)

    def forget_heartbeats(self) -> None:
        """ZeroMQ's threads may have to wait for their turn for longer on a busy machine."""
        self.patch(zmq_socket, "HEARTBEAT_TIMEOUT_MS", 10 * 1000 * self.timeout)

    async def test_more_than_zeromq_takes(self) -> None:
        """Both ends in one reactor, thousands of messages, none lost and no edge missed."""
        self.forget_heartbeats()
        total = 5_000
        received: list[bytes] = []
        done: Deferred[None] = Deferred()
        # Long enough that what both sockets and the kernel hold is less than all of them.
        messages = [b"%d " % n + bytes(8192) for n in range(total)]
        pending = deque(messages)

        def take(parts: list[bytes]) -> None:
            received.append(parts[0])
            if len(received) == total:
                done.callback(None)

        def fill() -> None:
            while pending and sender.send([pending[0]]):
                pending.popleft()

        one, two = make_socket(self.context, zmq.PAIR), make_socket(self.context, zmq.PAIR)
        port = one.bind_to_random_port("tcp://127.0.0.1")
        two.connect(f"tcp://127.0.0.1:{port}")
        receiver = ZmqSocket(reactor, one, take)
        sender = ZmqSocket(reactor, two, lambda parts: None, fill)
        for link in (receiver, sender):
            self.addCleanup(link.close)
            link.start()
        fill()
        self.assertGreater(len(pending), 0)
        await done
        self.assertEqual(received, messages)

    async def test_finite_queues_and_heartbeats(self) -> None:
        socket = make_socket(self.context, zmq.DEALER)
        for option in (zmq.SNDHWM, zmq.RCVHWM):
            self.assertEqual(socket.getsockopt(option), zmq_socket.HIGH_WATER_MESSAGES)
        self.assertEqual(socket.getsockopt(zmq.LINGER), 0)
        self.assertGreater(socket.getsockopt(zmq.HEARTBEAT_IVL), 0)
        self.assertGreater(
            socket.getsockopt(zmq.HEARTBEAT_TIMEOUT), socket.getsockopt(zmq.HEARTBEAT_IVL)
        )

    async def test_a_monitor_tells_of_connections_and_their_loss(self) -> None:
        self.forget_heartbeats()
        connected: Deferred[None] = Deferred()
        lost: Deferred[None] = Deferred()
        server = make_socket(self.context, zmq.ROUTER)
        watcher = monitor(
            reactor, server, lambda: connected.callback(None), lambda: lost.callback(None)
        )
        self.addCleanup(watcher.close)
        port = server.bind_to_random_port("tcp://127.0.0.1")
        client = make_socket(self.context, zmq.DEALER)
        client.connect(f"tcp://127.0.0.1:{port}")
        await connected
        client.close()
        await lost


class MonitorTests(SynchronousTestCase):
    def test_other_events_are_none_of_its_business(self) -> None:
        """A monitor says when it stops, asked or not."""
        watcher = FakeSocket()

        class Watched:
            def get_monitor_socket(self, events: int) -> FakeSocket:
                return watcher

        events: list[str] = []
        watched: Any = Watched()
        reactor = MemoryReactorClock()
        monitor(reactor, watched, lambda: events.append("connected"), lambda: events.append("lost"))
        for event in (
            zmq.EVENT_HANDSHAKE_SUCCEEDED,
            zmq.EVENT_MONITOR_STOPPED,
            zmq.EVENT_DISCONNECTED,
        ):
            watcher.messages.append([int(event).to_bytes(2, "little") + bytes(4), b"address"])
        reactor.advance(0)
        self.assertEqual(events, ["connected", "lost"])
