"""`swarm` and `manage.py testecho` on a real cluster."""

import json
import signal
import sys
import uuid
from typing import Any

from twisted.trial.unittest import TestCase

from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    start_cluster,
    start_program,
)
from tests.once import once

DELAY_S = "2"
"""Seconds between messages. The last handshake may be this late, and all are still open
together."""


@once
class SwarmTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def cluster(self) -> None:
        cluster: Cluster = await start_cluster(self, "--nodes", "2")
        self.url = cluster.base_url.replace("http", "ws", 1)

    def start(self, *arguments: str, module: str = "workers") -> Program:
        command = [sys.executable, "-m", module, *arguments, "--url", self.url]
        return start_program(self, Program(), command, uuid.uuid4().hex)

    async def summary(self, *arguments: str) -> dict[str, Any]:
        """Return the summary of a run, which must succeed and print nothing else."""
        swarm = self.start(*arguments, "--json")
        await swarm.end()
        self.assertEqual(0, swarm.status, swarm.text)
        self.assertEqual(len(swarm.lines), 1, swarm.text)
        summary: dict[str, Any] = json.loads(swarm.lines[0])
        self.assertEqual((summary["errors"], summary["interrupted"]), ([], False))
        return summary

    async def test_each_subcommand_succeeds(self) -> None:
        await self.cluster()
        echo = await self.summary("echo", "--clients", "60", "--delay", DELAY_S)
        self.assertEqual((echo["peak"], echo["done"], echo["failed"]), (60, 60, 0))
        self.assertEqual(set(echo["reply_ms"]), {"p50", "p99", "max"})
        idle = await self.summary("idle", "--clients", "60", "--hold", "0")
        self.assertEqual((idle["opened"], idle["failed"]), (60, 0))
        self.assertEqual(len(idle["memory"]["pids"]), 3)  # two nodes, and the supervisor
        storm = await self.summary("storm", "--clients", "60", "--processes", "2")
        self.assertEqual((storm["all_back"], storm["failed"]), (True, 0))
        broadcast = await self.summary(
            *("broadcast", "--subscribers", "20", "--publishers", "2"),
            *("--rate", "200", "--seconds", "0.5", "--processes", "2"),
        )
        self.assertEqual((broadcast["published"], broadcast["delivered"]), (100, 2000))
        wrong = [broadcast[name] for name in ("lost", "duplicates", "out_of_order")]
        self.assertEqual(wrong, [0, 0, 0])
        transports = ("websocket", "polling", "upgrade")
        socketio = await self.summary(
            *("socketio", "--clients", "30", "--rooms", "2", "--processes", "2"),
            *("--rate", "50", "--seconds", "0.4", "--pause", "0.1"),
            *(word for name in transports for word in ("--transport", name)),
        )
        self.assertEqual((socketio["echoes"], socketio["delivered"]), (120, 300))
        self.assertEqual((socketio["upgraded"], socketio["published"]), (10, 20))

    async def test_the_output_is_readable_text_without_json(self) -> None:
        await self.cluster()
        swarm = self.start(
            "testecho", "--clients", "20", "--delay", DELAY_S, module="django_project"
        )
        await swarm.line("20 clients are connected!")
        await swarm.line("20 correct transcripts, 0 failed clients")
        await swarm.end()
        self.assertEqual(0, swarm.status, swarm.text)

    async def test_ctrl_c_prints_the_summary_so_far(self) -> None:
        await self.cluster()
        for processes in "12":
            swarm = self.start("idle", "--clients", "10", "--hold", "100", "--processes", processes)
            await swarm.line("open 10,")
            swarm.kill(signal.SIGINT)
            await swarm.end()
            self.assertEqual(130, swarm.status, swarm.text)
            self.assertIn("interrupted; so far:", swarm.text)
            self.assertNotIn("Traceback", swarm.text)

    async def refused(self, *arguments: str, says: str) -> None:
        swarm = self.start(*arguments)
        await swarm.end()
        self.assertEqual(1, swarm.status, swarm.text)
        self.assertEqual(len(swarm.lines), 1, swarm.text)
        self.assertIn(says, swarm.text)

    async def test_errors_are_one_line(self) -> None:
        self.url = "ws://127.0.0.1:1"
        await self.refused("echo", says="/test/ws/: connection refused; is the server running")
        self.url = "http://127.0.0.1:1"
        await self.refused("storm", says="not a base URL")
        self.url = "ws://192.0.2.1:1"
        await self.refused("idle", "--clients", "100000", "--processes", "20", says="ports")
