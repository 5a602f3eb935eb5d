"""Tests of cluster.uplink.probe against a real Redis."""

import asyncio
from pathlib import Path

from cluster.core.exceptions import ConfigurationError
from cluster.uplink import probe as module
from cluster.uplink.probe import ask_server, probe
from cluster.uplink.redis_engine import RedisEngine
from cluster.uplink.url import BusUrl, parse_bus_url
from tests.machines.redis_server import RedisTestCase, free_port

ROOT = Path(__file__).parent.parent.parent


class ProbeTests(RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.start_redis()
        self.url = parse_bus_url(self.server.url)

    def probe(self, machine: str = "a", owner: str = "1", fingerprint: str = "f") -> str:
        return probe(self.url, "shop", machine, owner, fingerprint)

    def join(self, url: BusUrl | None = None) -> None:
        """Machine a of another cluster joins."""

        async def join() -> None:
            engine = RedisEngine(url or self.url, "shop", "a")
            await engine.connect()
            await engine.hello("a~00000001", "a", "1", "f")
            await engine.close()

        asyncio.run(join())

    def refused(self, **given: str) -> str:
        error = self.assertRaises(ConfigurationError, self.probe, **given)
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_an_engine_that_nobody_uses(self) -> None:
        self.assertEqual(self.probe(), "")
        self.assertEqual(self.server.cli("DBSIZE"), "0")

    def test_another_machine_of_the_site_and_the_same_owner_are_accepted(self) -> None:
        self.join()
        self.assertEqual(self.probe("b", "2"), "")
        self.assertEqual(self.probe("a", "1"), "")

    def test_a_name_that_is_in_use(self) -> None:
        self.patch(module, "NAME_S", 0.2)
        self.patch(module, "RETRY_S", 0.05)
        self.join()
        self.assertIn("choose another one with --machine", self.refused(owner="2"))

    def test_the_name_of_a_broker_that_was_killed_is_waited_for(self) -> None:
        waited: list[None] = []
        self.join()
        answer = probe(self.url, "shop", "a", "2", "f", lambda: waited.append(None))
        self.assertEqual((answer, waited), ("", [None]))

    def test_a_name_is_free_when_the_clock_was_set_back_after_its_broker_was_killed(self) -> None:
        self.join()
        alive = self.server.cli("KEYS", "c10k:*:alive")
        later = int(self.server.cli("HGET", alive, "a~00000001")) + 60_000
        self.server.cli("HSET", alive, "a~00000001", str(later))
        self.assertEqual(self.probe(owner="2"), "")

    def test_another_site(self) -> None:
        self.join()
        self.assertIn("another site uses the name 'shop'", self.refused(fingerprint="g"))

    def test_another_redis_knows_no_names(self) -> None:
        self.join()
        self.server.kill()
        self.server.start()
        self.assertEqual(self.probe(owner="2"), "")

    def test_a_wrong_password(self) -> None:
        self.server.cli("CONFIG", "SET", "requirepass", "swordfish")
        self.assertIn("refuses the user or the password", self.refused())
        self.url = parse_bus_url(f"unix://:wrong@{self.server.path}")
        self.assertIn("refuses the user or the password", self.refused())
        self.url = parse_bus_url(f"unix://:swordfish@{self.server.path}")
        self.assertEqual(self.probe(), "")

    def test_a_cluster_is_refused(self) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        server = self.start_redis(*options, tcp=True, name="cluster")
        self.url = parse_bus_url(server.url)
        self.assertIn("cluster mode", self.refused())

    def test_an_engine_that_cannot_be_reached_is_no_error(self) -> None:
        self.url = parse_bus_url(f"redis://127.0.0.1:{free_port()}")
        self.assertNotEqual(self.probe(), "")

    def test_an_engine_that_does_not_answer_is_no_error(self) -> None:
        self.patch(module, "PROBE_S", 0.1)
        self.server.pause()
        self.addCleanup(self.server.resume)
        self.assertEqual(self.probe(), "no answer for 0.1 s")

    def test_the_server_is_described(self) -> None:
        self.assertEqual(asyncio.run(ask_server(self.url)).warnings, ())
        self.server.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        (warning,) = asyncio.run(ask_server(self.url)).warnings
        self.assertIn("allkeys-lru", warning)

    def test_the_configuration_for_a_site_on_several_machines(self) -> None:
        """That of deploy/machines, at another address."""
        config = ROOT / "deploy" / "machines" / "redis.conf"
        here = ("--bind", "127.0.0.1", "--port", "0")
        server = self.start_redis("--include", str(config), *here, name="deployed")
        url = parse_bus_url(f"unix://:CHANGE-ME@{server.path}")
        self.assertEqual(asyncio.run(ask_server(url)).warnings, ())
        answer = server.ask("--no-auth-warning", "-a", "CHANGE-ME", "CONFIG", "GET", "maxmemory")
        self.assertEqual(answer.split(), ["maxmemory", str(512 << 20)])
        self.assertIn("NOAUTH", server.ask("DBSIZE"))
