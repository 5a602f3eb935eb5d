"""Connections under TLS have no plain socket, so all output goes through the transport."""

from itertools import count
from typing import Any

from twisted.internet import defer, reactor, ssl
from twisted.internet.endpoints import SSL4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.epoll_reader import EpollReader
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.connection_factory import ConnectionFactory
from cluster.net.websocket.frames import binary_frame, text_frame
from tests.net.websocket.clients import Client
from tests.net.websocket.wire import close, request, text


class TLSTests(TestCase):
    def setUp(self) -> None:
        key = ssl.KeyPair.generate(size=2048)
        certificate = key.selfSignedCert(1, CN="localhost")
        self.end_of_turn = EndOfTurn(reactor)
        self.epoll_reader = EpollReader(reactor, self.end_of_turn)
        self.epoll_reader.start()
        self.addCleanup(self.epoll_reader.stop)
        self.factory = ConnectionFactory(self.end_of_turn, self.epoll_reader, close_timeout=30.0)
        self.opened: defer.Deferred[ServerConnection] = defer.Deferred()
        self.ended: defer.Deferred[tuple[int, bool]] = defer.Deferred()
        self.factory.on_open = self.opened.callback
        self.factory.on_close = lambda connection, code, was_clean: self.ended.callback(
            (code, was_clean)
        )
        self.port = reactor.listenSSL(0, self.factory, certificate.options(), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    async def connect(self) -> tuple[Any, ServerConnection]:
        endpoint = SSL4ClientEndpoint(
            reactor, "127.0.0.1", self.port.getHost().port, ssl.CertificateOptions()
        )
        client: Any = await endpoint.connect(Factory.forProtocol(Client))
        client.transport.write(request())
        connection = await self.opened
        await client.until_received(b"\r\n\r\n")
        client.received = b""
        return client, connection

    async def test_messages_and_close(self) -> None:
        client, connection = await self.connect()
        self.assertTrue(connection.transport_details.is_secure)
        connection.receive = lambda payload, is_binary: connection.send_frame(text_frame(payload))
        client.transport.write(text("one") + text("two"))
        await client.until_received(text_frame(b"one") + text_frame(b"two"))
        client.transport.write(close(1000))
        await client.until_received(b"\x88\x02\x03\xe8")
        self.assertEqual(await self.ended, (1000, True))
        await client.until_lost()

    async def test_what_waits_is_processed_when_the_transport_is_lost(self) -> None:
        client, connection = await self.connect()
        self.end_of_turn.budget.now = count().__next__  # each turn ends at the second look
        received: list[bytes] = []

        def receive(payload: bytes, is_binary: bool) -> None:
            received.append(payload)
            if len(received) == 1:
                connection.transport.abortConnection()

        connection.receive = receive
        client.transport.write(text("x") * 1000 + close(1001))
        self.assertEqual(await self.ended, (1001, True))
        self.assertEqual(len(received), 1000)
        await client.until_lost()

    async def test_a_slow_client_receives_all_frames_in_order(self) -> None:
        client, connection = await self.connect()
        client.transport.pauseProducing()
        drained: defer.Deferred[None] = defer.Deferred()
        connection.on_drained = lambda: drained.callback(None)
        sent = 0
        while not connection.blocked:
            connection.send_frame(binary_frame(bytes([sent % 256]) * 100_000))
            self.end_of_turn.flush()
            sent += 1
        connection.send_frame(text_frame(b"held"))
        self.end_of_turn.flush()
        self.assertGreaterEqual(connection.queued_bytes, 6)
        client.transport.resumeProducing()
        await drained
        connection.close(1001)
        await client.until_received(text_frame(b"held") + b"\x88\x02\x03\xe9")
        expected = b"".join(binary_frame(bytes([n % 256]) * 100_000) for n in range(sent))
        self.assertEqual(client.received[:-10], expected)
        client.transport.write(close(1001))
        self.assertEqual(await self.ended, (1001, True))
        await client.until_lost()
