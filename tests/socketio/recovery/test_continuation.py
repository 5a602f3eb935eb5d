"""Clients that come back as new ones, since something would be missing."""

import asyncio
import json
from typing import Any

from cluster.socketio import Socket
from cluster.testing import asynchronous
from tests.socketio.nodes import turns, until
from tests.socketio.recovery.sessions import RecoveryTestCase, Session


class NewSessionTests(RecoveryTestCase):
    async def comes_back(self, session: Session, number: int = 1, **auth: Any) -> None:
        """It is a new session, which receives what is emitted from now on."""
        before = session.pid, session.id
        await session.connect(self.servers[number], auth or None)
        self.assertFalse(session.recovered)
        self.assertNotIn(session.pid, before)
        self.assertNotIn(session.id, before)
        self.assertFalse(session.server_socket().recovered)
        self.assertEqual(session.server_socket().rooms, {session.id})
        self.space(0).emit("new")
        await turns()
        self.assertEqual(session.look(), [["new"]])

    @asynchronous
    async def test_another_user(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        session.lose_connection()
        session.client = self.servers[1].client()
        self.patch(Socket, "user_key", property(lambda self: "8"))
        await self.comes_back(session)

    @asynchronous
    async def test_the_client_left(self) -> None:
        await self.start()
        for leave in (
            lambda session: session.client.receive("1"),
            lambda session: session.server_socket().disconnect(),
            lambda session: (session.client.on_closing(), session.client.close()),
            lambda session: session.client.close("parse error"),
        ):
            session = await self.session(0, "r")
            leave(session)
            await turns()
            await self.comes_back(session)

    @asynchronous
    async def test_too_late(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        session.lose_connection()
        await turns()
        for server in self.servers:
            records = server.made.recovery.records  # type: ignore[union-attr]
            self.assertEqual(len(records), 1)
            self.patch(records, "_now", lambda: asyncio.get_running_loop().time() + 60)
        await self.comes_back(session)

    @asynchronous
    async def test_the_log_does_not_reach_back(self) -> None:
        await self.start(recovery_events=10)
        session = await self.session(0, "r")
        session.lose_connection()
        for number in range(11):
            self.space(0).emit("n", number)
        await turns()
        await self.comes_back(session)

    @asynchronous
    async def test_invalid_offsets(self) -> None:
        await self.start()
        for offset in ("hello", "x:1", "test:99999999", 5, ["a"], "y" * 1000):
            session = await self.session(0, "r")
            session.lose_connection()
            session.offset = offset  # type: ignore[assignment]
            await self.comes_back(session)

    @asynchronous
    async def test_unknown_sessions(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        for pid in ("unknown", "x" * 1000, 7, None):
            session.lose_connection()
            session.pid = pid  # type: ignore[assignment]
            await self.comes_back(session)

    @asynchronous
    async def test_another_broker(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        self.space(0).to("r").emit("last")
        await turns()
        session.lose_connection()
        session.offset = "gone:7"
        await self.comes_back(session)

    @asynchronous
    async def test_frames_are_lost(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        pubsub: Any = self.servers[0].made.pubsub
        topic = self.servers[0].made.recovery.logs["/"]._topic  # type: ignore[union-attr]
        pubsub.subscriptions._frames_lost(topic)
        await turns()
        self.assertEqual(session.client.closed, "transport close")
        self.assertEqual(self.servers[0].dropped["socketio_log_gap"], 1)
        await self.comes_back(session)

    @asynchronous
    async def test_refused(self) -> None:
        await self.start()
        session = await self.session(0, "r")
        session.lose_connection()
        await turns()
        again = self.servers[1].client()
        again.receive("0" + json.dumps({"pid": session.pid, "refuse": True}))
        await until(lambda: again.sent)
        self.assertEqual(again.sent[0][0], 4)
        await turns()
        await self.comes_back(session)
