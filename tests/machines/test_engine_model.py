"""The engine in memory. `test_engine.py` compares it with Redis."""

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines.engine import (
    LEASE_MS,
    START,
    AnotherSite,
    EngineUnavailable,
    GenerationChanged,
    Gone,
    NameTaken,
    Turn,
)
from tests.machines.engine_model import ModelEngine, ModelRedis

A, B = "A~00000001", "B~00000001"


class ModelRedisTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = ModelRedis()
        self.a = self.server.hello(A, "A", "owner a", "site")
        self.b = self.server.hello(B, "B", "owner b", "site")

    def test_members_in_the_order_of_joining(self) -> None:
        self.assertEqual((A,), self.a.members)
        self.assertEqual((A, B), self.b.members)
        self.assertEqual((True, False), (self.a.created, self.b.created))

    def test_a_turn_is_taken_once(self) -> None:
        turn = Turn(1, b"log", ((B, b"batch"), ("C~1", b"lost")))
        for _ in range(2):
            refused = self.server.write(self.a.generation, A, turn)
            self.assertEqual({"C~1"}, refused)
        log, inbox = self.server.read(self.b.generation, B, self.b.log_id, START)
        self.assertEqual([(A, b"log")], [(each.member, each.data) for each in log])
        self.assertEqual([(A, b"batch")], [(each.member, each.data) for each in inbox])

    def test_a_lease_ends(self) -> None:
        for _ in range(LEASE_MS // 1000):
            self.server.now += 1000
            self.server.beat(self.a.generation, A, self.a.log_id, START)
        log, _ = self.server.read(self.a.generation, A, self.b.log_id, START)
        self.assertEqual([("L", B)], [(each.kind, each.member) for each in log])
        with self.assertRaises(Gone):
            self.server.beat(self.b.generation, B, self.b.log_id, START)

    def test_a_clock_that_jumps_removes_nobody(self) -> None:
        for step in (3_600_000, -7_200_000):
            self.server.now += step
            self.server.beat(self.a.generation, A, self.a.log_id, START)
            self.server.beat(self.b.generation, B, self.b.log_id, START)

    def test_names_and_sites(self) -> None:
        with self.assertRaises(NameTaken):
            self.server.hello("A~00000002", "A", "another owner", "site")
        with self.assertRaises(AnotherSite):
            self.server.hello("C~00000002", "C", "owner", "another site")
        again = self.server.hello("A~00000002", "A", "owner a", "site")
        self.assertEqual((B, "A~00000002"), again.members)

    def test_a_restart(self) -> None:
        self.server.restart()
        with self.assertRaises(GenerationChanged):
            self.server.beat(self.a.generation, A, self.a.log_id, START)
        self.assertTrue(self.server.hello(B, "B", "owner b", "site").created)


class ModelEngineTests(SynchronousTestCase):
    def test_faults(self) -> None:
        async def run() -> None:
            server = ModelRedis()
            engine = ModelEngine(server)
            await engine.connect()
            joined = await engine.hello(A, "A", "owner", "site")
            turn = Turn(1, b"log", ())
            for lose in (engine.lose_before, engine.lose_after):
                lose("write")
                with self.assertRaises(EngineUnavailable):
                    await engine.write(joined.generation, A, turn)
                await engine.connect()
            await engine.write(joined.generation, A, turn)
            log, _ = await engine.read(joined.generation, A, joined.log_id, START, 1000)
            self.assertEqual([b"log"], [each.data for each in log])
            reading = asyncio.ensure_future(
                engine.read(joined.generation, A, log[-1].id, START, 60_000)
            )
            await asyncio.sleep(0)
            server.write(joined.generation, A, Turn(2, b"more", ()))
            self.assertEqual([b"more"], [each.data for each in (await reading)[0]])
            saved = server.save()
            server.write(joined.generation, A, Turn(3, b"lost", ()))
            server.fail_over(saved)
            with self.assertRaises(EngineUnavailable):
                await engine.beat(joined.generation, A, START, START)
            await engine.connect()
            with self.assertRaises(GenerationChanged):
                await engine.beat(joined.generation, A, START, START)

        asyncio.run(run())
