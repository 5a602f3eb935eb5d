"""`make demo`'s program: it plays a game, reports the result, and leaves no process behind."""

import os
import signal
import socket
import sys
import uuid
from pathlib import Path

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Program,
    command_line,
    kill_if_there,
    marked_processes,
    process_end,
    start_program,
)
from tests.machines.redis_server import MISSING
from tests.once import once

URL = r"The Game of Life:     (http://127\.0\.0\.1:\d+/)"


def redis_of(demo: Program) -> list[int]:
    """Return the process of the demo's Redis. It overwrites its environment, so it has no mark."""
    try:
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
    except OSError:
        return []
    return [pid for pid in map(int, children) if "redis-server" in command_line(pid)]


class DemoTestCase(TestCase):
    timeout = TEST_TIMEOUT_S

    def start(self, *arguments: str, extra: dict[str, str] | None = None) -> Program:
        self.mark = uuid.uuid4().hex
        demo = Program()
        command = [sys.executable, "-m", "workers.demo", "--nodes", "2", "--size", "8", *arguments]
        start_program(self, demo, command, self.mark, extra=extra)
        self.addCleanup(self.kill_all, demo)
        return demo

    def kill_all(self, demo: Program) -> None:
        """After a failure there may be clusters, a swarm and a Redis."""
        for pid in [*redis_of(demo), *marked_processes(self.mark)]:
            kill_if_there(pid, signal.SIGKILL)

    def supervisor(self) -> int:
        """Return the process of the demo's twistd."""
        return next(pid for pid in marked_processes(self.mark) if "--nodaemon" in command_line(pid))

    async def ended(self, demo: Program, status: int) -> None:
        await demo.end()
        self.assertEqual(status, demo.status, demo.text)
        self.assertEqual([], marked_processes(self.mark))


@once
class DemoTests(DemoTestCase):
    async def test_the_demo_ends_after_the_last_step(self) -> None:
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

    async def test_sigterm_during_the_start_ends_everything(self) -> None:
        demo = self.start("--port", "0")
        await demo.line("Starting a cluster")
        demo.kill(signal.SIGTERM)
        await self.ended(demo, 128 + signal.SIGTERM)

    async def test_the_demo_ends_when_the_cluster_dies(self) -> None:
        demo = self.start("--port", "0", "--rate", "0")
        await demo.line(r"step \d+")
        # The nodes have no parent now, so wait for their end here.
        ends = [process_end(pid) for pid in marked_processes(self.mark) if pid != demo.pid]
        os.kill(self.supervisor(), signal.SIGKILL)
        await demo.end()
        await gatherResults(ends)
        await self.ended(demo, 1)
        self.assertIn("demo: the cluster died (exit status -9)", demo.text)

    async def test_a_busy_port_is_reported_at_once(self) -> None:
        with socket.create_server(("", 0)) as taken:
            port = taken.getsockname()[1]
            demo = self.start("--port", str(port))
            await self.ended(demo, 1)
        self.assertEqual(
            f"demo: port {port} cannot be used (Address already in use);"
            " take another: make demo PORT=8100",
            demo.text,
        )

    async def test_an_error_of_the_cluster_is_shown(self) -> None:
        demo = self.start("--port", "0", "--nodes", "0")
        await self.ended(demo, 1)
        self.assertIn("the cluster did not start", demo.text)
        self.assertIn("--nodes must be a whole number", demo.text)

    async def test_an_error_of_the_swarm_is_shown(self) -> None:
        demo = self.start("--port", "0", "--size", "5000")
        await self.ended(demo, 1)
        self.assertIn("demo: the swarm failed (exit status 2)", demo.text)
        self.assertIn("from 1 to 1000, not '5000'", demo.text)


@once
class MachinesTests(DemoTestCase):
    """Several clusters, with a Redis between them."""

    skip = MISSING

    async def test_one_game_over_two_machines(self) -> None:
        demo = self.start("--machines", "2", "--port", "0", "--steps", "3", "--rate", "0")
        await self.ended(demo, 0)
        self.assertRegex(demo.text, URL)
        self.assertRegex(demo.text, r"Machine B, at work:   http://127\.0\.0\.1:\d+/cluster/")
        self.assertIn("2 nodes, django_project.settings", demo.text)
        self.assertIn("verified: 3 steps of 8×8", demo.text)

    async def test_ctrl_c_ends_both_clusters_and_redis(self) -> None:
        demo = self.start("--machines", "2", "--port", "0", "--rate", "0")
        await demo.line(r"step \d+")
        supervisors = [
            each for each in map(command_line, marked_processes(self.mark)) if "c10k" in each
        ]
        self.assertEqual(2, sum(" --machine " in each for each in supervisors), supervisors)
        (redis,) = redis_of(demo)
        ended = process_end(redis)
        demo.kill(signal.SIGINT)
        await self.ended(demo, 0)
        await ended

    async def test_the_demo_ends_when_one_cluster_dies(self) -> None:
        demo = self.start("--machines", "2", "--port", "0", "--rate", "0")
        await demo.line(r"step \d+")
        os.kill(self.supervisor(), signal.SIGKILL)
        await self.ended(demo, 1)
        self.assertRegex(demo.text, r"demo: the cluster of machine [AB] died \(exit status -9\)")

    async def test_a_missing_redis_is_reported_at_once(self) -> None:
        demo = self.start("--machines", "2", "--port", "0", extra={"PATH": ""})
        await self.ended(demo, 1)
        self.assertIn("demo: several machines need a Redis between them", demo.text)
