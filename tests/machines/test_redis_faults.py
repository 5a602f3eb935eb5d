"""Uplinks with a real Redis, and what happens to it: killed, paused, full, failed over."""

import asyncio
import re
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher

from cluster.core.machines.engine import (
    LEASE_MS,
    START,
    Beat,
    Engine,
    EngineError,
    EngineFull,
    EngineRefused,
    EngineUnavailable,
    GenerationChanged,
    Turn,
)
from cluster.uplink import redis_engine
from cluster.uplink.redis_engine import RedisEngine
from cluster.uplink.scripts import site_prefix
from cluster.uplink.url import BusUrl, parse_bus_url
from tests.e2e.test_tls import make_certificate
from tests.machines.fakes import Machine
from tests.machines.proxy import Proxy
from tests.machines.redis_server import (
    CLIENT,
    NO_VALKEY,
    VALKEY,
    RedisServer,
    RedisTestCase,
    SentinelServer,
    free_port,
)
from tests.once import once

ROOT = Path(__file__).parent.parent.parent
LEASE_S = LEASE_MS / 1000
WAIT_S = 60.0


class UplinkTestCase(RedisTestCase):
    """Runs tests that are coroutines on an event loop of their own, and stops all machines."""

    def setUp(self) -> None:
        super().setUp()
        self.machines: list[Machine] = []
        self.proxies: list[Proxy] = []
        self.late_s = 0.0

    def play(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def watch() -> None:
            loop = asyncio.get_running_loop()
            while True:
                before = loop.time()
                await asyncio.sleep(0.05)
                self.late_s = max(self.late_s, loop.time() - before)

        async def run() -> None:
            watching = asyncio.ensure_future(watch())
            try:
                await test()
            finally:
                watching.cancel()
                for machine in self.machines:
                    await machine.stop()
                for proxy in self.proxies:
                    await proxy.stop()

        asyncio.run(run())

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.005)

    async def beat(self, *machines: Machine) -> None:
        """Wait until Redis has answered another beat of each machine."""
        before = [each.gateway.engine_time for each in machines]
        await self.until(
            lambda: all(
                each.gateway.engine_time > time for each, time in zip(machines, before, strict=True)
            )
        )

    def assert_not_interrupted(self, *counts: int) -> None:
        """All are 0, unless this host is so busy that Redis or the test was late."""
        if self.late_s < 0.5:
            self.assertEqual({0}, set(counts))

    def machine(self, url: str, name: str, site: str = "site", **arguments: str) -> Machine:
        machine = Machine(RedisEngine(parse_bus_url(url), site, name), name, **arguments)
        self.machines.append(machine)
        return machine

    async def joined(self, url: str, *names: str) -> list[Machine]:
        machines = [self.machine(url, name) for name in names]
        await self.until(lambda: all(each.state == "joined" for each in machines))
        return machines

    async def proxy(self, server: RedisServer) -> tuple[Proxy, str]:
        proxy = Proxy(server.port)
        self.proxies.append(proxy)
        return proxy, f"redis://127.0.0.1:{await proxy.start()}"


@once
class FaultTests(UplinkTestCase):
    def test_two_connections_and_keys_that_expire(self) -> None:
        server = self.start_redis()

        async def test() -> None:
            a, b = await self.joined(server.url, "A", "B")
            a.gateway.put(b"log", (b.gateway.member, b"batch"))
            await self.until(lambda: b.gateway.inbox and b.gateway.turns())
            names = [line.partition(" name=")[2].split()[0]
                     for line in server.cli("CLIENT", "LIST").splitlines()
                     if " name=c10k" in line]  # fmt: skip
            self.assertEqual(["c10k:A:R", "c10k:A:W", "c10k:B:R", "c10k:B:W"], sorted(names))
            await self.beat(a, b)  # it gives inboxes their time to live
            for key in server.cli("KEYS", "*").splitlines():
                self.assertTrue(key.startswith(site_prefix("site")), key)
                self.assertGreater(int(server.cli("TTL", key)), 0, key)

        self.play(test)

    def test_connections_are_killed(self) -> None:
        server = self.start_redis()

        async def test() -> None:
            a, b = await self.joined(server.url, "A", "B")
            for role in ("W", "R"):
                reconnects = a.uplink.stats()["reconnects"]
                for line in server.cli("CLIENT", "LIST").splitlines():
                    if f"name=c10k:A:{role}" in line:
                        server.cli("CLIENT", "KILL", "ID", line.split()[0].removeprefix("id="))
                a.gateway.put(role.encode())
                await self.until(lambda: role.encode() in b.gateway.turns())  # noqa: B023
                await self.until(lambda: a.uplink.stats()["reconnects"] > reconnects)  # noqa: B023
                await self.until(lambda: a.state == "joined")
            self.assert_not_interrupted(len(a.joins()) - 1)

        self.play(test)

    def test_the_answer_to_a_write_is_lost(self) -> None:
        server = self.start_redis(tcp=True)

        async def test() -> None:
            proxy, url = await self.proxy(server)
            (a,) = await self.joined(url, "A")
            (b,) = await self.joined(server.url, "B")
            for number in range(3):
                reconnects = a.uplink.stats()["reconnects"]
                proxy.lose_answers()
                a.gateway.put(b"%d" % number, (b.gateway.member, b"%d" % number))
                await self.until(lambda: proxy.lost > number)  # noqa: B023
                proxy.resume()
                await self.until(lambda: a.uplink.stats()["reconnects"] > reconnects)  # noqa: B023
                proxy.lost = number + 1
            a.gateway.put(b"end")
            await self.until(lambda: b.gateway.turns()[-1:] == [b"end"])
            self.assertEqual([b"0", b"1", b"2", b"end"], b.gateway.turns())
            self.assertEqual([b"0", b"1", b"2"], [each.data for each in b.gateway.inbox])
            self.assert_not_interrupted(len(a.joins()) - 1)

        self.play(test)

    def test_scripts_are_forgotten(self) -> None:
        server = self.start_redis()

        async def test() -> None:
            a, b = await self.joined(server.url, "A", "B")
            # Not between the loading of the beat's script and its first run: a Redis that forgets a
            # script in this moment is regarded as one that keeps none.
            await self.beat(a, b)
            server.cli("SCRIPT", "FLUSH")
            a.gateway.put(b"log")
            await self.until(lambda: b.gateway.turns() == [b"log"])
            self.assert_not_interrupted(a.uplink.stats()["reconnects"])

        self.play(test)

    def test_redis_is_killed_and_restarted_empty(self) -> None:
        server = self.start_redis()

        async def test() -> None:
            a, b = await self.joined(server.url, "A", "B")
            server.kill()
            await self.until(lambda: a.state == b.state == "interrupted")
            server.start()
            await self.until(lambda: len(a.joins()) == len(b.joins()) == 2)
            await self.until(lambda: a.state == b.state == "joined")
            a.gateway.put(b"again")
            await self.until(lambda: b.gateway.turns() == [b"again"])

        self.play(test)

    def test_keys_are_evicted(self) -> None:
        server = self.start_redis()

        async def test() -> None:
            a, b = await self.joined(server.url, "A", "B")
            for number, part in enumerate(("log", "alive", "state", "read", "life"), 2):
                pattern = "*life" if part == "life" else f"*:{part}"
                server.cli("DEL", *server.cli("KEYS", pattern).splitlines())
                await self.until(lambda: len(a.joins()) == len(b.joins()) == number)  # noqa: B023
                await self.until(lambda: a.state == b.state == "joined")
            a.gateway.put(b"again")
            await self.until(lambda: b.gateway.turns()[-1:] == [b"again"])

        self.play(test)

    def test_redis_has_no_memory(self) -> None:
        """Turns wait; beats still work, so nobody is removed, and what is read is trimmed."""
        server = self.start_redis()

        async def test() -> None:
            a, b = await self.joined(server.url, "A", "B")
            server.cli("CONFIG", "SET", "maxmemory", "1")
            a.gateway.put(b"later", (b.gateway.member, b"later"))
            await self.until(lambda: a.state == "interrupted")
            self.assertIn("no memory left", a.reason)
            await asyncio.sleep(LEASE_S + 1)
            self.assertEqual("joined", b.state)
            c = self.machine(server.url, "C")
            await self.until(lambda: c.state == "joined")
            server.cli("CONFIG", "SET", "maxmemory", "0")
            await self.until(lambda: b.gateway.turns() == [b"later"])
            self.assert_not_interrupted(len(a.joins()) - 1, a.uplink.stats()["reconnects"])
            self.assertEqual(("joined", ""), (a.state, a.reason))

        self.play(test)

    def test_too_few_replicas(self) -> None:
        """A primary that is cut off takes no beats: the machine leaves by its own clock."""
        server = self.start_redis()

        async def test() -> None:
            (a,) = await self.joined(server.url, "A")
            server.cli("CONFIG", "SET", "min-replicas-to-write", "1")
            await self.until(lambda: a.state == "interrupted")
            self.assertIn("min-replicas-to-write", a.reason)
            await self.until(lambda: a.state == "cut off")
            await self.until(lambda: "min-replicas-to-write" in a.reason)
            server.cli("CONFIG", "SET", "min-replicas-to-write", "0")
            await self.until(lambda: a.state == "joined")
            self.assertEqual(2, len(a.joins()))

        self.play(test)

    def test_redis_is_busy_with_a_script_of_another_client(self) -> None:
        server = self.start_redis("--busy-reply-threshold", "50")

        async def test() -> None:
            a, b = await self.joined(server.url, "A", "B")
            endless = subprocess.Popen(
                [str(CLIENT), "-s", server.path, "EVAL", "while true do end", "0"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                a.gateway.put(b"later")
                await self.until(lambda: "busy with a script" in a.reason)
                server.cli("SCRIPT", "KILL")
            finally:
                endless.kill()
                endless.wait()
            await self.until(lambda: b.gateway.turns() == [b"later"])
            await self.until(lambda: a.state == b.state == "joined")
            self.assert_not_interrupted(len(a.joins()) - 1, len(b.joins()) - 1)

        self.play(test)

    def test_redis_is_paused_for_less_than_the_lease(self) -> None:
        server = self.start_redis()

        async def test() -> None:
            a, b = await self.joined(server.url, "A", "B")
            server.pause()
            a.gateway.put(b"meanwhile")
            await asyncio.sleep(2.0)
            server.resume()
            await self.until(lambda: b.gateway.turns() == [b"meanwhile"])
            await self.until(lambda: a.state == b.state == "joined")
            await self.beat(a, b)
            self.assert_not_interrupted(len(a.joins()) - 1, len(b.joins()) - 1)

        self.play(test)

    def test_redis_is_paused_for_longer_than_the_lease(self) -> None:
        server = self.start_redis(tcp=True)

        async def test() -> None:
            loop = asyncio.get_running_loop()
            a, b = await self.joined(server.url, "A", "B")
            server.pause()
            since = loop.time()
            await self.until(lambda: a.state == b.state == "cut off")
            self.assertLess(loop.time() - since, LEASE_S + 0.5)
            self.assertIn("no answer", a.reason)
            await asyncio.sleep(2)
            server.resume()
            await self.until(lambda: a.state == b.state == "joined")
            a.gateway.put(b"again")
            await self.until(lambda: b.gateway.turns() == [b"again"])

        self.play(test)

    def test_a_network_that_forwards_nothing(self) -> None:
        """The other machines remove the one that is cut off, which knows that itself."""
        server = self.start_redis(tcp=True)

        async def test() -> None:
            loop = asyncio.get_running_loop()
            proxy, url = await self.proxy(server)
            (a,) = await self.joined(url, "A")
            (b,) = await self.joined(server.url, "B")
            proxy.stall()
            since = loop.time()
            await self.until(lambda: any(each.kind == "L" for each in b.gateway.log))
            self.assertLess(loop.time() - since, 6.5)
            self.assertEqual("cut off", a.state)
            proxy.resume()
            await self.until(lambda: a.state == "joined")

        self.play(test)

    def test_names_and_sites(self) -> None:
        server = self.start_redis()

        async def test() -> None:
            (a,) = await self.joined(server.url, "A")
            twice = self.machine(server.url, "A", owner="another")
            await self.until(lambda: "another machine named A" in twice.reason)
            stranger = self.machine(server.url, "S", fingerprint="another")
            await self.until(lambda: "another site" in stranger.reason)
            other = self.machine(server.url, "A", site="other", fingerprint="another")
            await self.until(lambda: other.state == "joined")
            self.assertEqual(1, len(a.joins()))
            self.assertEqual(("connecting", "connecting"), (twice.state, stranger.state))

        self.play(test)

    def test_a_user_who_may_do_nothing_else(self) -> None:
        """The user of deploy/machines/redis.conf."""
        config = (ROOT / "deploy" / "machines" / "redis.conf").read_text()
        found = re.search(r"^# +user (c10k .*>(\S+) .*)$", config, re.MULTILINE)
        assert found is not None
        server = self.start_redis()
        server.cli("ACL", "SETUSER", *found[1].split())
        server.cli("ACL", "SETUSER", "default", "off")

        async def test() -> None:
            url = server.url.replace("unix://", f"unix://c10k:{found[2]}@")
            a, b = await self.joined(url, "A", "B")
            a.gateway.put(b"log", (b.gateway.member, b"batch"))
            await self.until(lambda: b.gateway.inbox and b.gateway.turns())
            await self.beat(a, b)
            self.assertEqual(("joined", "joined"), (a.state, b.state))

        self.play(test)

    def test_a_wrong_password_is_nowhere_to_be_seen(self) -> None:
        server = self.start_redis("--requirepass", "right")
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)

        async def test() -> None:
            url = server.url.replace("unix://", "unix://:wrong-secret@")
            a = self.machine(url, "A")
            await self.until(lambda: "the user or the password" in a.reason)
            self.assertNotIn("secret", f"{a.reason} {a.uplink._engine!r} {a.uplink.stats()}")
            b = self.machine(server.url, "B")
            await self.until(lambda: "the user or the password" in b.reason)
            await self.joined(server.url.replace("unix://", "unix://:right@"), "C")

        self.play(test)
        for event in events:
            self.assertNotIn("secret", str(formatEvent(event)))

    def test_a_cluster(self) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        server = self.start_redis(*options, tcp=True)

        async def test() -> None:
            a = self.machine(server.url, "A")
            await self.until(lambda: "cluster mode" in a.reason)

        self.play(test)

    def test_a_replica(self) -> None:
        primary = self.start_redis(tcp=True)
        replica = self.start_redis("--replicaof", f"127.0.0.1 {primary.port}", tcp=True, name="2")

        async def test() -> None:
            a = self.machine(replica.url, "A")
            await self.until(lambda: "replica" in a.reason)
            replica.cli("REPLICAOF", "NO", "ONE")
            await self.until(lambda: a.state == "joined")
            replica.cli("REPLICAOF", "127.0.0.1", str(primary.port))
            await self.until(lambda: "replica" in a.reason)

        self.play(test)


@once
class FailoverTests(UplinkTestCase):
    def test_sentinel_promotes_a_replica(self) -> None:
        primary = self.start_redis(tcp=True, name="1")
        replica = self.start_redis("--replicaof", f"127.0.0.1 {primary.port}", tcp=True, name="2")
        sentinel = SentinelServer(self.folder / "sentinel")
        self.addCleanup(sentinel.stop)
        sentinel.watch(primary)
        dead = free_port()
        url = f"redis+sentinel://127.0.0.1:{dead},127.0.0.1:{sentinel.port}/mymaster"

        async def test() -> None:
            a, b = await self.joined(url, "A", "B")
            a.gateway.put(b"before")
            await self.until(lambda: b.gateway.turns() == [b"before"])
            await self.until(lambda: "slave0" in primary.cli("INFO", "replication"))
            await self.until(lambda: "slaves=1" in sentinel.cli("INFO", "sentinel"))
            primary.kill()
            await self.until(lambda: "role:master" in replica.cli("INFO", "replication"))
            await self.until(lambda: len(a.joins()) == len(b.joins()) == 2)
            await self.until(lambda: a.state == b.state == "joined")
            a.gateway.put(b"after")
            await self.until(lambda: b.gateway.turns() == [b"before", b"after"])
            self.assertEqual(1, a.uplink.stats()["generation_changes"])

        self.play(test)

    def test_a_service_that_no_sentinel_knows(self) -> None:
        primary = self.start_redis(tcp=True, name="1")
        sentinel = SentinelServer(self.folder / "sentinel")
        self.addCleanup(sentinel.stop)
        sentinel.watch(primary)

        async def test() -> None:
            a = self.machine(f"redis+sentinel://127.0.0.1:{sentinel.port}/another", "A")
            await self.until(lambda: "no Sentinel knows" in a.reason)
            b = self.machine(f"redis://127.0.0.1:{sentinel.port}", "B")
            await self.until(lambda: "use redis+sentinel" in b.reason)

        self.play(test)


class EngineTests(UplinkTestCase):
    """RedisEngine alone."""

    def test_limits(self) -> None:
        server = self.start_redis()

        async def test() -> None:
            url = parse_bus_url(server.url)
            engine = RedisEngine(url, "site", "A", inbox_bytes=1000, log_bytes=1000)
            await engine.connect()
            try:
                joined = await engine.hello("A~1", "A", "owner", "print")
                name, generation = joined.member, joined.generation
                data = bytes(1000)
                first = Turn(1, data, ((name, data),), (), joined.log_id)
                self.assertEqual(frozenset(), await engine.write(generation, name, first))
                second = Turn(2, b"", ((name, data),), (), joined.log_id)
                self.assertEqual({name}, await engine.write(generation, name, second))
                third = Turn(3, b"more", (), (), joined.log_id)
                with self.assertRaises(EngineFull):
                    await engine.write(generation, name, third)
                log, inbox = await engine.read(generation, name, joined.log_id, START, 0)
                await engine.beat(generation, name, log[-1].id, inbox[-1].id)
                self.assertEqual(frozenset(), await engine.write(generation, name, third))
                fourth = Turn(4, b"", ((name, data),), (), joined.log_id)
                self.assertEqual(frozenset(), await engine.write(generation, name, fourth))
            finally:
                await engine.close()

        self.play(test)

    def test_a_beat_that_is_sent_with_a_read(self) -> None:
        server = self.start_redis()

        async def test() -> None:
            engine = RedisEngine(parse_bus_url(server.url), "site", "A")
            await engine.connect()
            try:
                joined = await engine.hello("A~1", "A", "owner", "print")
                where = joined.generation, joined.member
                await engine.write(*where, Turn(1, b"entry", (), (), joined.log_id))

                async def answer() -> Any:
                    """The answer to a beat, None without one; the read has the entry."""
                    answers: list[Any] = []
                    beat = Beat(joined.log_id, START, answers.append, answers.append)
                    log, _ = await engine.read(*where, joined.log_id, START, 0, beat)
                    self.assertEqual([b"entry"], [each.data for each in log])
                    return answers[0] if answers else None

                self.assertIsInstance(await answer(), int)
                server.cli("SCRIPT", "FLUSH")
                self.assertIsNone(await answer())
                self.assertIsInstance(await answer(), int)
                server.cli("CONFIG", "SET", "min-replicas-to-write", "1")
                self.assertIsInstance(await answer(), EngineRefused)
                server.cli("CONFIG", "SET", "min-replicas-to-write", "0")
                self.assertIsInstance(await answer(), int)
                await engine.goodbye(*where)
                with self.assertRaises(GenerationChanged):
                    await answer()
                # The answer to the read would be taken for that to the next command.
                with self.assertRaises(EngineUnavailable):
                    await answer()
            finally:
                await engine.close()

        self.play(test)

    def test_large_entries_are_read_a_few_at_a_time(self) -> None:
        """A large answer would hold up the beats on a slow network."""
        self.patch(redis_engine, "READ_BYTES", 20_000)
        server = self.start_redis()

        async def test() -> None:
            engine = RedisEngine(parse_bus_url(server.url), "site", "A")
            await engine.connect()
            try:
                joined = await engine.hello("A~1", "A", "owner", "print")
                for number in range(1, 201):
                    data = bytes(100 if number <= 100 else 5000)
                    turn = Turn(number, data, ((joined.member, data),), (), joined.log_id)
                    await engine.write(joined.generation, joined.member, turn)
                ids, sizes = (joined.log_id, START), []
                while not sizes or sizes[-1]:
                    log, inbox = await engine.read(joined.generation, joined.member, *ids, 0)
                    sizes.append(sum(len(each.data) for each in (*log, *inbox)))
                    ids = (log[-1].id, inbox[-1].id) if log else ids
                self.assertEqual(2 * 100 * 5100, sum(sizes))
                self.assertLess(len([size for size in sizes if size > 20_000]), 8)
                self.assertLess(len(sizes), 80)
            finally:
                await engine.close()

        self.play(test)

    def test_tls(self) -> None:
        key, certificate = make_certificate(self.folder)
        port = free_port()
        files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
        more = ("--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no")
        self.start_redis("--tls-port", str(port), *files, *more)

        async def test() -> None:
            for url, reason in (
                (f"rediss://localhost:{port}?ssl_ca_certs={certificate}", ""),
                (f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}", "127.0.0.1"),
                (f"rediss://localhost:{port}", "certificate"),
            ):
                engine = RedisEngine(parse_bus_url(url), "site", "A")
                try:
                    if reason:
                        with self.assertRaises(EngineUnavailable) as caught:
                            await engine.connect()
                        self.assertIn(reason, str(caught.exception))
                    else:
                        await engine.connect()
                finally:
                    await engine.close()

        self.play(test)

    def test_not_connected(self) -> None:
        async def test() -> None:
            engine: Engine = RedisEngine(BusUrl((("127.0.0.1", free_port()),)), "site", "A")
            with self.assertRaises(EngineUnavailable) as caught:
                await engine.connect()
            self.assertRegex(
                str(caught.exception), r"^cannot connect to 127.0.0.1:\d+: Connection refused$"
            )
            for call in (engine.hello("A~1", "A", "o", "f"), engine.goodbye("g", "A~1")):
                with self.assertRaises(EngineError):
                    await call
            await engine.close()

        self.play(test)


class ValkeyTests(EngineTests):
    skip = NO_VALKEY
    program = VALKEY
