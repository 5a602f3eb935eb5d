"""`make demo`'s program: it plays, says so, and leaves nothing behind however it ends."""

import os
import signal
import socket
import sys
import uuid
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.e2e.processes import Program, marked_processes, start_program

URL = r"The Game of Life:  (http://127\.0\.0\.1:\d+/)"


class DemoTests(TestCase):
    timeout = 120

    def start(self, *arguments: str) -> Program:
        self.mark = uuid.uuid4().hex
        demo = Program()
        command = [sys.executable, "-m", "workers.demo", "--nodes", "2", "--size", "8", *arguments]
        start_program(self, demo, command, self.mark)
        return demo

    def supervisor(self) -> int:
        """The process of the demo's twistd."""
        return next(
            pid
            for pid in marked_processes(self.mark)
            if b"--nodaemon" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )

    async def ended(self, demo: Program, status: int) -> None:
        await demo.end()
        self.assertEqual(status, demo.status, demo.text)
        self.assertEqual([], marked_processes(self.mark))

    async def test_steps_end_it(self) -> None:
        demo = self.start("--port", "0", "--steps", "3", "--rate", "0")
        await self.ended(demo, 0)
        self.assertRegex(demo.text, URL)
        self.assertIn("verified: 3 steps of 8×8", demo.text)

    async def test_ctrl_c_ends_everything(self) -> None:
        demo = self.start("--port", "0", "--rate", "0")
        await demo.line(r"step \d+")
        demo.kill(signal.SIGINT)
        await self.ended(demo, 0)
        self.assertRegex(demo.text, r"\d+ steps in")

    async def test_termination_while_starting(self) -> None:
        demo = self.start("--port", "0")
        await demo.line("Starting a cluster")
        demo.kill(signal.SIGTERM)
        await self.ended(demo, 128 + signal.SIGTERM)

    async def test_a_dead_cluster_ends_it(self) -> None:
        demo = self.start("--port", "0", "--rate", "0")
        await demo.line(r"step \d+")
        os.kill(self.supervisor(), signal.SIGKILL)
        await self.ended(demo, 1)
        self.assertIn("demo: the cluster died (exit status -9)", demo.text)

    async def test_a_busy_port_is_said_at_once(self) -> None:
        with socket.create_server(("", 0)) as taken:
            port = taken.getsockname()[1]
            demo = self.start("--port", str(port))
            await self.ended(demo, 1)
        self.assertEqual(
            f"demo: port {port} cannot be used (Address already in use);"
            " take another: make demo PORT=8100",
            demo.text,
        )

    async def test_what_the_cluster_refuses_is_shown(self) -> None:
        demo = self.start("--port", "0", "--nodes", "0")
        await self.ended(demo, 1)
        self.assertIn("the cluster did not start", demo.text)
        self.assertIn("--nodes must be a whole number", demo.text)

    async def test_what_the_swarm_refuses_is_shown(self) -> None:
        demo = self.start("--port", "0", "--size", "5000")
        await self.ended(demo, 1)
        self.assertIn("demo: the swarm failed (exit status 2)", demo.text)
        self.assertIn("a size is 1 to 1000", demo.text)
