"""The wire in memory: order, pauses in both directions, ends."""

import asyncio
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.testing import asynchronous
from cluster.testing.transport import MemoryTransport


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
        self.heard: list[tuple[bytes, bool]] = []
        self.server = Server()
        self.transport = MemoryTransport(
            asyncio.get_running_loop(),
            lambda data, ended: self.heard.append((data, ended)),
            ("192.0.2.1", 1),
        )
        self.transport.start(self.server)

    async def turn(self) -> list[Any]:
        """The calls that the server received in one turn of the loop."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        events, self.server.events = self.server.events, []
        return events

    @asynchronous
    async def test_what_the_client_says(self) -> None:
        self.make()
        self.transport.say(b"a")
        self.assertEqual(["made"], self.server.events)
        self.transport.say(b"")
        self.transport.say(b"b")
        self.assertEqual(["made", b"a", b"b"], await self.turn())
        self.assertEqual("192.0.2.1", self.transport.getPeer().host)

    @asynchronous
    async def test_a_server_that_does_not_read(self) -> None:
        self.make()
        self.transport.pauseProducing()
        self.transport.say(b"a")
        self.assertEqual(["made"], await self.turn())
        self.transport.resumeProducing()
        self.transport.say(b"b")
        self.assertEqual([b"a", b"b"], await self.turn())

    @asynchronous
    async def test_a_client_that_does_not_read(self) -> None:
        self.make()
        self.transport.registerProducer(self.server, True)
        self.transport.client_reads(False)
        self.transport.write(b"a")
        self.transport.writeSequence([b"b", b"c"])
        self.assertEqual([], self.heard)
        self.transport.client_reads(True)
        self.assertEqual([(b"a", False), (b"bc", False)], self.heard)
        self.assertEqual(["made", "pause", "resume"], await self.turn())

    @asynchronous
    async def test_the_server_hangs_up(self) -> None:
        self.make()
        self.transport.say(b"before")
        self.transport.loseConnection()
        self.transport.say(b"after")
        self.transport.write(b"last")
        self.assertEqual(["made", b"before", b"after", "ConnectionDone"], await self.turn())
        self.transport.write(b"too late")
        self.assertEqual([(b"last", False), (b"", True)], self.heard)
        self.transport.say(b"too late")
        self.assertEqual([], await self.turn())

    @asynchronous
    async def test_the_client_is_gone(self) -> None:
        self.make()
        self.transport.hang_up()
        self.transport.abortConnection()
        self.assertEqual(["made", "ConnectionLost"], await self.turn())
        self.assertEqual([(b"", True)], self.heard)
