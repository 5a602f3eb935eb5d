"""Publishers and subscribers, with a server that relays all messages or loses some."""

from typing import Any

from tests.workers.swarm_server import Server, SwarmTestCase, reactor
from workers.load.broadcast_clients import BroadcastPlan, BroadcastShard
from workers.processes import shard
from workers.processes.swarm import Report, Swarm
from workers.reporting.summary import merged_counts, merged_latencies


class BroadcastTests(SwarmTestCase):
    def plan(self, **further: Any) -> BroadcastPlan:
        values = {**self.common("/all/?role=subscriber", 7), "publishers": 2, **further}
        return BroadcastPlan(
            **values, publisher_path="/all/?role=publisher", rate=1000.0, messages=21
        )

    async def broadcast(
        self, plan: BroadcastPlan, delivered: int = 105
    ) -> tuple[list[Report], bool]:
        """Return the reports after `deliveries`, and whether the shards were done."""
        swarm = Swarm(reactor, BroadcastShard, plan)
        done = False

        async def steps() -> None:
            nonlocal done
            await swarm.all("connected")
            swarm.do("announce")
            await swarm.all("announced")
            swarm.do("publish", at=shard.monotonic())
            await swarm.all("published")
            while swarm.tally["delivered"] < delivered:
                await swarm.pause(0.01)
            done = bool(await swarm.all("done", 0.5))

        reports = await swarm.through(steps())
        self.assertIsNone(swarm.stopped)
        return reports, done

    def sums(self, reports: list[Report]) -> list[int]:
        tally = merged_counts(reports, "tally")
        rest = [sum(r[name] for r in reports) for name in ("duplicates", "out_of_order")]
        return [tally["published"], tally["delivered"], *rest]

    async def test_success(self) -> None:
        reports, done = await self.broadcast(self.plan())
        self.assertTrue(done)
        self.assertEqual(self.sums(reports), [21, 105, 0, 0])
        self.assertEqual(len(merged_latencies(reports, "delivery")), 105)

    async def test_in_child_processes(self) -> None:
        reports, done = await self.broadcast(self.plan(shards=2))
        self.assertTrue(done)
        self.assertEqual(self.sums(reports), [21, 105, 0, 0])

    async def test_duplicates_losses_and_wrong_order(self) -> None:
        original = Server.publish
        held: list[bytes] = []

        def publish(server: Server, payload: bytes) -> None:
            words = payload.split()
            if words[:2] == [b"0", b"2"]:
                held.append(payload)
                return
            if words[:2] == [b"1", b"3"]:
                return
            original(server, payload)
            if words[:2] == [b"0", b"5"]:
                original(server, payload)
                original(server, held.pop())

        self.patch(Server, "publish", publish)
        reports, done = await self.broadcast(self.plan(), delivered=100)
        self.assertFalse(done)
        self.assertEqual(self.sums(reports), [21, 100, 5, 5])

    async def test_unknown_messages(self) -> None:
        original = Server.publish

        def publish(server: Server, payload: bytes) -> None:
            if b" 3 " in payload:
                original(server, b"rubbish")
                original(server, b"17 0 0")
            original(server, payload)

        self.patch(Server, "publish", publish)
        reports, done = await self.broadcast(self.plan())
        self.assertTrue(done)
        self.assertEqual(
            merged_counts(reports, "failures"),
            {
                "not a message of this broadcast: b'rubbish'": 10,
                "not a message of this broadcast: b'17 0 0'": 10,
            },
        )
