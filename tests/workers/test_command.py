"""`swarm life` as its user meets it: output, exit status, Ctrl-C. Real processes."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from benchmarks.peers.autobahn_life import LifeFactory
from workers.limits import processes_for

reactor: Any = _reactor
ROOT = Path(__file__).resolve().parents[2]


class Swarm(ProcessProtocol):
    """A `swarm` process: `ended` fires with its exit status, `said(text)` when stderr has it."""

    def __init__(self, *arguments: str) -> None:
        self.out = b""
        self.err = b""
        self.ended: Deferred[int] = Deferred()
        self._waiting: list[tuple[bytes, Deferred[None]]] = []
        reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-m", "workers", "life", *arguments],
            env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), *sys.path])),
        )

    def said(self, text: bytes) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append((text, waiting))
        self._look()
        return waiting

    def outReceived(self, data: bytes) -> None:
        self.out += data

    def errReceived(self, data: bytes) -> None:
        self.err += data
        self._look()

    def _look(self) -> None:
        for entry in list(self._waiting):
            if entry[0] in self.err:
                self._waiting.remove(entry)
                entry[1].callback(None)

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(reason.value.exitCode)


class CommandTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        port = reactor.listenTCP(0, LifeFactory(reactor), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"ws://127.0.0.1:{port.getHost().port}"

    async def fails(self, *arguments: str, says: str, status: int = 1) -> None:
        swarm = Swarm(*arguments)
        self.assertEqual(await swarm.ended, status)
        self.assertIn(says, swarm.err.decode())
        self.assertNotIn("Traceback", swarm.err.decode())
        self.assertEqual(swarm.out, b"")
        if status == 1:
            self.assertEqual(len(swarm.err.splitlines()), 1)

    async def test_verified(self) -> None:
        swarm = Swarm(
            "--url", self.url, "-p", "glider", "-s", "6", "-n", "5", "-l", "0", "--verify"
        )
        self.assertEqual(await swarm.ended, 0)
        last = swarm.out.decode().splitlines()[-1]
        self.assertEqual(last, "verified: 5 steps of 6×6, every cell equals the oracle")
        self.assertIn(b"connected 0 of 36 cells", swarm.err)

    async def test_json_is_all(self) -> None:
        swarm = Swarm("--url", self.url, "-s", "4", "-n", "2", "-l", "0", "--verify", "--json")
        self.assertEqual(await swarm.ended, 0)
        self.assertEqual(swarm.err, b"")
        summary = json.loads(swarm.out)
        self.assertEqual((summary["verified"], summary["steps"], summary["size"]), (True, 2, 4))
        self.assertEqual(set(summary["latency_ms"]), {"p50", "p99"})
        self.assertEqual((summary["errors"], summary["reconnects"]), ([], 0))

    async def test_not_asked_to_verify(self) -> None:
        swarm = Swarm("--url", self.url, "-s", "4", "-n", "2", "-l", "0", "--json")
        self.assertEqual(await swarm.ended, 0)
        self.assertIsNone(json.loads(swarm.out)["verified"])

    async def test_events(self) -> None:
        swarm = Swarm(
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
            swarm = Swarm("--url", self.url, "-s", "4", "-l", "50", "--processes", processes)
            await swarm.said(b"step ")
            assert swarm.transport is not None
            swarm.transport.signalProcess(signal.SIGINT)
            self.assertEqual(await swarm.ended, 130)
            self.assertIn("steps/s", swarm.out.decode())
            self.assertNotIn("Traceback", swarm.err.decode())

    async def test_one_clear_line(self) -> None:
        await self.fails("--url", "ws://127.0.0.1:1", says="connection refused")
        await self.fails("--url", "http://127.0.0.1:1", says="not a base URL")
        await self.fails("-p", "gosper", "-s", "20", says="does not fit a grid of 20x20")
        await self.fails("-p", "nothing", says="built in are blinker")

    async def test_bad_usage(self) -> None:
        for wrong in (("-s", "0"), ("-s", "1001"), ("-n", "-1"), ("-l", "-1"), ("--timeout", "0")):
            await self.fails(*wrong, says=f"argument {wrong[0]}", status=2)


class ProcessesTests(SynchronousTestCase):
    def test_half_of_the_cores_at_most_and_only_if_worth_it(self) -> None:
        self.assertEqual(processes_for(1024, cores=32), 1)
        self.assertEqual(processes_for(10_000, cores=2), 1)
        self.assertEqual(processes_for(10_000, cores=1), 1)
        self.assertEqual(processes_for(10_000, cores=4), 2)
        self.assertEqual(processes_for(10_000, cores=32), 3)
