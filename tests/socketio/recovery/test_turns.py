"""What recovery does in a turn of the event loop is bounded, however many sessions there are."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from cluster.socketio.recovery import node_recovery, other_nodes
from cluster.socketio.recovery.node_recovery import NodeRecovery
from cluster.socketio.recovery.records import Record
from cluster.testing import asynchronous
from tests.socketio.nodes import until
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
        steps = await self.steps(lambda: sum(each.recovery_session is not None for each in sockets))
        self.assertEqual(steps, [2, 2])
        self.assertEqual([each.client.closed for each in found], ["transport close"] * 5)
        for session in found:
            await session.connect(self.servers[1])
            self.assertFalse(session.recovered)

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

    def lose_frames(self, number: int) -> None:
        recovery = self.recovery(number)
        pubsub: Any = self.servers[number].made.pubsub
        pubsub.subscriptions._frames_lost(recovery.logs["/"]._topic)
