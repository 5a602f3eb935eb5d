"""The `swarm` program in real processes: output, exit status, Ctrl-C."""

import json
import signal
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from benchmarks.competitors.autobahn_life import LifeFactory
from tests.workers.patience import be_patient
from tests.workers.swarm_process import SwarmProcess
from tests.workers.swarm_server import Server

reactor: Any = _reactor


class CommandTests(TestCase):
    timeout = 600

    def setUp(self) -> None:
        factory = LifeFactory(reactor)
        be_patient(self, factory)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"ws://127.0.0.1:{port.getHost().port}"

    async def fails(self, *arguments: str, error: str, status: int = 1) -> None:
        swarm = SwarmProcess(*arguments)
        self.assertEqual(await swarm.ended, status)
        self.assertIn(error, swarm.err.decode())
        self.assertNotIn("Traceback", swarm.err.decode())
        self.assertEqual(swarm.out, b"")
        if status == 1:
            self.assertEqual(len(swarm.err.splitlines()), 1)

    async def test_a_game_is_verified(self) -> None:
        swarm = SwarmProcess(
            "--url", self.url, "-p", "glider", "-s", "6", "-n", "5", "-l", "0", "--verify"
        )
        self.assertEqual(await swarm.ended, 0)
        last = swarm.out.decode().splitlines()[-1]
        self.assertEqual(last, "verified: 5 steps of 6×6, every cell equals the oracle")
        self.assertIn(b"connected 0 of 36 cells", swarm.err)

    async def test_json_is_the_only_output(self) -> None:
        swarm = SwarmProcess(
            "--url", self.url, "-s", "4", "-n", "2", "-l", "0", "--verify", "--json"
        )
        self.assertEqual(await swarm.ended, 0)
        self.assertEqual(swarm.err, b"")
        summary = json.loads(swarm.out)
        self.assertEqual((summary["verified"], summary["steps"], summary["size"]), (True, 2, 4))
        self.assertEqual(set(summary["latency_ms"]), {"p50", "p99"})
        self.assertEqual((summary["errors"], summary["reconnects"]), ([], 0))

    async def test_without_verify(self) -> None:
        swarm = SwarmProcess("--url", self.url, "-s", "4", "-n", "2", "-l", "0", "--json")
        self.assertEqual(await swarm.ended, 0)
        self.assertIsNone(json.loads(swarm.out)["verified"])

    async def test_events(self) -> None:
        swarm = SwarmProcess(
            "--url",
            self.url,
            "-s",
            "4",
            "-n",
            "2",
            "-l",
            "0",
            "--json",
            "--events",
            "--processes",
            "2",
        )
        self.assertEqual(await swarm.ended, 0)
        lines = [json.loads(line) for line in swarm.out.splitlines()]
        names = [line.get("event") for line in lines]
        self.assertEqual(names, ["connected", "running", "stepped", None])

    async def test_ctrl_c(self) -> None:
        for processes in "12":
            swarm = SwarmProcess("--url", self.url, "-s", "4", "-l", "50", "--processes", processes)
            await swarm.printed(b"step ")
            assert swarm.transport is not None
            swarm.transport.signalProcess(signal.SIGINT)
            self.assertEqual(await swarm.ended, 130)
            self.assertIn("steps/s", swarm.out.decode())
            self.assertNotIn("Traceback", swarm.err.decode())

    async def test_ctrl_c_before_the_server_answers(self) -> None:
        class Silent(Protocol):
            def connectionMade(self) -> None:
                assert swarm.transport is not None
                swarm.transport.signalProcess(signal.SIGINT)

        port = reactor.listenTCP(0, Factory.forProtocol(Silent), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        for command in ("life", "idle"):
            url = f"ws://127.0.0.1:{port.getHost().port}"
            swarm = SwarmProcess("--url", url, "--json", command=command)
            self.assertEqual(await swarm.ended, 130)
            self.assertEqual(
                json.loads(swarm.out), {"warnings": [], "errors": [], "interrupted": True}
            )
            self.assertEqual(swarm.err, b"")

    async def test_errors_are_one_line(self) -> None:
        await self.fails(
            "--url", "ws://127.0.0.1:1", error="connection refused; is the server running"
        )
        await self.fails("--url", "http://127.0.0.1:1", error="not a base URL")
        await self.fails("-p", "gosper", "-s", "20", error="does not fit a grid of 20x20")
        await self.fails("-p", "nothing", error="built in are blinker")

    async def test_errors_in_json(self) -> None:
        for command, arguments, why in (
            ("life", ("--url", "wss://127.0.0.1:1"), "the swarm does not support TLS"),
            ("life", ("-p", "nothing"), "no pattern or file"),
            ("idle", ("--url", "ws://127.0.0.1:1"), "connection refused"),
        ):
            swarm = SwarmProcess(*arguments, "--json", command=command)
            self.assertEqual(await swarm.ended, 1)
            summary = json.loads(swarm.out)
            self.assertIn(why, summary["errors"][0])
            self.assertFalse(summary["interrupted"])
            self.assertEqual(swarm.err.decode(), f"swarm: {summary['errors'][0]}\n")

    async def test_wrong_usage(self) -> None:
        for wrong in (("-s", "0"), ("-s", "1001"), ("-n", "-1"), ("-l", "-1"), ("--timeout", "0")):
            await self.fails(*wrong, error=f"argument {wrong[0]}", status=2)


class LostServerTests(TestCase):
    """All connections are lost during a run that would otherwise last minutes."""

    timeout = 120

    def setUp(self) -> None:
        self.server = Server()
        be_patient(self, self.server)
        self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.url = f"ws://127.0.0.1:{self.port.getHost().port}"

    async def loses_all(self, *arguments: str) -> None:
        swarm = SwarmProcess("--url", self.url, *arguments[1:], command=arguments[0])
        await swarm.printed(b"open 5,")
        for connection in list(self.server.connections):
            connection.transport.abortConnection()
        self.assertEqual(await swarm.ended, 1)
        *_, what, reason = swarm.err.decode().splitlines()
        self.assertEqual(what, "swarm: no client is connected any more")
        self.assertIn("swarm: 5 times connection lost (1006); the server's log", reason)

    async def test_idle(self) -> None:
        await self.loses_all("idle", "--clients", "5", "--hold", "1000")

    async def test_broadcast(self) -> None:
        await self.loses_all("broadcast", "--subscribers", "4", "--seconds", "1000")
