"""A connection to a plain Autobahn server."""

from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.trial.unittest import TestCase

from tests.workers.connection.test_frames import frame
from tests.workers.patience import PATIENCE_S, be_patient
from workers.connection.epoll_reader import EpollReader
from workers.connection.websocket import Connection, ConnectionFactory


class EchoConnection(WebSocketServerProtocol):
    """A server's connection that echoes all messages."""

    def onOpen(self) -> None:
        self.factory.opened.callback(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.messages.append(payload)
        self.sendMessage(payload)

    def onPong(self, payload: bytes) -> None:
        self.factory.ponged.callback(payload)


class ConnectionTests(TestCase):
    timeout = 180

    def setUp(self) -> Any:
        self.server = WebSocketServerFactory(reactor=reactor)
        self.server.protocol = EchoConnection
        self.server.noisy = False
        self.server.opened = Deferred()
        self.server.ponged = Deferred()
        self.server.messages = []
        be_patient(self, self.server)
        listening: Any = reactor
        port = listening.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        self.epoll_reader = EpollReader(reactor)
        self.epoll_reader.start()
        self.received: list[bytes] = []
        self.wanted = 0
        self.enough: Deferred[None] = Deferred()
        self.closed: Deferred[tuple[int, str, bool]] = Deferred()
        return Deferred.fromCoroutine(self.open())

    async def open(self) -> None:
        factory = ConnectionFactory(
            f"ws://127.0.0.1:{self.port}/",
            self.epoll_reader,
            reactor,
            timeout=PATIENCE_S,
        )
        # Otherwise the close would not be clean if the server disconnects later.
        factory.setProtocolOptions(serverConnectionDropTimeout=PATIENCE_S)
        opened: Deferred[None] = Deferred()
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        self.connection: Connection = await endpoint.connect(factory)
        self.connection.opened = lambda: opened.callback(None)
        self.connection.received = self.on_messages
        self.connection.closed = lambda *how: self.closed.callback(how)
        self.server_connection: EchoConnection = await self.server.opened
        await opened

    def tearDown(self) -> Any:
        async def close() -> None:
            self.connection.close()
            await self.closed
            self.epoll_reader.stop()

        return Deferred.fromCoroutine(close())

    def on_messages(self, messages: Any) -> None:
        self.received.extend(messages)
        if self.wanted and len(self.received) >= self.wanted:
            self.wanted = 0
            self.enough.callback(None)

    async def until_received(self, count: int) -> list[bytes]:
        if len(self.received) < count:
            self.wanted = count
            self.enough = Deferred()
            await self.enough
        return self.received

    async def test_nagles_algorithm_is_off(self) -> None:
        self.assertTrue(self.connection.transport.getTcpNoDelay())

    async def test_echo_in_order(self) -> None:
        messages = [b"%d %s" % (n, b"x" * (n % 200)) for n in range(600)]
        for message in messages:
            self.connection.send(message)
        self.assertEqual(await self.until_received(600), messages)

    async def test_frames_split_anywhere(self) -> None:
        texts = [b"0 1 2 1", "naïve".encode(), b"y" * 300, b""]
        data = b"".join(map(frame, texts))
        for cut in range(1, len(data), 7):
            first, second = data[:cut], data[cut:]
            self.received.clear()
            self.connection.dataReceived(first)
            self.connection.dataReceived(second)
            self.assertEqual(self.received, texts)
        self.connection.dataReceived(frame(b"0 1 2 1"))
        self.assertEqual(self.received[-1], b"0 1 2 1")

    async def test_fragments_around_a_ping(self) -> None:
        self.connection.dataReceived(
            frame(b"one ", 0x01) + frame(b"are you there?", 0x89) + frame(b"message", 0x80)
        )
        self.assertEqual(await self.server.ponged, b"are you there?")
        self.assertEqual(self.received, [b"one message"])

    async def test_more_output_than_the_kernel_accepts_arrives(self) -> None:
        messages = [b"%d " % n + b"z" * 100_000 for n in range(100)]
        for message in messages[:50]:
            self.connection.send(message)
        self.epoll_reader.flush_list.flush()
        for message in messages[50:]:
            self.connection.send(message)
            self.epoll_reader.flush_list.flush()
        await self.until_received(100)
        self.assertEqual(self.server.messages, messages)
        self.assertEqual(self.received, messages)
        self.connection.send(b"short again")
        self.assertEqual((await self.until_received(101))[-1], b"short again")

    async def test_the_close_is_sent_after_queued_messages(self) -> None:
        self.connection.send(b"last words")
        self.connection.close(1000)
        self.connection.send(b"too late")
        code, _, was_clean = await self.closed
        self.closed.addCallback(lambda _: None)
        self.assertEqual((code, was_clean), (1000, True))
        self.assertEqual(self.server.messages, [b"last words"])

    async def test_the_servers_close_code(self) -> None:
        self.server_connection.sendCloseFrame(code=1013, reasonUtf8=b"full", isReply=False)
        code, reason, _ = await self.closed
        self.assertEqual((code, reason), (1013, "full"))

    async def test_a_lost_connection(self) -> None:
        self.server_connection.transport.abortConnection()
        code, _, was_clean = await self.closed
        self.assertEqual((code, was_clean), (1006, False))

    async def test_a_violation_fails_the_connection(self) -> None:
        self.server_connection.transport.write(b"\xf1\x01a")
        _, reason, was_clean = await self.closed
        self.assertFalse(was_clean)
        self.assertIn("RSV", reason)
