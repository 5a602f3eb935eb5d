"""What recovery does in a turn of the event loop is bounded, however many sessions there are."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from cluster.socketio.recovery import node_recovery, other_nodes
from cluster.socketio.recovery.node_recovery import NodeRecovery
from cluster.socketio.recovery.records import Record
from cluster.testing import asynchronous
from tests.socketio.nodes import turns, until
from tests.socketio.recovery.sessions import Chat, RecoveryTestCase

MANY = 5000


def record(number: int, owner: str) -> Record:
    """The record of a session that has ended."""
    return Record(
        f"pid{number}", "/", f"sid{number}", owner, 0, 1, "7", "test", [0, 0, {}, []], "{}", True
    )


class TurnTests(RecoveryTestCase):
    def recovery(self, number: int = 0) -> NodeRecovery:
        found = self.servers[number].made.recovery
        assert found is not None
        return found

    async def steps(self, left: Callable[[], int]) -> list[int]:
        """How much of something is done in each turn, until nothing is left."""
        counts = [left()]
        async with asyncio.timeout(5):
            while counts[-1]:
                await asyncio.sleep(0)
                counts.append(left())
        return [before - after for before, after in pairwise(counts) if before != after]

    @asynchronous
    async def test_records_expire(self) -> None:
        self.patch(other_nodes, "HEARTBEAT_S", 0.01)
        await self.start(1)
        records = self.recovery().records
        for number in range(MANY):
            records.store(record(number, "gone"))
        self.patch(records, "_now", lambda: asyncio.get_running_loop().time() + 60)
        steps = await self.steps(lambda: len(records))
        self.assertEqual(sum(steps), MANY)
        self.assertLessEqual(max(steps), 1000)

    @asynchronous
    async def test_sockets_whose_events_are_lost(self) -> None:
        self.patch(node_recovery, "AT_ONCE", 2)
        await self.start()
        found = [await self.session(0, "r") for _ in range(5)]
        await self.session(1)  # of another node, which has lost nothing
        sockets = [each.server_socket() for each in found]
        self.lose_frames(0)
        last = found[-1]
        last.lose_connection()  # before its socket is ended
        self.assertEqual({each.recovery_session for each in sockets}, {None})
        steps = await self.steps(lambda: sum(each.client.closed is None for each in found))
        self.assertEqual(steps, [2, 2])
        self.assertEqual([each.client.closed for each in found], ["transport close"] * 5)
        for number, session in enumerate(found):
            await session.connect(self.servers[number % 2])
            self.assertFalse(session.recovered)

    @asynchronous
    async def test_a_client_comes_back_before_its_lost_socket_is_closed(self) -> None:
        self.patch(node_recovery, "AT_ONCE", 1)
        await self.start()
        found = [await self.session(0, "r") for _ in range(20)]
        self.lose_frames(0)
        self.servers[0].of("/").to("r").emit("after the gap")
        last = found[-1]
        self.assertIsNone(last.client.closed)
        last.look()
        await last.connect()  # the same node
        self.assertFalse(last.recovered)
        await self.session(1)
        await last.connect(self.servers[1])
        self.assertTrue(last.recovered)  # the new session

    @asynchronous
    async def test_records_for_a_node_that_begins(self) -> None:
        await self.start(1)
        recovery = self.recovery()
        for number in range(MANY):
            recovery.records.store(record(number, self.servers[0].made.token))
        encoded = 0
        encode = Record.encode

        def counted(record: Record) -> bytes:
            nonlocal encoded
            encoded += 1
            return encode(record)

        self.patch(Record, "encode", counted)
        starting = asyncio.ensure_future(self.nodes.start(Chat, recovery=60))
        steps = await self.steps(lambda: MANY - encoded)
        self.assertLessEqual(max(steps), 200)
        server = await starting
        await until(lambda: len(server.made.recovery.records) == MANY)

    @asynchronous
    async def test_data_changes_while_a_node_begins(self) -> None:
        await self.start()
        session = await self.session(0)
        socket = session.server_socket()
        recovery_session = socket.recovery_session
        assert recovery_session is not None
        socket.data["x"] = 1
        self.recovery()._published.record(socket, recovery_session)  # for the node that begins
        socket.data_changes()
        await turns()
        found = self.recovery(1).records.get(session.pid or "")
        assert found is not None
        self.assertEqual(found.data, '{"x":1}')

    @asynchronous
    async def test_errors_are_logged(self) -> None:
        await self.start(1)

        async def fails() -> None:
            raise LookupError("a bug")

        self.servers[0].made.run(fails())
        await turns()
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def lose_frames(self, number: int) -> None:
        recovery = self.recovery(number)
        pubsub: Any = self.servers[number].made.pubsub
        pubsub.subscriptions._frames_lost(recovery.logs["/"]._topic)
