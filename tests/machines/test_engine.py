"""The scripts in Redis do what the engine in memory does (engine_model.py).

Hypothesis runs the same steps on both and compares what each step returns. The scripts read a
clock that the test sets. IDs and generations differ, so they are compared by their order.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cluster.core.machines.engine import START, Engine, EngineError, Turn
from cluster.uplink.redis_engine import RedisEngine
from cluster.uplink.scripts import Script, compose, script, site_prefix
from cluster.uplink.url import parse_bus_url
from tests import profiles  # noqa: F401
from tests.machines.engine_model import ModelEngine, ModelRedis
from tests.machines.redis_server import NO_VALKEY, VALKEY, RedisServer, RedisTestCase

INBOX_BYTES, LOG_BYTES = 300, 900
MACHINES = ("A", "B", "C")
SITE = "site"


def with_test_clock(name: str) -> Script:
    """A script that reads the test's clock instead of the server's."""
    text = script(name).text.replace("redis.call('TIME')", "redis.call('HMGET', 'clock', 's', 'u')")
    assert "TIME" not in text.replace("RUNTIME", ""), name
    flags, _, rest = text.partition("\n")
    return compose(f"{flags}\n{rest}", "")


class TestEngine(RedisEngine):
    """RedisEngine by the test's clock."""

    def _script(self, name: str) -> Script:
        return with_test_clock(name)

    async def outside(self, request: str, data: bytes, prefer: str) -> str:
        writer = self._connection(self._writer)
        answer = await writer.run(self._script("outside"), request, data, prefer, INBOX_BYTES)
        return str(answer.decode())

    async def set_clock(self, now: int) -> None:
        writer = self._connection(self._writer)
        await writer.call("HSET", "clock", "s", now // 1000, "u", now % 1000 * 1000)

    async def call(self, *command: str) -> Any:
        return await self._connection(self._writer).call(*command)


class Numbers:
    """Replaces values by the order in which they are seen."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}

    def __call__(self, value: Any) -> int:
        return self._known.setdefault(value, len(self._known))


class Known:
    """What a machine knows: its member and generation, and the IDs that it has read."""

    def __init__(self, name: str) -> None:
        self.member, self.generation = f"{name}~00000000", "none"
        self.log = [START]
        self.inbox = [START]
        self.number = 0
        self.lives = 0


class Side:
    """One of both systems."""

    def __init__(self, engines: dict[str, Engine]) -> None:
        self.engines = engines
        self.known = {name: Known(name) for name in engines}
        self.generations = Numbers()

    async def hello(self, name: str, owner: str, fingerprint: str) -> Any:
        known = self.known[name]
        known.lives += 1
        member = f"{name}~{known.lives:08x}"
        joined = await self.engines[name].hello(member, name, owner, fingerprint)
        known.member, known.generation = member, joined.generation
        known.log, known.inbox, known.number = [joined.log_id], [START], 0
        again = await self.engines[name].hello(member, name, owner, fingerprint)
        assert again == joined, (again, joined)
        return self.generations(joined.generation), joined.created, joined.members

    async def write(self, name: str, step: int, log: bytes, to: list[str], data: bytes) -> Any:
        known = self.known[name]
        number = max(1, known.number + step)
        inboxes = tuple((self.known[each].member, data) for each in to)
        answers = ((f"request {number}", data),) if data else ()
        turn = Turn(number, log, inboxes, answers, known.log[-1])
        refused = await self.engines[name].write(known.generation, known.member, turn)
        known.number = max(known.number, number)
        again = await self.engines[name].write(known.generation, known.member, turn)
        assert again == refused, (again, refused)
        return sorted(refused)

    async def read(self, name: str) -> Any:
        known = self.known[name]
        entries: list[Any] = []
        messages: list[Any] = []
        while True:  # an engine may return a part of what there is
            log, inbox = await self.engines[name].read(
                known.generation, known.member, known.log[-1], known.inbox[-1], 0
            )
            known.log += [each.id for each in log]
            known.inbox += [each.id for each in inbox]
            entries += [(each.kind, each.member, each.data, each.ended) for each in log]
            messages += [(each.kind, each.member, each.after != "", each.data) for each in inbox]
            if not log and not inbox:
                return entries, messages

    async def beat(self, name: str, back: int) -> Any:
        known = self.known[name]
        log_id = known.log[max(0, len(known.log) - 1 - back)]
        inbox_id = known.inbox[max(0, len(known.inbox) - 1 - back)]
        return await self.engines[name].beat(known.generation, known.member, log_id, inbox_id)

    async def goodbye(self, name: str) -> Any:
        known = self.known[name]
        await self.engines[name].goodbye(known.generation, known.member)


names = st.sampled_from(MACHINES)
writes = st.tuples(
    st.just("write"),
    names,
    st.sampled_from([1, 1, 1, 1, 0, -1, 2]),
    st.sampled_from([b"", b"log", bytes(200)]),
    st.lists(names, unique=True),
    st.sampled_from([b"", b"data", bytes(120)]),
)
reads = st.tuples(st.just("read"), names)
beats = st.tuples(st.just("beat"), names, st.integers(0, 3))
ticks = st.tuples(st.just("tick"), st.sampled_from([1, 500, 2500]))
jumps = st.tuples(st.just("tick"), st.sampled_from([3500, 6000, 100_000, -2000, -50_000]))
requests = st.tuples(
    st.just("outside"),
    st.sampled_from(["1", "2", "3", "4"]),
    st.sampled_from([b"", bytes(150)]),
    st.sampled_from(["", *MACHINES]),
)
hellos = st.tuples(st.just("hello"), names, st.sampled_from("oooop"), st.sampled_from("sssst"))
goodbyes = st.tuples(st.just("goodbye"), names)
flushes = st.tuples(st.just("flush"))
often = [writes, writes, writes, writes, reads, reads, beats, beats, beats, ticks, ticks]
steps = st.sampled_from(
    [*often, *often, requests, requests, hellos, hellos, goodbyes, jumps, flushes]
).flatmap(lambda kind: kind)
beginnings = st.sampled_from([[], *3 * [[("hello", name, "o", "s") for name in MACHINES]]])


async def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the name of its error."""
    try:
        return await call()
    except EngineError as error:
        return type(error).__name__


class Play:
    """Both sides, with one clock."""

    def __init__(self, url: str) -> None:
        self.server = ModelRedis(INBOX_BYTES, LOG_BYTES)
        self.model = Side({name: ModelEngine(self.server) for name in MACHINES})
        self.redis = {
            name: TestEngine(parse_bus_url(url), SITE, name, INBOX_BYTES, LOG_BYTES)
            for name in MACHINES
        }
        self.real = Side(dict(self.redis))

    async def connect(self) -> None:
        for side in (self.model, self.real):
            for engine in side.engines.values():
                await engine.connect()
        await self.redis["A"].call("FLUSHALL")
        await self.redis["A"].set_clock(self.server.now)

    async def close(self) -> None:
        for engine in self.redis.values():
            await engine.close()

    async def step(self, name: str, *arguments: Any) -> tuple[Any, Any]:
        """Do a step on both sides; returns what came of it."""
        if name == "tick":
            self.server.now += arguments[0]
            await self.redis["A"].set_clock(self.server.now)
            return None, None
        if name == "flush":
            await self.redis["A"].call("FLUSHALL")
            await self.redis["A"].set_clock(self.server.now)
            self.server.current, self.server.fingerprint = None, ""
            self.server.requests.clear()
            self.server.answers.clear()
            self.server.order = 0
            return None, None
        if name == "outside":
            return (
                await outcome(lambda: self._outside(*arguments)),
                await outcome(lambda: self.redis["A"].outside(*arguments)),
            )
        return (
            await outcome(lambda: getattr(self.model, name)(*arguments)),
            await outcome(lambda: getattr(self.real, name)(*arguments)),
        )

    async def _outside(self, request: str, data: bytes, prefer: str) -> str:
        return self.server.outside(request, data, prefer)

    async def check(self) -> str:
        """Compare what is stored; returns what differs."""
        current = self.server.current
        prefix = site_prefix(SITE)
        for request, answers in self.server.answers.items():
            stored = await self.redis["A"].call("LRANGE", f"{prefix}reply:{request}", "0", "-1")
            if stored != answers:
                return f"answers to {request}: {answers} {stored}"
        keys = await self.redis["A"].call("KEYS", f"{prefix}*:log")
        if current is None:
            return f"{keys}" if keys else ""
        if len(keys) != 1:
            return f"generations: {keys}"
        length = await self.redis["A"].call("XLEN", keys[0])
        state = f"{keys[0].decode().removesuffix('log')}state"
        log, base = await self.redis["A"].call("HMGET", state, "log", "base")
        found = (length, int(log), int(base))
        expected = (len(current.log.entries), current.log.total, current.log.base)
        return "" if found == expected else f"log: {expected} {found}"


class ModelTests(RedisTestCase):
    """One server for all examples."""

    server: RedisServer

    def setUp(self) -> None:
        super().setUp()
        self.server = self.start_redis()

    def play(self, steps: list[Any]) -> list[Any]:
        """Do the steps on both sides and compare; returns what came of them."""

        async def play() -> list[Any]:
            both = Play(self.server.url)
            await both.connect()
            try:
                done = []
                for step in steps:
                    model, real = await both.step(*step)
                    done.append((step, model))
                    self.assertEqual(model, real, f"model, Redis after {done}")
                    self.assertEqual("", await both.check(), f"model, Redis after {done}")
                return [result for _, result in done]
            finally:
                await both.close()

        return asyncio.run(play())

    @given(beginnings, st.lists(steps, min_size=10, max_size=50))
    def examples(self, beginning: list[Any], steps: list[Any]) -> None:
        self.play([*beginning, *steps])

    def test_redis_does_what_the_model_does(self) -> None:
        self.examples()

    def test_a_member_that_does_not_read_cannot_keep_the_log_full(self) -> None:
        hellos = [("hello", name, "o", "s") for name in MACHINES[:2]]
        writes = [("write", "A", 1, bytes(600), [], b"")] * 2
        second = [("tick", 1000), ("read", "A"), ("beat", "A", 0), ("beat", "B", 0)]
        results = self.play([*hellos, *writes, *10 * second, *writes[:1]])
        self.assertEqual("EngineFull", results[-1])
        for beating in "AB":
            end = [("tick", 2000), *(("beat", each, 0) for each in (beating, "B", "A"))]
            results = self.play([*hellos, *writes, *10 * second, *end, *writes[:1]])
            self.assertEqual(["Gone", []], [results[-3], results[-1]])

    def test_a_name_is_free_after_its_lease_when_the_clock_was_set_back(self) -> None:
        hellos = [("hello", "A", "o", "s"), ("tick", -50_000), ("hello", "A", "p", "s")]
        results = self.play([*hellos, ("tick", 4_000), hellos[-1], ("tick", 2_000), hellos[-1]])
        self.assertEqual(["NameTaken"] * 2, [results[2], results[4]])
        self.assertNotEqual("NameTaken", results[-1])

    def test_a_member_that_does_not_read_is_removed_when_the_clock_was_set_back(self) -> None:
        hellos = [("hello", name, "o", "s") for name in MACHINES[:2]]
        writes = [("write", "A", 1, bytes(600), [], b"")] * 2
        second = [("tick", 1000), ("read", "A"), ("beat", "A", 0), ("beat", "B", 0)]
        results = self.play([*hellos, *writes, ("tick", -50_000), *13 * second, *writes[:1]])
        self.assertEqual([], results[-1])

    def test_the_last_member_may_be_the_one_that_does_not_read(self) -> None:
        writes = [("write", "A", 1, bytes(600), [], b"")] * 2
        second = [("tick", 1000), ("beat", "A", 0)]
        results = self.play([("hello", "A", "o", "s"), *writes, *12 * second])
        self.assertEqual("GenerationChanged", results[-1])


class ValkeyTests(ModelTests):
    skip = NO_VALKEY
    program = VALKEY
