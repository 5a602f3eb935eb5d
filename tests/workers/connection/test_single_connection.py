"""A connection that is opened alone."""

from typing import Any

from autobahn.websocket.types import ConnectionDeny

from tests.workers.patience import PATIENCE_S
from tests.workers.swarm_server import ServerConnection, SwarmTestCase, reactor
from workers.connection.single_connection import NotOpened, open_once


class OpenOnceTests(SwarmTestCase):
    async def open_once(self) -> tuple[int, str]:
        return await open_once(
            reactor, self.target, "/", PATIENCE_S, lambda connection: connection.close(1000)
        )

    async def not_opened(self) -> str:
        try:
            await self.open_once()
        except NotOpened as error:
            return str(error)
        self.fail("it was opened")

    async def test_closed_by_the_caller(self) -> None:
        self.assertEqual((await self.open_once())[0], 1000)

    async def test_closed_by_the_server(self) -> None:
        self.patch(ServerConnection, "onOpen", lambda server: server.sendClose(3001, "no more"))
        code, reason = await open_once(
            reactor, self.target, "/", PATIENCE_S, lambda connection: None
        )
        self.assertEqual((code, reason), (3001, "no more"))

    async def test_a_timeout_aborts_the_connection(self) -> None:
        code, _ = await open_once(reactor, self.target, "/", 0.1, lambda connection: None)
        self.assertEqual(code, 1006)

    async def test_refused(self) -> None:
        def refuse(connection: ServerConnection, request: Any) -> None:
            raise ConnectionDeny(404, "Not Found")

        self.patch(ServerConnection, "onConnect", refuse)
        self.assertEqual(
            await self.not_opened(),
            f"cannot connect to {self.target.url}/: handshake refused: 404 Not Found; the server "
            "has nothing at this path",
        )

    async def test_no_server(self) -> None:
        await self.port.stopListening()
        self.assertEqual(
            await self.not_opened(),
            f"cannot connect to {self.target.url}/: connection refused; is the server running, "
            "and is --url right?",
        )
