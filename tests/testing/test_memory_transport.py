"""Tests of cluster.testing.memory_transport: order, pauses in both directions, ends."""

import asyncio
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.testing import asynchronous
from cluster.testing.memory_transport import MemoryTransport


class Server:
    """A protocol that records its calls."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def makeConnection(self, transport: Any) -> None:
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def connectionLost(self, reason: Any) -> None:
        self.events.append(reason.type.__name__)

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")


class TransportTests(SynchronousTestCase):
    def make(self) -> None:
        self.received: list[tuple[bytes, bool]] = []
        self.server = Server()
        self.transport = MemoryTransport(
            asyncio.get_running_loop(),
            lambda data, ended: self.received.append((data, ended)),
            ("192.0.2.1", 1),
        )
        self.transport.start(self.server)

    async def turn(self) -> list[Any]:
        """Return the calls that the server received in one turn of the loop."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        events, self.server.events = self.server.events, []
        return events

    @asynchronous
    async def test_bytes_of_the_client(self) -> None:
        self.make()
        self.transport.send_to_server(b"a")
        self.assertEqual(["made"], self.server.events)
        self.transport.send_to_server(b"")
        self.transport.send_to_server(b"b")
        self.assertEqual(["made", b"a", b"b"], await self.turn())
        self.assertEqual("192.0.2.1", self.transport.getPeer().host)

    @asynchronous
    async def test_a_server_that_does_not_read(self) -> None:
        self.make()
        self.transport.pauseProducing()
        self.transport.send_to_server(b"a")
        self.assertEqual(["made"], await self.turn())
        self.transport.resumeProducing()
        self.transport.send_to_server(b"b")
        self.assertEqual([b"a", b"b"], await self.turn())

    @asynchronous
    async def test_a_client_that_does_not_read(self) -> None:
        self.make()
        self.transport.registerProducer(self.server, True)
        self.transport.client_reads(False)
        self.transport.write(b"a")
        self.transport.writeSequence([b"b", b"c"])
        self.assertEqual([], self.received)
        self.transport.client_reads(True)
        self.assertEqual([(b"a", False), (b"bc", False)], self.received)
        self.assertEqual(["made", "pause", "resume"], await self.turn())

    @asynchronous
    async def test_the_server_closes(self) -> None:
        self.make()
        self.transport.send_to_server(b"before")
        self.transport.loseConnection()
        self.transport.send_to_server(b"after")
        self.transport.write(b"last")
        self.assertEqual(["made", b"before", b"after", "ConnectionDone"], await self.turn())
        self.transport.write(b"too late")
        self.assertEqual([(b"last", False), (b"", True)], self.received)
        self.transport.send_to_server(b"too late")
        self.assertEqual([], await self.turn())

    @asynchronous
    async def test_the_client_loses_the_connection(self) -> None:
        self.make()
        self.transport.lose_connection()
        self.transport.abortConnection()
        self.assertEqual(["made", "ConnectionLost"], await self.turn())
        self.assertEqual([(b"", True)], self.received)
