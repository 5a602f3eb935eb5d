"""A ZeroMQ socket in the reactor: no event is missed, and close frees everything."""

from collections import deque
from functools import partial
from typing import Any

import zmq
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cluster.net import zmq_socket as module
from cluster.net.zmq_socket import BATCH, ZmqSocket, make_socket, monitor

reactor: Any = _reactor


class FakeSocket:
    """An edge-triggered socket: ``messages`` have arrived, ``room`` messages may be sent."""

    def __init__(self) -> None:
        self.messages: deque[list[bytes]] = deque()
        self.sent: list[list[bytes]] = []
        self.parts: list[bytes] = []
        self.room = 100
        self.error: Exception | None = None
        self.lingers: list[int] = []

    def getsockopt(self, option: int) -> int:
        if option == zmq.FD:
            return 42
        return (zmq.POLLIN if self.messages else 0) | (zmq.POLLOUT if self.room else 0)

    def send(self, part: bytes, flags: int) -> None:
        assert flags & zmq.NOBLOCK
        self.parts.append(part)
        if len(self.parts) == 1:  # ZeroMQ accepts all parts of a message or none
            if self.error is not None or not self.room:
                self.parts = []
                raise self.error or zmq.Again
            self.room -= 1
        if not flags & zmq.SNDMORE:
            self.sent.append(self.parts)
            self.parts = []

    def recv_multipart(self, flags: int) -> list[bytes]:
        if not self.messages:
            raise zmq.Again
        return self.messages.popleft()

    def close(self, linger: int) -> None:
        self.lingers.append(linger)


class ZmqSocketTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.socket = FakeSocket()
        self.events: list[Any] = []
        self.zmq_socket = self.make(lambda: self.events.append("writable"))

    def make(self, writable: Any = None) -> ZmqSocket:
        socket: Any = self.socket
        return ZmqSocket(self.reactor, socket, self.received, writable)

    def received(self, parts: list[bytes]) -> None:
        self.events.append(parts[0])

    def arrive(self, *messages: bytes) -> None:
        self.socket.messages += ([message] for message in messages)

    def assertIdle(self) -> None:
        """Assert that no event is left to handle."""
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ReceiveTests(ZmqSocketTestCase):
    def test_messages_that_arrived_before_the_start_are_received(self) -> None:
        self.arrive(b"1")
        self.zmq_socket.start()
        self.assertEqual(self.reactor.getReaders(), [self.zmq_socket])
        self.assertIdle()
        self.assertEqual(self.events, [b"1"])
        self.assertEqual((self.zmq_socket.fileno(), self.zmq_socket.logPrefix()), (42, "zmq"))

    def test_receiving_continues_in_the_next_turn_after_a_batch(self) -> None:
        self.arrive(*[b"%d" % n for n in range(2 * BATCH + 1)])
        for expected in (BATCH, 2 * BATCH):
            self.zmq_socket.doRead()
            self.assertEqual(len(self.events), expected)
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.assertIdle()
        self.assertEqual(len(self.events), 2 * BATCH + 1)

    def test_an_error_is_logged_and_the_next_message_is_received(self) -> None:
        self.received = lambda parts: self.events.append({b"fine": 1}[parts[0]])  # type: ignore
        zmq_socket = self.make()
        self.arrive(b"bad", b"fine")
        zmq_socket.doRead()
        self.assertEqual(self.events, [1])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_message_that_arrives_while_the_last_is_handled(self) -> None:
        """It arrives after the last receive and before EVENTS is read."""

        def writable() -> None:
            self.arrive(b"late")

        zmq_socket = self.make(writable)
        self.socket.room = 0
        zmq_socket.send([b"x"])
        self.socket.room = 1
        zmq_socket.doRead()
        self.assertEqual(self.events, [])
        self.assertIdle()
        self.assertEqual(self.events, [b"late"])

    def test_drain_receives_more_than_a_batch(self) -> None:
        self.arrive(*[b"x"] * module.HIGH_WATER_MESSAGES)
        self.zmq_socket.drain()
        self.assertEqual(len(self.events), module.HIGH_WATER_MESSAGES)
        self.assertIdle()


class SendTests(ZmqSocketTestCase):
    def test_a_message_is_sent_at_once(self) -> None:
        self.assertTrue(self.zmq_socket.send([b"a", b"b"]))
        self.assertEqual(self.socket.sent, [[b"a", b"b"]])
        self.assertIdle()

    def test_writable_is_called_when_there_is_room_after_a_refusal(self) -> None:
        self.socket.room = 0
        self.assertFalse(self.zmq_socket.send([b"a"]))
        self.zmq_socket.doRead()
        self.assertEqual(self.events, [])
        self.socket.room = 1
        self.zmq_socket.doRead()
        self.zmq_socket.doRead()
        self.assertEqual(self.events, ["writable"])

    def test_a_refusal_without_a_writable_callback_is_allowed(self) -> None:
        zmq_socket = self.make()
        self.socket.room = 0
        self.assertFalse(zmq_socket.send([b"a"]))
        self.socket.room = 1
        zmq_socket.doRead()
        self.assertIdle()

    def test_a_send_consumes_the_edge_of_a_message(self) -> None:
        """Each send, refused or not, makes ZeroMQ process its signals, which clears the edge."""
        outcomes = [
            (1, None),
            (0, None),
            (1, zmq.ZMQError(zmq.EHOSTUNREACH)),
        ]
        for room, error in outcomes:
            self.arrive(b"1")
            self.socket.room, self.socket.error = room, error
            try:
                self.zmq_socket.send([b"x"])
                self.zmq_socket.send([b"x"])
            except zmq.ZMQError:
                self.assertIs(error, self.socket.error)
            self.assertEqual(self.events, [])
            self.assertIdle()
            self.assertEqual(self.events[:1], [b"1"])
            self.events.clear()

    def test_room_again_right_after_a_refusal(self) -> None:
        self.socket.error = zmq.Again()
        self.assertFalse(self.zmq_socket.send([b"x"]))
        self.assertIdle()
        self.assertEqual(self.events, ["writable"])


class CloseTests(ZmqSocketTestCase):
    def test_nothing_is_delivered_after_close(self) -> None:
        self.zmq_socket.start()
        self.arrive(b"1")
        self.zmq_socket.close(linger_ms=7)
        self.zmq_socket.close()
        self.zmq_socket.doRead()
        self.assertEqual(self.socket.lingers, [7])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertIdle()
        self.assertEqual(self.events, [])

    def test_closed_by_the_received_callback(self) -> None:
        self.received = lambda parts: (self.events.append("last"), self.zmq_socket.close())  # type: ignore
        self.zmq_socket = self.make()
        self.arrive(b"1", b"2")
        self.zmq_socket.doRead()
        self.assertEqual(self.events, ["last"])
        self.assertIdle()

    def test_closed_by_the_writable_callback(self) -> None:
        zmq_socket = self.make(lambda: zmq_socket.close())
        self.socket.room = 0
        zmq_socket.send([b"x"])
        self.socket.room = 1
        zmq_socket.doRead()
        self.assertTrue(zmq_socket.is_closed())

    def test_the_reactor_stops(self) -> None:
        self.zmq_socket.start()
        self.zmq_socket.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.socket.lingers, [0])
        self.assertIdle()


class SocketTests(TestCase):
    """Real sockets."""

    timeout = 120

    def setUp(self) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.addCleanup(self.context.destroy, linger=0)

    def forget_heartbeats(self) -> None:
        """Extend the timeout of heartbeats: on a busy machine ZeroMQ's threads may not run in
        time."""
        self.patch(module, "HEARTBEAT_TIMEOUT_MS", 10 * 1000 * self.timeout)

    async def test_more_messages_than_zeromq_queues_all_arrive(self) -> None:
        """Both ends are in one reactor; no edge of thousands of messages may be missed."""
        self.forget_heartbeats()
        total = 5_000
        received: list[bytes] = []
        done: Deferred[None] = Deferred()
        # Long enough that both sockets and the kernel together cannot hold all of them.
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
        for zmq_socket in (receiver, sender):
            self.addCleanup(zmq_socket.close)
            zmq_socket.start()
        fill()
        self.assertGreater(len(pending), 0)
        await done
        self.assertEqual(received, messages)

    async def test_finite_queues_and_heartbeats(self) -> None:
        socket = make_socket(self.context, zmq.DEALER)
        for option in (zmq.SNDHWM, zmq.RCVHWM):
            self.assertEqual(socket.getsockopt(option), module.HIGH_WATER_MESSAGES)
        self.assertEqual(socket.getsockopt(zmq.LINGER), 0)
        self.assertGreater(socket.getsockopt(zmq.HEARTBEAT_IVL), 0)
        self.assertGreater(
            socket.getsockopt(zmq.HEARTBEAT_TIMEOUT), socket.getsockopt(zmq.HEARTBEAT_IVL)
        )

    async def test_a_monitor_reports_connections_and_their_loss(self) -> None:
        self.forget_heartbeats()
        connected: Deferred[None] = Deferred()
        lost: Deferred[None] = Deferred()
        server = make_socket(self.context, zmq.ROUTER)
        watcher = monitor(
            reactor,
            server,
            lambda: connected.callback(None),
            lambda: lost.callback(None),
            lambda: self.fail("refused"),
        )
        self.addCleanup(watcher.close)
        port = server.bind_to_random_port("tcp://127.0.0.1")
        client = make_socket(self.context, zmq.DEALER)
        client.connect(f"tcp://127.0.0.1:{port}")
        await connected
        client.close()
        await lost


class MonitorTests(SynchronousTestCase):
    def test_other_events_are_ignored(self) -> None:
        """A monitor reports its own end, although no code requested that event."""
        watcher = FakeSocket()

        class Watched:
            def get_monitor_socket(self, events: int) -> FakeSocket:
                return watcher

        events: list[str] = []
        watched: Any = Watched()
        reactor = MemoryReactorClock()
        record = [partial(events.append, what) for what in ("connected", "lost", "refused")]
        monitor(reactor, watched, *record)
        for event in (
            zmq.EVENT_HANDSHAKE_SUCCEEDED,
            zmq.EVENT_MONITOR_STOPPED,
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
            zmq.EVENT_HANDSHAKE_FAILED_AUTH,
            zmq.EVENT_DISCONNECTED,
        ):
            watcher.messages.append([int(event).to_bytes(2, "little") + bytes(4), b"address"])
        reactor.advance(0)
        self.assertEqual(events, ["connected", "refused", "lost"])
