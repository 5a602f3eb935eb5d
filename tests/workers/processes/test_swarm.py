"""A swarm of idle clients: shards in this process and in child processes, and the end of a run."""

from typing import Any

from twisted.internet.defer import gatherResults

from tests.workers.swarm_server import SwarmTestCase, reactor
from workers.processes.plan import Plan
from workers.processes.shard import Shard
from workers.processes.swarm import Swarm
from workers.reporting.summary import merged_counts


class SwarmTests(SwarmTestCase):
    async def test_idle(self) -> None:
        swarm = Swarm(reactor, Shard, Plan(**self.common("/")))

        async def steps() -> None:
            await swarm.all("connected")
            await swarm.pause(0.01)
            self.assertEqual(len(self.server.connections), 5)

        reports = await swarm.through(steps())
        self.assertIsNone(swarm.stopped)
        self.assertEqual(merged_counts(reports, "tally")["opened"], 5)
        self.assertEqual(merged_counts(reports, "failures"), {})

    async def test_a_lost_connection(self) -> None:
        swarm = Swarm(reactor, Shard, Plan(**self.common("/")))

        async def steps() -> None:
            await swarm.all("connected")
            peer = next(iter(self.server.connections))
            peer.transport.abortConnection()
            while not swarm.tally["failed"]:
                await swarm.pause(0.01)

        reports = await swarm.through(steps())
        self.assertEqual(merged_counts(reports, "failures"), {"connection lost (1006)": 1})

    async def test_stopped(self) -> None:
        swarm = Swarm(reactor, Shard, Plan(**self.common("/")))

        async def steps() -> None:
            await swarm.all("connected")
            reactor.callLater(0, swarm.stop, None)
            await swarm.pause(1000)

        reports = await swarm.through(steps())
        assert swarm.stopped is not None
        self.assertIsNone(swarm.stopped.why)
        self.assertEqual(merged_counts(reports, "tally")["opened"], 5)

    async def test_a_process_that_dies(self) -> None:
        swarm = Swarm(reactor, Shard, Plan(**self.common("/"), shards=2))

        async def steps() -> None:
            await swarm.all("connected")
            shard: Any = swarm._shards[0]
            shard._child.transport.signalProcess("KILL")
            await swarm.pause(1000)

        reports = await swarm.through(steps())
        assert swarm.stopped is not None
        self.assertIn("a process of the swarm ended early", str(swarm.stopped.why))
        self.assertEqual(len(reports), 1)

    async def test_an_event_before_anything_waits_for_it(self) -> None:
        swarm = Swarm(reactor, Shard, Plan(**self.common("/")))

        async def steps() -> None:
            while not swarm.tally["opened"]:
                await swarm.pause(0.01)
            both = gatherResults([swarm.all("connected")])
            await both

        await swarm.through(steps())
        self.assertIsNone(swarm.stopped)
