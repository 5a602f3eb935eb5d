"""Output: Nagle's algorithm, partial sends, slow clients, and frames before a close."""

import socket
from itertools import count
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionAborted
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cluster.net.websocket.frames import binary_frame, text_frame
from cluster.net.websocket.writer import LARGE_FRAME, MANY_FRAMES, PIECE, SINK
from tests.net.websocket.clients import Client, Server
from tests.net.websocket.connections import Application
from tests.net.websocket.wire import close, request, server_close, text


class BrokenSocket:
    """Refuses each send."""

    def send(self, output: bytes) -> int:
        raise BrokenPipeError


class RecordingFrame:
    """A frame that is encoded when it is sent, and records that. It is a little longer then."""

    def __init__(self, number: int, size: int = 65_536) -> None:
        self.frame = binary_frame(bytes([number]) * size)
        self.is_encoded = False

    def __len__(self) -> int:
        return len(self.frame) * 9 // 10

    def encode(self) -> bytes:
        assert not self.is_encoded
        self.is_encoded = True
        return self.frame


class SocketTests(TestCase):
    """Real sockets."""

    def setUp(self) -> None:
        self.server = Server(reactor, high_water=1 << 20, close_timeout=30.0)
        self.addCleanup(lambda: defer.ensureDeferred(self.server.stop()))

    async def fill(self, connection: Any, frame: bytes) -> int:
        """Send until the kernel accepts no more, and return the number of frames."""
        sent = 0
        while not connection.blocked:
            connection.send_frame(frame)
            self.server.end_of_turn.flush()
            sent += 1
        return sent

    async def test_nagles_algorithm_is_off(self) -> None:
        client, connection = await self.server.client()
        self.assertTrue(connection.transport.getTcpNoDelay())
        client.transport.abortConnection()
        await self.server.next_end()

    async def test_a_blocked_connection_drains_in_order(self) -> None:
        client, connection = await self.server.client()
        client.transport.pauseProducing()
        frames: list[bytes] = []
        drained: defer.Deferred[None] = defer.Deferred()
        connection.on_drained = lambda: drained.callback(None)

        def send() -> None:
            frames.append(binary_frame(bytes([len(frames) % 256]) * 100_000))
            connection.send_frame(frames[-1])
            self.server.end_of_turn.flush()

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

    async def test_frames_that_a_broken_socket_refused_are_counted(self) -> None:
        end_of_turn, dropped = self.server.end_of_turn, self.server.factory.dropped
        for blocked in (False, True):
            dropped.clear()
            client, connection = await self.server.client()
            sent = end_of_turn.frames_sent
            broken = BrokenSocket()
            connection.socket, connection.send = broken, None if blocked else broken.send
            for payload in (b"a", b"b"):
                connection.send_frame(text_frame(payload))
            end_of_turn.flush()
            self.assertEqual((dropped["disconnected"], end_of_turn.frames_sent), (2, sent))
            connection.socket = connection.transport.socket
            client.transport.abortConnection()
            await self.server.next_end()
            self.assertEqual(dropped["disconnected"], 2)

    async def test_all_is_read_from_a_client_that_has_left(self) -> None:
        client, connection = await self.server.client()
        self.server.end_of_turn.budget.now = count().__next__  # each turn ends at the second look
        received: list[bytes] = []

        def receive(payload: bytes, is_binary: bool) -> None:
            received.append(payload)
            connection.send_frame(binary_frame(payload))  # refused, as the client has left

        connection.receive = receive
        ended = self.server.next_end()
        client.transport.pauseProducing()
        client.transport.write(text("x") * 20_000 + close(1001))
        client.transport.loseConnection()
        await ended
        self.assertEqual(len(received), 20_000)
        self.assertEqual(self.server.ends, [(connection, 1001, True)])
        client.transport.resumeProducing()
        await client.until_lost()

    async def test_a_drained_connection_is_free_again(self) -> None:
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
        self.server.end_of_turn.flush()
        await client.until_received(b"and on")
        client.transport.abortConnection()
        await self.server.next_end()

    async def test_a_slow_client_is_disconnected(self) -> None:
        client, connection = await self.server.client()
        connection.closeHandshakeTimeout = 0.5
        client.transport.pauseProducing()
        frame = binary_frame(b"x" * 100_000)
        await self.fill(connection, frame)
        for _ in range(12):
            connection.send_frame(frame)
            self.server.end_of_turn.flush()
        self.assertGreaterEqual(self.server.factory.dropped["slow_consumer"], 8)
        ended = self.server.next_end()
        await ended  # the client never reads: aborted after closeHandshakeTimeout
        self.assertEqual(self.server.ends[0][1:], (1013, False))

    async def test_queued_frames_arrive_before_the_close(self) -> None:
        """The client closes while more is queued than the kernel accepts."""
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

    async def test_a_reset_while_sending_ends_only_its_connection(self) -> None:
        client, connection = await self.server.client()
        other, other_connection = await self.server.client()
        linger_zero = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        client.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
        ended = self.server.next_end()
        client.transport.abortConnection()
        await client.until_lost()
        for _ in range(3):
            connection.send_frame(text_frame(b"after the reset"))
            other_connection.send_frame(text_frame(b"fine"))
            self.server.end_of_turn.flush()
        await ended
        await other.until_received(text_frame(b"fine") * 3)
        self.assertEqual([end[0] for end in self.server.ends], [connection])
        other.transport.write(text("bye"))
        other.transport.loseConnection()
        await self.server.next_end()

    async def test_a_reset_of_a_paused_client_is_noticed(self) -> None:
        client, connection = await self.server.client()
        connection.pause("full")
        ended = self.server.next_end()
        client.transport.abortConnection()
        await client.until_lost()
        while not ended.called:
            connection.send_frame(text_frame(b"x"))
            self.server.end_of_turn.flush()
            await deferLater(reactor, 0, lambda: None)
        self.assertEqual(self.server.ends[0][1:], (1006, False))

    async def test_taking_over_a_connection_with_unsent_output(self) -> None:
        """An HTTP protocol used the connection before, and is its transport's producer."""
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


class TransportTests(SynchronousTestCase):
    """A transport that is not a plain socket."""

    def test_frames_are_held_while_the_transport_is_paused(self) -> None:
        application = Application()
        connection, transport = application.open()
        drained: list[int] = []
        connection.on_drained = lambda: drained.append(1)
        transport.registered.pauseProducing()
        for _ in range(3):
            connection.send_frame(binary_frame(b"x" * 50))
            application.clock.advance(0)
        self.assertEqual(transport.written, b"")
        self.assertEqual(connection.queued_bytes, 3 * 52)
        transport.registered.resumeProducing()
        self.assertEqual(transport.written, binary_frame(b"x" * 50) * 3)
        self.assertEqual((transport.writes, connection.queued_bytes, drained), (1, 0, [1]))
        self.assertEqual(application.factory.messages_sent, 3)

    def test_above_the_high_water_mark_it_is_closed_and_its_frames_are_counted(self) -> None:
        application = Application(high_water=1000, close_timeout=5)
        lines: list[str | None] = []
        application.factory.log_slow_client = lambda kind, text, **values: lines.append(
            text.format(**values)
        )
        connection, transport = application.open()
        transport.registered.pauseProducing()
        for _ in range(11):
            connection.send_frame(binary_frame(b"x" * 98))
            application.clock.advance(0)
        self.assertEqual(application.factory.dropped, {"slow_consumer": 11})
        self.assertEqual(connection.queued_bytes, len(server_close(1013, b"slow consumer")))
        connection.send_frame(binary_frame(b"late"))
        transport.registered.resumeProducing()
        self.assertEqual(transport.written, server_close(1013, b"slow consumer"))
        application.clock.advance(6)
        self.assertTrue(transport.aborted)
        self.assertEqual(lines, [])
        connection.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(
            lines,
            ["a client of '/ws' (tcp4:127.0.0.1:40000) did not read, and was disconnected (1013)"],
        )

    def test_a_client_that_waits_for_the_turn_of_others_is_not_slow(self) -> None:
        application = Application(high_water=1000)
        connection, transport = application.open()
        self.patch(application.end_of_turn.budget, "is_spent", lambda: True)
        connection.send_history([binary_frame(bytes(1000))] * 100)
        self.assertTrue(connection.blocked)
        frames = [binary_frame(bytes(600))] * 150
        connection.out += frames  # as a publication does
        connection.flush_queue()
        for _ in range(5):
            application.clock.advance(0)
        self.assertEqual(application.factory.dropped, {})
        self.assertEqual(transport.written[-150 * len(frames[0]) :], b"".join(frames))

    def test_frames_that_a_lost_client_did_not_receive_are_counted(self) -> None:
        application = Application()
        connection, _transport = application.open()
        connection.send_frame(text_frame(b"a"))
        application.lose(connection)
        connection.send_frame(text_frame(b"b"))
        application.clock.advance(0)
        self.assertEqual(application.factory.dropped, {"disconnected": 1})


class HistoryTests(TestCase):
    """The history of a topic, for a client that reads late."""

    def setUp(self) -> None:
        self.server = Server(reactor, high_water=1 << 16, close_timeout=30.0)
        self.addCleanup(lambda: defer.ensureDeferred(self.server.stop()))

    async def test_it_is_sent_as_the_client_reads_and_does_not_disconnect_it(self) -> None:
        client, connection = await self.server.client()
        client.transport.pauseProducing()
        history = [binary_frame(bytes([number]) * 65_536) for number in range(200)]
        connection.send_history(history)
        connection.send_frame(text_frame(b"new"))
        while not connection._producing:  # the kernel is full
            await deferLater(reactor, 0, lambda: None)
        for _ in range(10):
            connection.send_frame(text_frame(b"new"))
            self.server.end_of_turn.flush()
        self.assertLess(len(connection.transport.dataBuffer), 2 * PIECE)
        drained: defer.Deferred[None] = defer.Deferred()
        connection.on_drained = lambda: drained.called or drained.callback(None)
        client.transport.resumeProducing()
        await drained
        expected = b"".join(history) + text_frame(b"new") * 11
        await client.until(lambda: len(client.received) >= len(expected))
        self.assertEqual(client.received, expected)
        self.assertEqual((connection.queued_bytes, connection.blocked), (0, False))
        self.assertEqual(self.server.end_of_turn.frames_sent - 1, len(history) + 11)

    async def test_a_frame_may_be_encoded_when_it_is_sent(self) -> None:
        client, connection = await self.server.client()
        client.transport.pauseProducing()
        later = [RecordingFrame(number) for number in range(200)]
        connection.send_frame(text_frame(b"old"))
        connection.send_history(later)
        while not connection._producing:  # the kernel is full
            await deferLater(reactor, 0, lambda: None)
        encoded = sum(each.is_encoded for each in later)
        self.assertTrue(0 < encoded < 190, encoded)
        self.assertGreater(connection.queued_bytes, (190 - encoded) * len(later[0]))
        expected = text_frame(b"old") + b"".join(each.frame for each in later) + text_frame(b"new")
        connection.send_frame(text_frame(b"new"))
        client.transport.resumeProducing()
        await client.until(lambda: len(client.received) >= len(expected))
        self.assertEqual(client.received, expected)
        self.assertEqual((connection.queued_bytes, connection._history_bytes), (0, 0))

    async def test_small_frames_are_encoded_at_once_and_counted_exactly(self) -> None:
        client, connection = await self.server.client()
        client.transport.pauseProducing()
        later = [RecordingFrame(number % 256, 50) for number in range(1000)]
        connection.send_history(later)
        waiting = sum(len(each.frame) for each in later)
        self.assertEqual((connection.queued_bytes, connection._history_bytes), (waiting, waiting))
        client.transport.resumeProducing()
        await client.until(lambda: len(client.received) >= waiting)
        self.assertEqual((connection.queued_bytes, connection._history_bytes), (0, 0))

    async def test_frames_are_encoded_before_a_close_too(self) -> None:
        client, connection = await self.server.client()
        client.transport.pauseProducing()
        later = [RecordingFrame(number) for number in range(100)]
        connection.send_history(later)
        connection.close(1000)
        client.transport.resumeProducing()
        expected = b"".join(each.frame for each in later)
        await client.until(lambda: len(client.received) >= len(expected) + 4)
        self.assertEqual(client.received[: len(expected)], expected)
        client.transport.abortConnection()
        await self.server.next_end()

    async def test_newer_messages_count_for_the_mark(self) -> None:
        client, connection = await self.server.client()
        client.transport.pauseProducing()
        connection.send_history([binary_frame(bytes(65_536))] * 200)
        while not connection._producing:
            await deferLater(reactor, 0, lambda: None)
        while connection.out is not SINK:
            connection.send_frame(binary_frame(bytes(10_000)))
            self.server.end_of_turn.flush()
        self.assertGreater(self.server.factory.dropped["slow_consumer"], 100)
        client.transport.resumeProducing()
        await client.until_received(b"\x03\xf5slow consumer")
        client.transport.abortConnection()
        await self.server.next_end()


class LongQueueTests(TestCase):
    """Queues that are sent before the end of the turn."""

    def setUp(self) -> None:
        self.server = Server(reactor, high_water=1 << 16, close_timeout=30.0)
        self.addCleanup(lambda: defer.ensureDeferred(self.server.stop()))

    async def test_a_client_that_does_not_read_is_disconnected_within_the_turn(self) -> None:
        for size in (100, 100_000):
            client, connection = await self.server.client()
            client.transport.pauseProducing()
            sent = 0
            while connection.out is not SINK:
                connection.send_frame(binary_frame(bytes(size)))
                sent += 1
                self.assertLess(sent * size, 20 << 20)
            self.assertLessEqual(connection.queued_bytes, 2 * PIECE + size)
            client.transport.abortConnection()
            await self.server.next_end()

    async def test_the_order_is_kept(self) -> None:
        client, connection = await self.server.client()
        frames = [text_frame(b"%d" % number) for number in range(3 * MANY_FRAMES)]
        frames[10] = binary_frame(bytes(LARGE_FRAME + 1))
        for frame in frames:
            connection.send_frame(frame)
        await client.until(lambda: len(client.received) >= sum(map(len, frames)))
        self.assertEqual(client.received, b"".join(frames))

    async def test_small_frames_of_a_blocked_client_are_joined(self) -> None:
        client, connection = await self.server.client()
        client.transport.pauseProducing()
        while not connection.blocked:
            connection.send_frame(binary_frame(bytes(10_000)))
            self.server.end_of_turn.flush()
        before = len(connection._held or ())
        for _ in range(100):
            connection.send_frame(b"\x8a\x00")
        self.server.end_of_turn.flush()
        self.assertEqual(len(connection._held or ()), before + 1)
        client.transport.abortConnection()
        await self.server.next_end()
        self.assertGreaterEqual(self.server.factory.dropped["disconnected"], 100)
