"""Lanes under TLS: no socket of their own, so everything goes through the transport."""

from typing import Any

from twisted.internet import defer, reactor, ssl
from twisted.internet.endpoints import SSL4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from cluster.net.flush import FlushList
from cluster.net.frames import binary_frame, text_frame
from cluster.net.lane import Lane
from cluster.net.lane_factory import LaneFactory
from cluster.net.read_hub import ReadHub
from tests.net.clients import Client
from tests.net.wire import close, request, text


class TLSTests(TestCase):
    def setUp(self) -> None:
        key = ssl.KeyPair.generate(size=2048)
        certificate = key.selfSignedCert(1, CN="localhost")
        self.flush_list = FlushList(reactor)
        self.hub = ReadHub(reactor, self.flush_list)
        self.hub.start()
        self.addCleanup(self.hub.stop)
        self.factory = LaneFactory(self.flush_list, self.hub, close_timeout=30.0)
        self.opened: defer.Deferred[Lane] = defer.Deferred()
        self.ended: defer.Deferred[tuple[int, bool]] = defer.Deferred()
        self.factory.on_open = self.opened.callback
        self.factory.on_close = lambda lane, code, was_clean: self.ended.callback((code, was_clean))
        self.port = reactor.listenSSL(0, self.factory, certificate.options(), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    async def connect(self) -> tuple[Any, Lane]:
        endpoint = SSL4ClientEndpoint(
            reactor, "127.0.0.1", self.port.getHost().port, ssl.CertificateOptions()
        )
        client: Any = await endpoint.connect(Factory.forProtocol(Client))
        client.transport.write(request())
        lane = await self.opened
        await client.until_received(b"\r\n\r\n")
        client.received = b""
        return client, lane

    async def test_messages_and_close(self) -> None:
        client, lane = await self.connect()
        self.assertTrue(lane.transport_details.is_secure)
        lane.receive = lambda payload, is_binary: lane.send_frame(text_frame(payload))
        client.transport.write(text("one") + text("two"))
        await client.until_received(text_frame(b"one") + text_frame(b"two"))
        client.transport.write(close(1000))
        await client.until_received(b"\x88\x02\x03\xe8")
        self.assertEqual(await self.ended, (1000, True))
        await client.until_lost()

    async def test_slow_reader_gets_all_in_order(self) -> None:
        client, lane = await self.connect()
        client.transport.pauseProducing()
        drained: defer.Deferred[None] = defer.Deferred()
        lane.on_drained = lambda: drained.callback(None)
        sent = 0
        while not lane.blocked:
            lane.send_frame(binary_frame(bytes([sent % 256]) * 100_000))
            self.flush_list.flush()
            sent += 1
        lane.send_frame(text_frame(b"held"))
        self.flush_list.flush()
        self.assertEqual(lane.queued_bytes, 6)
        client.transport.resumeProducing()
        await drained
        lane.close(1001)
        await client.until_received(text_frame(b"held") + b"\x88\x02\x03\xe9")
        expected = b"".join(binary_frame(bytes([n % 256]) * 100_000) for n in range(sent))
        self.assertEqual(client.received[:-10], expected)
        client.transport.write(close(1001))
        self.assertEqual(await self.ended, (1001, True))
        await client.until_lost()
