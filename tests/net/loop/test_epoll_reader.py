"""Which sockets EpollReader reads, and which the reactor reads."""

import os
import select
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from cluster.net.loop.epoll_reader import CHECK_EVERY, MANY, SMALL_READ
from cluster.net.loop.turn_budget import TURN_S
from cluster.net.websocket.frames import text_frame
from tests.net.websocket.clients import Client, Server
from tests.net.websocket.wire import close, frame, request, text

ROOT = Path(__file__).parents[3]


class EpollReaderTests(TestCase):
    def setUp(self) -> None:
        self.server = Server(reactor)
        self.addCleanup(lambda: defer.ensureDeferred(self.server.stop()))

    def watched(self) -> list[Any]:
        """Connections that the reactor reads."""
        readers = reactor.getReaders()
        return [
            connection for connection in self.server.connections if connection.transport in readers
        ]

    def wait_for_input(self, *connections: Any) -> None:
        """Wait until their clients' bytes have arrived, without running the reactor."""
        for connection in connections:
            poll = select.poll()
            poll.register(connection.socket, select.POLLIN)
            self.assertTrue(poll.poll(60_000))

    async def test_the_reactor_does_not_read_open_connections(self) -> None:
        client, connection = await self.server.client()
        self.assertEqual(self.watched(), [])
        self.assertGreaterEqual(connection.epoll_fd, 0)
        got: defer.Deferred[bytes] = defer.Deferred()
        connection.receive = lambda payload, is_binary: got.callback(payload)
        client.transport.write(text("hello"))
        self.assertEqual(await got, b"hello")
        client.transport.loseConnection()
        await self.server.next_end()
        self.assertEqual(self.server.ends[0][1:], (1006, False))
        self.assertEqual(connection.epoll_fd, -1)

    async def test_close_handshake(self) -> None:
        client, _connection = await self.server.client()
        ended = self.server.next_end()
        client.transport.write(close(1000, b"done"))
        await ended
        await client.until_lost()
        self.assertEqual(client.received, b"\x88\x06\x03\xe8done")
        self.assertEqual(self.server.ends[0][1:], (1000, True))

    async def test_a_paused_connection_is_not_read_until_it_is_resumed(self) -> None:
        client, connection = await self.server.client()
        other, other_connection = await self.server.client()
        got: list[bytes] = []
        both: defer.Deferred[None] = defer.Deferred()
        connection.receive = lambda payload, is_binary: (got.append(payload), both.callback(None))[
            0
        ]
        other_got: defer.Deferred[None] = defer.Deferred()
        other_connection.receive = lambda payload, is_binary: other_got.callback(None)
        connection.pause("full")
        client.transport.write(text("held"))
        other.transport.write(text("through"))
        await other_got
        self.assertEqual((got, self.watched(), connection.epoll_fd), ([], [], -1))
        connection.resume("full")
        await both
        self.assertEqual(got, [b"held"])

    async def test_a_connection_that_is_removed_in_a_batch_is_not_read(self) -> None:
        """Two sockets are ready in one poll; the first callback pauses both connections."""
        pairs = [await self.server.client() for _ in range(2)]
        got: list[bytes] = []

        def receive(payload: bytes, is_binary: bool) -> None:
            got.append(payload)
            for _, connection in pairs:
                connection.pause("first wins")

        for client, connection in pairs:
            connection.receive = receive
            client.transport.socket.send(text("x"))
        self.wait_for_input(*(connection for _, connection in pairs))
        self.server.epoll_reader.doRead()
        self.assertEqual(got, [b"x"])
        self.server.epoll_reader.doRead()
        self.assertEqual(got, [b"x"])

    async def test_one_flush_for_a_batch(self) -> None:
        pairs = [await self.server.client() for _ in range(3)]
        flushes: list[int] = []
        self.server.end_of_turn.send_to_bus = lambda: flushes.append(1)

        def receive(payload: bytes, is_binary: bool) -> None:
            for _, connection in pairs:
                connection.send_frame(text_frame(payload))
            self.server.end_of_turn.schedule_published()

        for client, connection in pairs:
            connection.receive = receive
            client.transport.socket.send(text("x") + text("y"))
        self.wait_for_input(*(connection for _, connection in pairs))
        self.server.epoll_reader.doRead()
        self.assertEqual((self.server.factory.messages_received, len(flushes)), (6, 1))
        for client, _ in pairs:
            await client.until(lambda c=client: len(c.received) == 18)

    async def ready(self, count: int, output: bytes, *more: bytes) -> list[Any]:
        """Open connections whose clients have sent this, and one for each of ``more``."""
        outputs = [output] * count + list(more)
        pairs = [await self.server.client() for _ in outputs]
        for (client, _), data in zip(pairs, outputs, strict=True):
            client.transport.socket.send(data)
        connections = [connection for _, connection in pairs]
        self.wait_for_input(*connections)
        return connections

    async def test_a_turn_that_is_too_long_continues_with_the_others(self) -> None:
        connections = await self.ready(2 * CHECK_EVERY + 1, text("x"))
        budget = self.server.end_of_turn.budget
        time = 0.0
        budget.now = lambda: time
        got: list[Any] = []

        def receive(connection: Any) -> None:
            nonlocal time
            time += TURN_S / CHECK_EVERY
            got.append(connection)

        for connection in connections:
            connection.receive = lambda payload, is_binary, of=connection: receive(of)
        counts = []
        for _ in range(3):
            self.server.epoll_reader.doRead()
            counts.append(len(got))
        self.assertEqual(counts, [CHECK_EVERY, 2 * CHECK_EVERY, 2 * CHECK_EVERY + 1])
        self.assertEqual(set(got), set(connections))

    async def test_publications_are_sent_at_the_end_of_a_long_turn(self) -> None:
        connections = await self.ready(CHECK_EVERY + 1, text("x"))
        self.server.end_of_turn.budget.now = iter(range(1000)).__next__
        flushes: list[int] = []
        self.server.end_of_turn.send_to_bus = lambda: flushes.append(1)
        for connection in connections:
            connection.receive = lambda *_: self.server.end_of_turn.schedule_published()
        self.server.epoll_reader.doRead()
        self.assertEqual(flushes, [])
        self.server.epoll_reader.doRead()
        self.assertEqual(flushes, [1])

    async def test_of_many_connections_those_that_have_sent_much_come_last(self) -> None:
        small, large = text("x"), text("x" * 100) * (SMALL_READ // 106 + 1)
        *_, last = await self.ready(MANY, large, small)
        self.server.end_of_turn.budget.now = lambda: 0.0
        got: list[Any] = []
        for connection in self.server.connections:
            connection.receive = lambda payload, is_binary, of=connection: got.append(of)
        self.server.epoll_reader.doRead()
        self.assertEqual(got, [last])
        self.assertEqual(self.server.end_of_turn.budget.waiting, MANY)
        while len(got) < 1 + MANY * (len(large) // 106):
            await deferLater(reactor, 0, lambda: None)
        self.assertEqual(self.server.end_of_turn.budget.waiting, 0)

    async def test_a_bug_closes_its_connection_and_no_other(self) -> None:
        client, connection = await self.server.client()
        other, other_connection = await self.server.client()
        connection.dataReceived = lambda data: 1 // 0
        got: defer.Deferred[None] = defer.Deferred()
        other_connection.receive = lambda payload, is_binary: got.callback(None)
        client.transport.write(text("x"))
        other.transport.write(text("x"))
        await got
        await client.until_received(b"\x03\xf3internal error")
        self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_stop_returns_the_sockets_to_their_transports(self) -> None:
        client, connection = await self.server.client()
        epoll_reader = self.server.epoll_reader
        assert epoll_reader is not None
        epoll_reader.stop()
        epoll_reader.stop()
        self.assertEqual(self.watched(), [connection])
        got: defer.Deferred[bytes] = defer.Deferred()
        connection.receive = lambda payload, is_binary: got.callback(payload)
        client.transport.write(text("still here"))
        self.assertEqual(await got, b"still here")
        connection.pause("full")
        connection.resume("full")
        self.assertEqual(self.watched(), [connection])

    async def test_the_end_of_the_reactor_loses_the_connections(self) -> None:
        client, connection = await self.server.client()
        assert self.server.epoll_reader is not None
        reactor.removeReader(self.server.epoll_reader)
        self.server.epoll_reader.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.server.ends, [(connection, 1006, False)])
        await client.until_lost()


ECHO = """
import sys
kind = sys.argv[1]
if kind != "epoll":
    from twisted.internet import asyncioreactor
    loop = None
    if kind == "uvloop":
        import uvloop
        loop = uvloop.new_event_loop()
    asyncioreactor.install(loop)
from twisted.internet import reactor
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.websocket.frames import binary_frame, text_frame
from cluster.net.websocket.connection_factory import ConnectionFactory
from cluster.net.loop.epoll_reader import EpollReader

end_of_turn = EndOfTurn(reactor)
epoll_reader = EpollReader(reactor, end_of_turn)
factory = ConnectionFactory(end_of_turn, epoll_reader)

def opened(connection):
    connection.receive = lambda payload, is_binary: connection.send_frame(
        (binary_frame if is_binary else text_frame)(payload))

def closed(connection, code, was_clean):
    print("closed", code, was_clean, flush=True)
    if not factory.connections:
        reactor.stop()

factory.on_open = opened
factory.on_close = closed
epoll_reader.start()
port = reactor.listenTCP(0, factory, interface="127.0.0.1")
print("port", port.getHost().port, flush=True)
reactor.run()
print("received", factory.messages_received, "sent", factory.messages_sent, flush=True)
"""


class Echo(ProcessProtocol):
    """A server in another process; ``port`` and ``output`` fire when they are known."""

    def __init__(self) -> None:
        self.port: defer.Deferred[int] = defer.Deferred()
        self.output: defer.Deferred[str] = defer.Deferred()
        self.written = b""

    def outReceived(self, data: bytes) -> None:
        self.written += data
        if b"\n" in self.written and not self.port.called:
            self.port.callback(int(self.written.split()[1]))

    def errReceived(self, data: bytes) -> None:
        self.written += data

    def processEnded(self, reason: Failure) -> None:
        if not self.port.called:
            self.port.errback(RuntimeError(self.written.decode()))
        self.output.callback(self.written.decode())


class ReactorTests(TestCase):
    """The reactors that a node may use."""

    timeout = 180

    async def run_under(self, kind: str) -> None:
        process = Echo()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        spawned = reactor.spawnProcess(
            process, sys.executable, [sys.executable, "-c", ECHO, kind], environment
        )
        self.addCleanup(lambda: process.output.called or spawned.signalProcess("KILL"))
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", await process.port)
        clients = [await endpoint.connect(Factory.forProtocol(Client)) for _ in range(3)]
        for client in clients:
            client.transport.write(request() + text("small") + frame(2, b"x" * 200_000))
            await client.until_received(text_frame(b"small") + b"\x82\x7f")
            await client.until(lambda c=client: c.received.endswith(b"x" * 200_000))
            client.transport.write(text("again"))
            await client.until_received(text_frame(b"again"))
        clients[0].transport.write(close(1000))
        await clients[0].until_lost()
        clients[1].transport.loseConnection()
        clients[2].transport.abortConnection()
        output = await process.output
        ends = sorted(line for line in output.splitlines() if line.startswith("closed"))
        self.assertEqual(ends, ["closed 1000 True", "closed 1006 False", "closed 1006 False"])
        self.assertIn("received 9 sent 9", output)
        self.assertNotIn("Traceback", output)

    async def test_messages_are_echoed_under_the_epoll_reactor(self) -> None:
        await self.run_under("epoll")

    async def test_messages_are_echoed_under_asyncio(self) -> None:
        await self.run_under("asyncio")

    async def test_messages_are_echoed_under_uvloop(self) -> None:
        if find_spec("uvloop") is None:
            raise SkipTest("uvloop is not installed")
        await self.run_under("uvloop")
