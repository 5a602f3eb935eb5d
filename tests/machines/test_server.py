"""What a Redis says of itself, and what it answers."""

from typing import Any

from redis import exceptions
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines.engine import (
    AnotherSite,
    EngineError,
    EngineFull,
    EngineRefused,
    EngineUnavailable,
    EngineUnusable,
    GenerationChanged,
    Gone,
    NameTaken,
    NoMachine,
)
from cluster.uplink.redis_errors import engine_error
from cluster.uplink.scripts import FOLDER, VERSION, script, site_prefix
from cluster.uplink.server import examine, parse_info

INFO = b"""# Server\r
redis_version:7.0.15\r
redis_mode:standalone\r
run_id:0123456789abcdef\r
\r
# Memory\r
maxmemory_policy:noeviction\r
# Persistence\r
loading:0\r
# Replication\r
role:master\r
connected_slaves:0\r
master_replid:fedcba9876543210\r
# Cluster\r
cluster_enabled:0\r
# Keyspace\r
db0:keys=1,expires=0,avg_ttl=0\r
"""


class ExamineTests(SynchronousTestCase):
    def examine(self, **fields: str) -> Any:
        return examine({**parse_info(INFO), **fields})

    def test_a_server_that_can_be_used(self) -> None:
        expected = ("7.0.15", "0123456789abcdef/fedcba9876543210", ())
        self.assertEqual(expected, self.examine())
        self.assertEqual("8.1.0", self.examine(redis_version="7.2.4", valkey_version="8.1.0")[0])

    def test_servers_that_cannot_be_used(self) -> None:
        for fields, text in (
            ({"redis_version": "6.2.14"}, "Redis 6.2.14 is too old; use Redis 7.0"),
            ({"redis_version": ""}, "without a version"),
            ({"redis_version": "7"}, "too old"),
            ({"cluster_enabled": "1"}, "cluster mode"),
            ({"redis_mode": "cluster"}, "cluster mode"),
            ({"redis_mode": "sentinel", "redis_version": "7.0.1"}, "redis+sentinel://"),
        ):
            with self.assertRaises(EngineUnusable) as caught:
                self.examine(**fields)
            self.assertIn(text, str(caught.exception))
        without = parse_info(INFO)
        del without["run_id"]
        with self.assertRaises(EngineUnusable):
            examine(without)

    def test_servers_that_can_be_used_later(self) -> None:
        for fields, text in (({"loading": "1"}, "loading"), ({"role": "slave"}, "replica")):
            with self.assertRaises(EngineUnavailable) as caught:
                self.examine(**fields)
            self.assertIn(text, str(caught.exception))

    def test_warnings(self) -> None:
        for fields, text in (
            ({"maxmemory_policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru"),
            ({"maxmemory_policy": "volatile-ttl"}, "set noeviction"),
            ({"connected_slaves": "2"}, "min-replicas-to-write"),
        ):
            (warning,) = self.examine(**fields).warnings
            self.assertIn(text, warning)
        good = {"connected_slaves": "2", "min_slaves_good_slaves": "2"}
        self.assertEqual((), self.examine(**good).warnings)


class ErrorTests(SynchronousTestCase):
    def test_each_has_a_reason(self) -> None:
        errors: list[tuple[Exception, type[EngineError]]] = [
            (exceptions.AuthenticationError("WRONGPASS invalid"), EngineUnusable),
            (exceptions.NoPermissionError("this user has no permissions"), EngineUnusable),
            (exceptions.OutOfMemoryError("command not allowed"), EngineRefused),
            (exceptions.ResponseError("NOREPLICAS Not enough good replicas"), EngineRefused),
            (exceptions.ResponseError("MISCONF Redis is configured to"), EngineRefused),
            (exceptions.ResponseError("BUSY Redis is busy"), EngineRefused),
            (exceptions.ReadOnlyError("You can't write"), EngineUnavailable),
            (exceptions.BusyLoadingError("Redis is loading"), EngineUnavailable),
            (exceptions.ResponseError("WRONGTYPE Operation"), EngineUnavailable),
            (exceptions.ConnectionError(""), EngineUnavailable),
            (OSError(111, "Connection refused"), EngineUnavailable),
            (exceptions.ResponseError("GENERATION x"), GenerationChanged),
            (exceptions.ResponseError("GONE x"), Gone),
            (exceptions.ResponseError("NUMBER x"), Gone),
            (exceptions.ResponseError("NAMETAKEN x"), NameTaken),
            (exceptions.ResponseError("FINGERPRINT x"), AnotherSite),
            (exceptions.ResponseError("FULL x"), EngineFull),
            (exceptions.ResponseError("NOBODY x"), NoMachine),
        ]
        for error, kind in errors:
            found = engine_error(error)
            self.assertIs(kind, type(found), error)
            self.assertRegex(str(found), r"^[^\n]+$")


class ScriptTests(SynchronousTestCase):
    def test_flags_come_first(self) -> None:
        for path in FOLDER.glob("*.lua"):
            if path.stem != "shared":
                self.assertTrue(script(path.stem).text.startswith("#!lua"), path)

    def test_those_that_make_room_run_without_memory(self) -> None:
        flags = {
            name: script(name).text.partition("\n")[0] for name in ("hello", "beat", "goodbye")
        }
        self.assertEqual({"#!lua flags=allow-oom"}, set(flags.values()))
        self.assertEqual("#!lua", script("write").text.partition("\n")[0])

    def test_prefixes(self) -> None:
        self.assertEqual(f"c10k:{{site/{VERSION}}}:", site_prefix("site"))
        self.assertEqual(f"c10k:{{a_b_c/{VERSION}}}:", site_prefix("a{b c"))
