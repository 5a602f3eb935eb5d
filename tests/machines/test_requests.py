"""A process without a node asks a machine to publish, through a real Redis."""

import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from twisted.trial.unittest import TestCase

from cluster.core.machines.engine import (
    EngineError,
    EngineFull,
    EngineUnavailable,
    EngineUnusable,
    NoAnswer,
    NoMachine,
)
from cluster.uplink import requests
from cluster.uplink.requests import RequestConnection
from cluster.uplink.scripts import script, site_prefix
from cluster.uplink.url import parse_bus_url
from tests.machines.redis_server import RedisServer, RedisTestCase, SentinelServer, free_port
from tests.once import once

PATIENCE_S = 60
SITE = "tests"
PREFIX = site_prefix(SITE)


def dispatch(data: bytes) -> bytes:
    return b"done " + data


class Machine:
    """A member of the site that answers external requests with ``answer``; None: not at all."""

    def __init__(self, server: RedisServer, name: str = "A") -> None:
        self.answer: Callable[[bytes], bytes | None] = dispatch
        self.requests: list[tuple[bytes, bytes]] = []
        self.member = f"{name}~00000000"
        self._client: Any = redis.Redis.from_url(server.url)
        arguments = ("run", "0123456789abcdef", self.member, name, name, 60_000, "fingerprint")
        self.generation = self._run("hello", *arguments)[0].decode()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _run(self, name: str, *arguments: Any) -> Any:
        return self._client.eval(script(name).text, 1, PREFIX, *arguments)

    def _serve(self) -> None:
        key, last = f"{PREFIX}{self.generation}:in:{self.member}", "0-0"
        while not self._ended.is_set():
            try:
                streams = self._client.xread({key: last}, block=50)
                for entry, fields in streams[0][1] if streams else ():
                    last = entry.decode()
                    request_id, data = fields[b"m"], fields[b"d"]
                    self.requests.append((request_id, data))
                    answer = self.answer(data)
                    if answer is not None:
                        reply = f"{PREFIX}reply:{request_id.decode()}"
                        self._client.lpush(reply, answer)
                        self._client.expire(reply, 60)
            except redis.RedisError:
                time.sleep(0.01)

    def goodbye(self) -> None:
        self._run("goodbye", self.generation, self.member)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(PATIENCE_S)
        self._client.close()


class RequestTestCase(RedisTestCase):
    def machine(self, server: RedisServer, name: str = "A") -> Machine:
        machine = Machine(server, name)
        self.addCleanup(machine.stop)
        return machine

    def connect(self, url: str) -> RequestConnection:
        connection = RequestConnection(parse_bus_url(url), SITE)
        self.addCleanup(connection.close)
        return connection

    def ask(
        self, connection: RequestConnection, number: int = 1, prefer: str = "", seconds: float = 10
    ) -> tuple[bytes, str]:
        return connection.ask(str(number), b"%d" % number, prefer, time.monotonic() + seconds)


@once
class RequestTests(RequestTestCase):
    def test_a_machine_answers(self) -> None:
        server = self.start_redis()
        machine = self.machine(server)
        connection = self.connect(server.url)
        connection.check(time.monotonic() + 10)
        answers = [self.ask(connection, number) for number in range(3)]
        self.assertEqual(answers, [(b"done %d" % number, "A") for number in range(3)])
        self.assertEqual(machine.requests, [(b"%d" % number,) * 2 for number in range(3)])
        self.assertGreater(int(server.cli("TTL", f"{PREFIX}reply:1")), 0)

    def test_machines_in_turn_or_the_one_that_is_preferred(self) -> None:
        server = self.start_redis()
        for name in ("A", "B"):
            self.machine(server, name)
        connection = self.connect(server.url)
        chosen = [self.ask(connection, number)[1] for number in range(4)]
        self.assertEqual(sorted(chosen), ["A", "A", "B", "B"])
        chosen = [self.ask(connection, number, "B")[1] for number in range(4, 8)]
        self.assertEqual(chosen, ["B"] * 4)
        self.assertIn(self.ask(connection, 8, "C")[1], ("A", "B"))

    def test_no_machine_is_connected(self) -> None:
        server = self.start_redis()
        connection = self.connect(server.url)
        self.assertRaises(NoMachine, self.ask, connection, 1, "", 0.3)
        self.assertRaises(NoMachine, connection.check, time.monotonic() + 10)
        self.machine(server).goodbye()
        self.assertRaises(NoMachine, self.ask, connection, 1, "", 0.3)
        self.assertRaises(NoMachine, connection.check, time.monotonic() + 10)

    def test_a_machine_that_joins_meanwhile(self) -> None:
        server = self.start_redis()
        connection = self.connect(server.url)
        timer = threading.Timer(0.3, self.machine, (server,))
        timer.start()
        self.assertEqual(self.ask(connection, seconds=PATIENCE_S), (b"done 1", "A"))
        timer.join(PATIENCE_S)

    def test_no_answer(self) -> None:
        server = self.start_redis()
        machine = self.machine(server)
        machine.answer = lambda data: None
        connection = self.connect(server.url)
        before = time.monotonic()
        error = self.assertRaises(NoAnswer, self.ask, connection, 1, "", 0.3)
        self.assertEqual(str(error), "")
        self.assertGreater(time.monotonic() - before, 0.2)
        machine.answer = dispatch
        self.assertEqual(self.ask(connection, 2), (b"done 2", "A"))

    def test_a_connection_that_was_lost(self) -> None:
        """It may have been idle for longer than a firewall allows."""
        server = self.start_redis()
        machine = self.machine(server)
        connection = self.connect(server.url)
        self.ask(connection)
        server.cli("CLIENT", "KILL", "TYPE", "normal")
        self.assertEqual(self.ask(connection, 2), (b"done 2", "A"))
        self.assertEqual(len(machine.requests), 2)

    def test_a_connection_that_is_lost_before_the_answer(self) -> None:
        server = self.start_redis()
        machine = self.machine(server)

        def lose(data: bytes) -> bytes:
            server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            return dispatch(data)

        machine.answer = lose
        connection = self.connect(server.url)
        self.assertEqual(self.ask(connection), (b"done 1", "A"))
        self.assertEqual(len(machine.requests), 1, "published once")

    def test_an_inbox_that_is_full(self) -> None:
        server = self.start_redis()
        self.machine(server)
        self.patch(requests, "INBOX_BYTES", 10)
        connection = self.connect(server.url)
        self.ask(connection)  # nobody has read the inbox as far as the script knows
        self.assertRaises(EngineFull, self.ask, connection, 2, "", 0.3)

    def test_scripts_that_redis_has_forgotten(self) -> None:
        server = self.start_redis()
        self.machine(server)
        connection = self.connect(server.url)
        self.ask(connection)
        server.cli("SCRIPT", "FLUSH")
        self.assertEqual(self.ask(connection, 2), (b"done 2", "A"))

    def test_a_redis_that_hangs(self) -> None:
        server = self.start_redis()
        self.machine(server)
        connection = self.connect(server.url)
        self.ask(connection)
        server.pause()
        self.addCleanup(server.resume)
        before = time.monotonic()
        self.assertRaises(NoAnswer, self.ask, connection, 2, "", 0.5)
        self.assertLess(time.monotonic() - before, 5)

    def test_a_redis_without_memory(self) -> None:
        server = self.start_redis()
        self.machine(server)
        connection = self.connect(server.url)
        server.cli("CONFIG", "SET", "maxmemory", "1")
        error = self.assertRaises(EngineUnavailable, self.ask, connection, 1, "", 0.3)
        self.assertIn("no memory left", str(error))

    def test_an_interruption_leaves_no_answer_behind(self) -> None:
        server = self.start_redis()
        self.machine(server)
        connection = self.connect(server.url)
        self.ask(connection)
        used = connection._connection

        class Interrupted(BaseException):
            pass

        def interrupt(timeout: float) -> bool:
            raise Interrupted

        self.patch(used, "can_read", interrupt)
        self.assertRaises(Interrupted, self.ask, connection, 2)
        self.assertEqual(self.ask(connection, 3), (b"done 3", "A"))

    def test_a_password_that_is_wrong(self) -> None:
        server = self.start_redis("--requirepass", "secret", tcp=True)
        connection = self.connect(server.url.replace("redis://", "redis://:other@"))
        error = self.assertRaises(EngineUnusable, self.ask, connection)
        self.assertIn("refuses the user or the password", str(error))
        self.assertNotIn("other", str(error))
        connection = self.connect(server.url)
        self.assertRaises(EngineError, self.ask, connection, 1, "", 0.3)

    def test_the_primary_that_sentinel_names(self) -> None:
        primary = self.start_redis(tcp=True)
        sentinel = SentinelServer(self.folder / "sentinel")
        self.addCleanup(sentinel.stop)
        sentinel.watch(primary)
        self.machine(primary)
        hosts = f"127.0.0.1:{sentinel.port},127.0.0.1:{free_port()}"
        connection = self.connect(f"redis+sentinel://{hosts}/mymaster")
        self.assertEqual(self.ask(connection), (b"done 1", "A"))
        unknown = self.connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/other")
        error = self.assertRaises(EngineUnavailable, self.ask, unknown, 1, "", 0.3)
        self.assertIn("no Sentinel knows a primary named other", str(error))


class WithoutRedisTests(TestCase):
    def test_redis_is_not_there(self) -> None:
        connection = RequestConnection(parse_bus_url(f"redis://127.0.0.1:{free_port()}"), SITE)
        before = time.monotonic()
        with self.assertRaises(EngineUnavailable) as caught:
            connection.ask("1", b"", "", before + 0.5)
        self.assertRegex(
            str(caught.exception), r"^cannot connect to 127.0.0.1:\d+: Connection refused$"
        )
        self.assertGreater(time.monotonic() - before, 0.3)
        with self.assertRaises(EngineUnavailable):
            connection.check(before)
        connection.close()
