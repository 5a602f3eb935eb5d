"""One send for all that was queued, and what happens when the socket takes less."""

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cluster.net.loop import flush
from cluster.net.loop.flush import FlushList
from cluster.net.websocket.frames import binary_frame, text_frame
from cluster.net.websocket.writer import SINK
from tests.net.websocket.clients import Client, Server
from tests.net.websocket.wire import request, text


class FakeSocket:
    """Takes ``room`` bytes a send, or raises ``error``."""

    def __init__(self) -> None:
        self.sends: list[bytes] = []
        self.room = 1 << 30
        self.error: OSError | None = None

    def send(self, output: bytes) -> int:
        if self.error is not None:
            raise self.error
        self.sends.append(output[: self.room])
        return min(self.room, len(output))


class FakeWriter:
    """What the flush list knows of a connection."""

    def __init__(self, flush_list: FlushList) -> None:
        self.socket = FakeSocket()
        self.send: Any = self.socket.send
        self.out: list[bytes] = []
        self.flush_list = flush_list
        self.events: list[Any] = []

    def append(self, frame: bytes) -> None:
        if not self.out:
            self.flush_list.dirty.append(self)
        self.out.append(frame)
        self.flush_list.schedule()

    def broken(self, frames: int) -> None:
        self.events.append(("broken", frames))

    def wait_for_socket(self, rest: bytes) -> None:
        self.events.append(rest)

    def flush_queue(self) -> None:
        self.events.append("queue")
        raise RuntimeError("a bug of this one")


class FlushListTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.flush_list = FlushList(self.clock)
        self.one, self.two = FakeWriter(self.flush_list), FakeWriter(self.flush_list)

    def test_one_send_a_connection_and_iteration(self) -> None:
        for payload in (b"a", b"b", b"c"):
            self.one.append(payload)
        self.two.append(b"d")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"abc"])
        self.assertEqual(self.two.socket.sends, [b"d"])
        self.assertEqual((self.flush_list.frames_sent, self.flush_list.bytes_sent), (4, 4))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_batch_needs_no_call_of_its_own(self) -> None:
        self.flush_list.begin()
        self.one.append(b"a")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.flush_list.flush()
        self.assertEqual(self.one.socket.sends, [b"a"])
        self.one.append(b"b")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_rest_of_a_send(self) -> None:
        self.one.socket.room = 2
        self.one.append(b"abc")
        self.one.append(b"de")
        self.clock.advance(0)
        self.assertEqual(self.one.events, [b"cde"])

    def test_full_socket(self) -> None:
        self.one.socket.error = BlockingIOError()
        self.one.append(b"abc")
        self.clock.advance(0)
        self.assertEqual(self.one.events, [b"abc"])

    def test_errors_stay_with_their_connection(self) -> None:
        for error in (BrokenPipeError(), ConnectionResetError()):
            self.one.socket.error = error
            self.one.append(b"a")
            self.one.append(b"b")
            self.two.append(b"b")
            self.clock.advance(0)
        self.assertEqual(self.one.events, [("broken", 2)] * 2)
        self.assertEqual(self.flush_list.frames_sent, 2)
        self.assertEqual(self.two.socket.sends, [b"b", b"b"])

    def test_exceptions_of_one_do_not_stop_the_others(self) -> None:
        self.one.send = None
        hooks: list[int] = []
        self.flush_list.after += [lambda: hooks.append(1), lambda: {}[1], lambda: hooks.append(2)]
        self.one.append(b"a")
        self.two.append(b"b")
        self.clock.advance(0)
        self.assertEqual(self.two.socket.sends, [b"b"])
        self.assertEqual(hooks, [1, 2])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_output_of_a_hook_leaves_in_the_next_iteration(self) -> None:
        once = [b"from a hook"]
        self.flush_list.after.append(lambda: once and self.one.append(once.pop()))
        self.two.append(b"b")
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"from a hook"])


class PacedTests(SynchronousTestCase):
    """Publications to many wait for one another; what is sent to one client does not wait."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.flush_list = FlushList(self.clock, pace=2.0)
        self.one, self.two = FakeWriter(self.flush_list), FakeWriter(self.flush_list)
        self.hooks: list[float] = []
        self.flush_list.after.append(lambda: self.hooks.append(self.clock.seconds()))
        self.now = 0.0
        self.patch(flush, "perf_counter", lambda: self.now)

    def publish(self, writer: FakeWriter, frame: bytes) -> None:
        if not writer.out:
            self.flush_list.paced.append(writer)
        writer.out.append(frame)
        self.flush_list.schedule_paced()

    def take(self, seconds: float) -> None:
        """Let the next flush take so long."""
        self.flush_list.after.append(self.slow(seconds))

    def slow(self, seconds: float) -> Callable[[], None]:
        def hook() -> None:
            self.now += seconds
            self.flush_list.after.remove(hook)

        return hook

    def test_the_first_leaves_at_once(self) -> None:
        self.publish(self.one, b"a")
        self.publish(self.one, b"b")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"ab"])
        self.assertEqual(self.hooks, [0.0])

    def test_the_next_waits_in_proportion_to_what_the_last_took(self) -> None:
        self.take(0.004)
        self.publish(self.one, b"a")
        self.clock.advance(0)
        self.publish(self.one, b"b")
        self.publish(self.two, b"c")
        self.clock.advance(0.0079)
        self.assertEqual(self.one.socket.sends, [b"a"])
        self.publish(self.one, b"d")
        self.clock.advance(0.0002)
        self.assertEqual((self.one.socket.sends, self.two.socket.sends), ([b"a", b"bd"], [b"c"]))
        self.assertEqual(len(self.hooks), 2)

    def test_but_never_longer_than_the_bound(self) -> None:
        self.take(10)
        self.publish(self.one, b"a")
        self.clock.advance(0)
        self.publish(self.one, b"b")
        self.clock.advance(flush.MAX_PACE_S)
        self.assertEqual(self.one.socket.sends, [b"a", b"b"])

    def test_time_that_has_passed_is_not_waited_for_again(self) -> None:
        self.take(0.005)
        self.publish(self.one, b"a")
        self.clock.advance(0)
        self.clock.advance(1)
        self.publish(self.one, b"b")
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"a", b"b"])

    def test_answers_to_one_client_do_not_wait_and_call_no_hook(self) -> None:
        self.take(0.005)
        self.publish(self.one, b"a")
        self.clock.advance(0)
        self.publish(self.one, b"b")
        self.two.append(b"answer")
        self.clock.advance(0)
        self.assertEqual((self.one.socket.sends, self.two.socket.sends), ([b"a"], [b"answer"]))
        self.assertEqual(len(self.hooks), 1)

    def test_a_connection_on_both_lists_is_sent_once(self) -> None:
        """The first flush takes its whole queue, the paced one finds nothing left."""
        self.take(0.005)
        self.publish(self.one, b"a")
        self.clock.advance(0)
        self.publish(self.one, b"b")
        self.flush_list.dirty.append(self.one)
        self.flush_list.schedule()
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"a", b"b"])
        self.clock.advance(flush.MAX_PACE_S)
        self.assertEqual(self.one.socket.sends, [b"a", b"b"])

    def test_output_of_a_hook_is_paced_too(self) -> None:
        once = [b"from a hook"]
        self.flush_list.after.append(lambda: once and self.publish(self.one, once.pop()))
        self.publish(self.two, b"a")
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"from a hook"])

    def test_what_a_hook_leaves_without_asking_is_flushed_next(self) -> None:
        def leave() -> None:
            if not self.one.out and not self.one.socket.sends:
                self.one.out.append(b"left")
                self.flush_list.paced.append(self.one)

        self.flush_list.after.append(leave)
        self.publish(self.two, b"a")
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.one.socket.sends, [b"left"])

    def test_all_at_once_for_the_end(self) -> None:
        self.take(0.005)
        self.publish(self.one, b"a")
        self.clock.advance(0)
        self.publish(self.one, b"b")
        self.two.append(b"c")
        self.flush_list.flush_all()
        self.assertEqual((self.one.socket.sends, self.two.socket.sends), ([b"a", b"b"], [b"c"]))
        self.assertEqual(len(self.hooks), 2)

    def test_without_a_pace_there_is_one_list(self) -> None:
        unpaced = FlushList(self.clock)
        self.assertIs(unpaced.paced, unpaced.dirty)
        hooks: list[int] = []
        unpaced.after.append(lambda: hooks.append(1))
        unpaced.schedule_paced()
        unpaced.schedule()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        unpaced.flush_all()
        self.assertEqual(hooks, [1, 1])


class SocketTests(TestCase):
    """Real sockets: Nagle, partial sends, the end of a connection."""

    def setUp(self) -> None:
        self.server = Server(reactor, high_water=1 << 20, close_timeout=30.0)
        self.addCleanup(lambda: defer.ensureDeferred(self.server.stop()))

    async def fill(self, connection: Any, frame: bytes) -> int:
        """Send until the kernel takes no more; how many frames that were."""
        sent = 0
        while not connection.blocked:
            connection.send_frame(frame)
            self.server.flush_list.flush()
            sent += 1
        return sent

    async def test_nagle_is_off(self) -> None:
        client, connection = await self.server.client()
        self.assertTrue(connection.transport.getTcpNoDelay())
        client.transport.abortConnection()
        await self.server.next_end()

    async def test_blocked_then_drained_and_all_in_order(self) -> None:
        client, connection = await self.server.client()
        client.transport.pauseProducing()
        frames: list[bytes] = []
        drained: defer.Deferred[None] = defer.Deferred()
        connection.on_drained = lambda: drained.callback(None)

        def send() -> None:
            frames.append(binary_frame(bytes([len(frames) % 256]) * 100_000))
            connection.send_frame(frames[-1])
            self.server.flush_list.flush()

        while not connection.blocked:
            send()
        for _ in range(3):
            send()
        self.assertIsNone(connection.send)
        self.assertGreater(connection.queued_bytes, 300_000)
        connection.close(1000)
        self.assertIs(connection.out, SINK)
        client.transport.resumeProducing()
        await drained
        self.assertEqual(connection.queued_bytes, 0)
        await client.until(lambda: client.received.endswith(b"\x88\x02\x03\xe8"))
        self.assertEqual(client.received[:-4], b"".join(frames))
        client.transport.abortConnection()
        await self.server.next_end()

    async def test_what_a_broken_socket_did_not_take_is_counted(self) -> None:
        def refuse(output: bytes) -> int:
            raise BrokenPipeError

        flush_list, dropped = self.server.flush_list, self.server.factory.dropped
        for blocked in (False, True):
            dropped.clear()
            client, connection = await self.server.client()
            sent = flush_list.frames_sent
            connection.socket, connection.send = FakeSocket(), None if blocked else refuse
            connection.socket.error = BrokenPipeError()
            for payload in (b"a", b"b"):
                connection.send_frame(text_frame(payload))
            flush_list.flush()
            self.assertEqual((dropped["disconnected"], flush_list.frames_sent), (2, sent))
            connection.socket = connection.transport.socket
            client.transport.abortConnection()
            await self.server.next_end()
            self.assertEqual(dropped["disconnected"], 2)

    async def test_free_again_after_it_drained(self) -> None:
        client, connection = await self.server.client()
        drained: defer.Deferred[None] = defer.Deferred()
        connection.on_drained = lambda: drained.callback(None)
        client.transport.pauseProducing()
        await self.fill(connection, binary_frame(b"x" * 100_000))
        client.transport.resumeProducing()
        await drained
        self.assertFalse(connection.blocked)
        connection.send_frame(text_frame(b"and on"))
        self.assertIsNotNone(connection.send)
        self.server.flush_list.flush()
        await client.until_received(b"and on")
        client.transport.abortConnection()
        await self.server.next_end()

    async def test_slow_reader_is_cut_off(self) -> None:
        client, connection = await self.server.client()
        connection.closeHandshakeTimeout = 0.5
        client.transport.pauseProducing()
        frame = binary_frame(b"x" * 100_000)
        await self.fill(connection, frame)
        for _ in range(12):
            connection.send_frame(frame)
            self.server.flush_list.flush()
        self.assertGreaterEqual(self.server.factory.dropped["slow_consumer"], 8)
        ended = self.server.next_end()
        await ended  # it never reads: aborted after close_timeout
        self.assertEqual(self.server.ends[0][1:], (1006, False))

    async def test_queued_frames_arrive_before_the_close(self) -> None:
        """The peer closes while more is queued than the kernel takes."""
        client, connection = await self.server.client()
        client.transport.pauseProducing()
        frame = binary_frame(b"x" * 100_000)
        sent = await self.fill(connection, frame)
        connection.send_frame(frame)
        connection.dataReceived(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
        client.transport.resumeProducing()
        await client.until_lost()
        self.assertEqual(client.received, frame * (sent + 1) + b"\x88\x02\x03\xe8")
        self.assertEqual(self.server.ends[0][1:], (1000, True))

    async def test_reset_while_sending(self) -> None:
        client, connection = await self.server.client()
        other, other_connection = await self.server.client()
        linger_zero = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        client.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
        ended = self.server.next_end()
        client.transport.abortConnection()
        await client.until_lost()
        for _ in range(3):
            connection.send_frame(text_frame(b"into the void"))
            other_connection.send_frame(text_frame(b"fine"))
            self.server.flush_list.flush()
        await ended
        await other.until_received(text_frame(b"fine") * 3)
        self.assertEqual([end[0] for end in self.server.ends], [connection])
        other.transport.write(text("bye"))
        other.transport.loseConnection()
        await self.server.next_end()

    async def test_paused_client_that_resets_is_noticed(self) -> None:
        client, connection = await self.server.client()
        connection.pause("full")
        ended = self.server.next_end()
        client.transport.abortConnection()
        await client.until_lost()
        while not ended.called:
            connection.send_frame(text_frame(b"x"))
            self.server.flush_list.flush()
            await deferLater(reactor, 0, lambda: None)
        self.assertEqual(self.server.ends[0][1:], (1006, False))

    async def test_taking_over_a_connection_with_unsent_output(self) -> None:
        """An HTTP protocol has written something, and is the transport's producer."""
        factory = self.server.factory

        class Before(Protocol):
            def dataReceived(self, data: bytes) -> None:
                transport: Any = self.transport
                transport.registerProducer(transport, True)
                transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                transport.protocol = factory.buildProtocol(None)
                transport.protocol.makeConnection(transport)
                transport.protocol.dataReceived(data)

        opened: defer.Deferred[Any] = defer.Deferred()
        self.server._opened.append(opened)
        port = reactor.listenTCP(0, Factory.forProtocol(Before), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client: Any = await connectProtocol(endpoint, Client())
        client.transport.write(request())
        connection = await opened
        connection.send_frame(text_frame(b"first"))
        await client.until_received(text_frame(b"first"))
        self.assertTrue(client.received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 "))
        self.assertFalse(connection.blocked)
        client.transport.abortConnection()
        await self.server.next_end()
