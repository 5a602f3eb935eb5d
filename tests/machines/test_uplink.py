"""The uplink of a machine, with an engine in memory and a clock that does not wait."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines.engine import Deliveries, EngineUnusable, Gone
from cluster.uplink import member
from tests.machines.engine_model import ModelEngine, ModelRedis
from tests.machines.fakes import Machine, run_instantly


class ModelMachine(Machine):
    """A machine with an engine in memory."""

    def __init__(self, server: ModelRedis, name: str, owner: str = "", nodes: Any = ()) -> None:
        self.engine = ModelEngine(server)
        super().__init__(self.engine, name, owner, nodes=nodes)


class UplinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = ModelRedis()
        self.milliseconds = 0.0

    def passed(self, seconds: float) -> None:
        self.milliseconds += 1000 * seconds
        self.server.now += int(self.milliseconds)
        self.milliseconds -= int(self.milliseconds)

    def play(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        run_instantly(test(), self.passed)

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.001)

    async def joined(self, *names: str) -> list[ModelMachine]:
        machines = [ModelMachine(self.server, name) for name in names]
        await self.until(lambda: all(each.state == "joined" for each in machines))
        return machines

    def test_machines_hear_each_other(self) -> None:
        async def test() -> None:
            a, b = await self.joined("A", "B")
            a.gateway.put(b"one", (b.gateway.member, b"batch"))
            await self.until(lambda: b.gateway.inbox and a.gateway.turns())
            self.assertEqual([b"one"], a.gateway.turns())
            self.assertEqual([b"one"], b.gateway.turns())
            self.assertEqual([b"batch"], [each.data for each in b.gateway.inbox])
            self.assertEqual({Deliveries}, {type(each) for each in a.delivered})
            stats = a.uplink.stats()
            self.assertEqual((1, 8), (stats["turns"], stats["bytes"]))

        self.play(test)

    def test_many_wakes_are_one_write(self) -> None:
        async def test() -> None:
            (a,) = await self.joined("A")
            before = self.server.calls["write"]
            a.gateway.queue.append((b"x", ()))
            for _ in range(100):
                a.uplink.wake()
            await self.until(a.gateway.turns)
            self.assertEqual(before + 1, self.server.calls["write"])

        self.play(test)

    def test_a_turn_whose_answer_was_lost_is_written_once(self) -> None:
        async def test() -> None:
            a, b = await self.joined("A", "B")
            for lose in (a.engine.lose_before, a.engine.lose_after):
                lose("write")
                a.gateway.put(b"turn", (b.gateway.member, b"batch"))
                written = len(b.gateway.inbox)
                await self.until(lambda: len(b.gateway.inbox) > written)  # noqa: B023
                await self.until(lambda: a.state == "joined")
            await asyncio.sleep(2)
            self.assertEqual([b"turn", b"turn"], b.gateway.turns())
            self.assertEqual(2, len(b.gateway.inbox))
            self.assertEqual(1, len(a.joins()))
            self.assertEqual(2, a.uplink.stats()["reconnects"])

        self.play(test)

    def test_a_short_interruption_keeps_the_member(self) -> None:
        async def test() -> None:
            a, b = await self.joined("A", "B")
            a.engine.refusal = "no route"
            b.gateway.put(b"meanwhile")
            await self.until(lambda: a.state == "interrupted")
            self.assertEqual("no route", a.reason)
            await asyncio.sleep(3)
            a.engine.refusal = ""
            await self.until(lambda: a.state == "joined")
            await self.until(a.gateway.turns)
            self.assertEqual(1, len(a.joins()))
            self.assertEqual("", a.reason)

        self.play(test)

    def test_an_interruption_longer_than_the_lease(self) -> None:
        """The machine knows itself that it is cut off, when the others remove it."""

        async def test() -> None:
            a, b = await self.joined("A", "B")
            since = self.server.now
            a.engine.refusal = "no route"
            a.gateway.put(b"never written")
            await self.until(lambda: a.state == "cut off")
            self.assertLessEqual(self.server.now - since, 5_010)
            self.assertEqual("no route", a.reason)
            self.assertIn(("cut off",), a.gateway.events)
            await self.until(lambda: any(each.kind == "L" for each in b.gateway.log))
            self.assertLessEqual(self.server.now - since, 6_100)
            a.engine.refusal = ""
            await self.until(lambda: a.state == "joined")
            self.assertEqual(2, len(set(a.joins())))
            self.assertEqual([], b.gateway.turns())

        self.play(test)

    def test_the_engine_is_restarted_empty(self) -> None:
        async def test() -> None:
            a, b = await self.joined("A", "B")
            self.server.restart()
            for each in (a, b):
                await self.until(lambda: len(each.joins()) == 2)  # noqa: B023
                self.assertEqual(1, each.uplink.stats()["generation_changes"])
            a.gateway.put(b"again")
            await self.until(lambda: b.gateway.turns() == [b"again"])

        self.play(test)

    def test_an_engine_that_answers_again_is_joined_within_a_second(self) -> None:
        async def test() -> None:
            machines = await self.joined("A", "B")
            for each in machines:
                each.engine.refusal = "no route"
            await asyncio.sleep(60)
            self.assertEqual({"cut off"}, {each.state for each in machines})
            self.server.restart()
            since = self.server.now
            for each in machines:
                each.engine.refusal = ""
            await self.until(lambda: all(each.state == "joined" for each in machines))
            self.assertLessEqual(self.server.now - since, 1_010)

        self.play(test)

    def test_another_one_is_promoted(self) -> None:
        async def test() -> None:
            a, b = await self.joined("A", "B")
            saved = self.server.save()
            a.gateway.put(b"lost by the failover")
            await self.until(b.gateway.turns)
            self.server.fail_over(saved)
            await self.until(lambda: len(a.joins()) == len(b.joins()) == 2)

        self.play(test)

    def test_a_removed_member_joins_again(self) -> None:
        async def test() -> None:
            a, b = await self.joined("A", "B")
            assert self.server.current is not None
            await asyncio.sleep(1.5)
            self.server.current.remove(self.server.now, a.gateway.member)
            await self.until(lambda: len(a.joins()) == 2)
            self.assertEqual(1, len(b.joins()))
            self.assertEqual(0, a.uplink.stats()["generation_changes"])
            self.assertNotIn(("cut off",), a.gateway.events)

        self.play(test)

    def test_a_member_that_is_removed_again_and_again(self) -> None:
        """Each attempt is logged to all machines, so there is not one after the other."""

        async def test() -> None:
            (a,) = await self.joined("A")

            def remove(*arguments: Any) -> Any:
                raise Gone("the state cannot be used")

            a.gateway.read = remove  # type: ignore[method-assign]
            since = self.server.now
            for each in range(10):
                await self.until(lambda: len(a.joins()) > each)  # noqa: B023
                a.gateway.put(b"something to read")
            await self.until(lambda: len(a.joins()) > 10)
            self.assertGreater(self.server.now - since, 3000)

        self.play(test)

    def test_a_removed_member_that_cannot_join_at_once_is_cut_off(self) -> None:
        async def test() -> None:
            (a,) = await self.joined("A")
            assert self.server.current is not None
            self.server.current.remove(self.server.now, a.gateway.member)
            a.engine.lose_before("hello")
            await self.until(lambda: len(a.joins()) == 2)
            self.assertEqual(1, a.gateway.events.count(("cut off",)))

        self.play(test)

    def test_the_clock_of_the_engine(self) -> None:
        async def test() -> None:
            (a,) = await self.joined("A")
            await asyncio.sleep(10)
            self.assertLess(self.server.now - a.gateway.engine_time, 1100)

        self.play(test)

    def test_a_name_that_is_taken(self) -> None:
        async def test() -> None:
            (a,) = await self.joined("A")
            other = ModelMachine(self.server, "A", "another owner")
            await asyncio.sleep(60)
            self.assertEqual("connecting", other.state)
            self.assertIn("another machine named A", other.reason)
            self.assertLess(other.engine.calls.count("hello"), 15)
            self.assertEqual(1, len(a.joins()))
            await a.stop()
            await self.until(lambda: other.state == "joined")

        self.play(test)

    def test_an_engine_that_cannot_be_used(self) -> None:
        async def test() -> None:
            connect = ModelEngine.connect

            async def refuse(engine: ModelEngine) -> None:
                raise EngineUnusable("wrong password")

            self.patch(ModelEngine, "connect", refuse)
            a = ModelMachine(self.server, "A")
            await asyncio.sleep(1)
            self.assertEqual(("connecting", "wrong password"), (a.state, a.reason))
            ModelEngine.connect = connect  # type: ignore[method-assign]
            await self.until(lambda: a.state == "joined")

        self.play(test)

    def test_errors_of_c10k_do_not_end_the_uplink(self) -> None:
        async def test() -> None:
            (a,) = await self.joined("A")
            connect, cut_off, failures = a.engine.connect, a.gateway.cut_off, [1, 2]

            async def fail() -> None:
                if failures:
                    raise KeyError(failures.pop())
                await connect()

            def fail_too() -> Any:
                cut_off()
                raise IndexError("one more")

            a.engine.connect = fail  # type: ignore[method-assign]
            a.gateway.cut_off = fail_too  # type: ignore[method-assign]
            self.server.restart()
            await self.until(lambda: len(a.joins()) == 2 and a.state == "joined")

        self.play(test)
        self.assertEqual(2, len(self.flushLoggedErrors(KeyError)))
        self.assertEqual(1, len(self.flushLoggedErrors(IndexError)))

    def test_changes_are_logged_in_a_single_line_each(self) -> None:
        lines: list[str] = []

        def observe(event: Any) -> None:
            if event.get("log_namespace", "").startswith("cluster.uplink"):
                lines.append(str(formatEvent(event)))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

        async def test() -> None:
            (b,) = await self.joined("B")
            (a,) = await self.joined("A")
            a.engine.refusal = "no route"
            await self.until(lambda: a.state == "cut off")
            await asyncio.sleep(60)
            a.engine.refusal = ""
            await self.until(lambda: a.state == "joined")
            self.assertEqual(
                [
                    f"joined the other machines as {b.gateway.member}: there is no other",
                    f"joined the other machines as {a.joins()[0]}: B",
                    "uplink interrupted: no route",
                    "uplink cut off: no route",
                    f"joined the other machines as {a.joins()[1]}: B",
                ],
                lines,
            )

        self.play(test)

    def test_an_engine_without_memory(self) -> None:
        async def test() -> None:
            a, b = await self.joined("A", "B")
            self.server.refusal = "no memory"
            a.gateway.put(b"later")
            await self.until(lambda: a.state == "interrupted")
            await asyncio.sleep(20)
            self.assertEqual(("interrupted", "no memory"), (a.state, a.reason))
            self.assertEqual(0, a.uplink.stats()["reconnects"])
            self.server.refusal = ""
            await self.until(lambda: b.gateway.turns() == [b"later"])
            self.assertEqual("joined", a.state)
            self.assertEqual(1, len(a.joins()))

        self.play(test)

    def test_a_full_inbox_is_tried_again_later(self) -> None:
        async def test() -> None:
            (a,) = await self.joined("A")
            begun, retry = self.server.calls["write"], a.gateway.retry

            def again() -> None:
                retry()
                a.gateway.put(b"", ("gone~1", b"batch"))

            a.gateway.retry = again  # type: ignore[method-assign]
            a.gateway.put(b"", ("gone~1", b"batch"))
            for number in range(100):
                await asyncio.sleep(0.1)
                a.gateway.put(b"%d" % number)
            await self.until(lambda: a.gateway.turns()[-1:] == [b"99"])
            self.assertTrue(30 < self.server.calls["write"] - begun - 100 < 100)

        self.play(test)

    def test_a_full_inbox_does_not_delay_other_turns(self) -> None:
        async def test() -> None:
            (a,) = await self.joined("A")
            a.gateway.put(b"", ("gone~1", b"batch"))
            a.gateway.put(b"one")
            a.gateway.put(b"two")
            await asyncio.sleep(0.001)
            self.assertEqual(a.gateway.turns(), [b"one", b"two"])

        self.play(test)

    def test_much_to_read_does_not_hold_up_the_loop(self) -> None:
        async def test() -> None:
            (a,) = await self.joined("A")
            self.patch(member, "TURN_S", 0.0)
            turns = 0
            assert self.server.current is not None
            for number in range(20 * member.SLICE):
                self.server.current.add_log(self.server.now, "T", "B~1", b"%d" % number)
            self.server._changed()
            while len(a.gateway.turns()) < 20 * member.SLICE:
                await asyncio.sleep(0)
                turns += 1
            self.assertGreater(turns, 19)
            expected = [b"%d" % number for number in range(20 * member.SLICE)]
            self.assertEqual(expected, a.gateway.turns())

        self.play(test)

    def test_what_is_read_is_trimmed_before_the_next_second(self) -> None:
        async def test() -> None:
            self.server.inbox_bytes = 2 << 20
            a, b = await self.joined("A", "B")
            since = self.server.now
            for number in range(32):
                a.gateway.put(b"", (b.gateway.member, bytes(1 << 20)))
                while len(b.gateway.inbox) <= number:
                    await asyncio.sleep(0)
            self.assertEqual([], self.refused(a))
            self.assertLess(self.server.now - since, 1000)

        self.play(test)

    def refused(self, machine: Machine) -> list[Any]:
        return [each for each in machine.gateway.events if each[0] == "written" and each[1]]

    def test_stop_writes_what_is_queued_and_says_goodbye(self) -> None:
        async def test() -> None:
            a, b = await self.joined("A", "B")
            a.gateway.put(b"the last")
            await a.stop()
            await self.until(lambda: any(each.kind == "L" for each in b.gateway.log))
            self.assertEqual([b"the last"], b.gateway.turns())
            self.assertTrue(b.gateway.log[-1].ended)
            self.assertFalse(a.engine.connected)

        self.play(test)

    def test_stop_with_nodes_leaves_the_place_to_the_next_gateway(self) -> None:
        async def test() -> None:
            (b,) = await self.joined("B")
            a = ModelMachine(self.server, "A", nodes=("node0.1@A",))
            await self.until(lambda: a.state == "joined")
            await a.stop()
            self.assertNotIn("goodbye", a.engine.calls)
            again = ModelMachine(self.server, "A")
            await self.until(lambda: again.state == "joined")
            await self.until(lambda: len(b.gateway.log) == 3)
            self.assertEqual(["J", "L", "J"], [each.kind for each in b.gateway.log])

        self.play(test)

    def test_stop_while_the_engine_is_out_of_reach(self) -> None:
        async def test() -> None:
            a = ModelMachine(self.server, "A")
            a.engine.refusal = "no route"
            await asyncio.sleep(1)
            await a.stop()
            self.assertIsNone(a.uplink._task)

        self.play(test)

    def test_an_error_of_the_gateway_is_logged_and_ends_the_member(self) -> None:
        async def test() -> None:
            (a,) = await self.joined("A")
            read, failed = a.gateway.read, []

            def fail(*arguments: Any) -> Any:
                if not failed:
                    failed.append(arguments)
                    raise ValueError("a bug")
                return read(*arguments)

            a.gateway.read = fail  # type: ignore[method-assign]
            a.gateway.put(b"x")
            await self.until(lambda: len(a.joins()) == 2 and a.state == "joined")
            self.assertIn(("cut off",), a.gateway.events)

        self.play(test)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))
