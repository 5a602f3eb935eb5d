"""Storm clients that reconnect in time, or too late."""

from typing import Any

from autobahn.websocket.types import ConnectionDeny

from tests.workers.patience import PATIENCE_S
from tests.workers.swarm_server import ServerConnection, SwarmTestCase, reactor
from workers.load.storm_clients import StormShard
from workers.processes import shard
from workers.processes.plan import Plan
from workers.processes.swarm import Report, Swarm
from workers.reporting.summary import merged_counts, merged_latencies


class StormTests(SwarmTestCase):
    async def storm(self, within: float = PATIENCE_S, **drop: float) -> tuple[bool, list[Report]]:
        swarm = Swarm(reactor, StormShard, Plan(**self.common("/")))
        reconnected = False

        async def steps() -> None:
            nonlocal reconnected
            await swarm.all("connected")
            swarm.do("drop", **{"jitter": 0.0, **drop})
            reconnected = bool(await swarm.all("reconnected", within))

        reports = await swarm.through(steps())
        self.assertIsNone(swarm.stopped)
        return reconnected, reports

    async def test_all_reconnect(self) -> None:
        for jitter in (0.0, 0.1):
            reconnected, reports = await self.storm(jitter=jitter)
            self.assertTrue(reconnected)
            self.assertEqual(merged_counts(reports, "tally")["opened"], 10)
            self.assertEqual(merged_counts(reports, "failures"), {})
            for name in ("first", "connect", "reconnect"):
                self.assertEqual(len(merged_latencies(reports, name)), 5, name)

    async def test_ended_before_the_storm(self) -> None:
        swarm = Swarm(reactor, StormShard, Plan(**self.common("/")))

        async def steps() -> None:
            await swarm.all("connected")

        reports = await swarm.through(steps())
        sizes = [len(merged_latencies(reports, name)) for name in ("first", "connect", "reconnect")]
        self.assertEqual(sizes, [5, 0, 0])

    async def test_a_refused_client_tries_again(self) -> None:
        self.patch(shard, "MOST_REASONS", 1)
        original = ServerConnection.onConnect
        came: list[ServerConnection] = []

        def refuse_twice(peer: ServerConnection, request: Any) -> None:
            came.append(peer)
            if len(came) in (6, 7):
                raise ConnectionDeny(503, "full")
            original(peer, request)

        self.patch(ServerConnection, "onConnect", refuse_twice)
        reconnected, reports = await self.storm()
        self.assertTrue(reconnected)
        self.assertEqual(merged_counts(reports, "failures"), {"handshake refused: 503 full": 2})
        self.assertEqual(merged_counts(reports, "tally")["retries"], 2)
        self.assertEqual(merged_counts(reports, "tally")["failed"], 0)

    async def test_not_in_time(self) -> None:
        original = ServerConnection.onConnect
        came: list[ServerConnection] = []

        def refuse_later(peer: ServerConnection, request: Any) -> None:
            came.append(peer)
            if len(came) > 5:
                raise ConnectionDeny(503, "full")
            original(peer, request)

        self.patch(ServerConnection, "onConnect", refuse_later)
        reconnected, reports = await self.storm(within=0.2)
        self.assertFalse(reconnected)
        self.assertEqual(merged_counts(reports, "tally")["open"], 0)
