"""Redis servers, Sentinels and the proxy of a drill, on the loopback interface."""

import signal
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, time

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from workers.drill.machines.clock import library
from workers.drill.machines.network import open_loopback
from workers.drill.machines.redis import Engine, installed

HOSTS = ["redis", "replica", "sentinel"]
FAILOVER_SECONDS = 60.0


class EngineTests(SynchronousTestCase):
    skip = None if installed() else "redis-server is not installed"

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.network = stack.enter_context(open_loopback(HOSTS))
        self.folder = Path(self.mktemp()).absolute()

    def test_a_server_starts_again_with_its_data_or_without(self) -> None:
        engine = Engine(self.network, self.folder, ["redis"])
        engine.start()
        server = engine.primary
        self.assertEqual(engine.url, f"redis://127.0.0.1:{server.port}/0")
        server.ask("CONFIG", "SET", "appendfsync", "always")
        server.ask("SET", "key", "value")
        for empty, kept in ((False, "value"), (True, None)):
            server.signal(signal.SIGKILL)
            self.assertFalse(server.is_primary)
            server.start(empty)
            self.assertEqual(server.ask("GET", "key"), kept)

    def test_the_clock_of_a_server_is_set(self) -> None:
        if not library():
            raise SkipTest("libfaketime is not installed")
        engine = Engine(self.network, self.folder, ["redis"])
        engine.start()
        server = engine.primary

        def ahead() -> float:
            seconds, _ = server.ask("TIME")
            return float(seconds) - time()

        self.assertApproximates(ahead(), 0, 5)
        for offset in (300.0, -300.0):
            server.clock.set(offset)
            self.assertApproximates(ahead(), offset, 5)
        server.signal(signal.SIGKILL)
        server.start()
        self.assertApproximates(ahead(), -300, 5)

    def test_the_proxy_delays_both_directions(self) -> None:
        engine = Engine(self.network, self.folder, ["redis"])
        engine.start(with_proxy=True)
        assert engine.proxy is not None
        self.assertEqual(engine.url, f"redis://127.0.0.1:{engine.proxy.port}/0")
        engine.proxy.delay(100)
        server = engine.primary
        began = monotonic()
        server.port = engine.proxy.port
        self.assertEqual(server.ask("PING"), "PONG")
        self.assertGreaterEqual(monotonic() - began, 0.2)
        engine.proxy.delay(0)
        self.assertEqual(server.ask("PING"), "PONG")
        engine.proxy.close()
        self.assertRaises(OSError, server.ask, "PING")

    def test_sentinel_promotes_the_replica(self) -> None:
        engine = Engine(self.network, self.folder, HOSTS)
        engine.start()
        ports = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in engine.sentinels)
        self.assertEqual(engine.url, f"redis+sentinel://{ports}/c10k")
        old, new = engine.primary, engine.replica
        old.signal(signal.SIGKILL)
        deadline = monotonic() + FAILOVER_SECONDS
        while not new.is_primary:
            self.assertLess(monotonic(), deadline)
        self.assertIs(engine.primary, new)
        self.assertIs(engine.replica, old)
        # It takes no writes without a replica.
        self.assertIn("NOREPLICAS", new.ask("SET", "key", "value"))
