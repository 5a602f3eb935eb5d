"""workers.demo: it reports a dead cluster as the reason when the swarm fails."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from workers.demo import command, programs


class EndedSwarm:
    def __init__(self, status: int) -> None:
        self.returncode = status

    async def wait(self) -> int:
        return self.returncode


class WatchTests(SynchronousTestCase):
    def watch(self, turns: int | None, status: int) -> tuple[bool, int | None]:
        """Let the cluster die after `turns` of the loop, or never; returns what `watch` returns."""

        async def die() -> None:
            if turns is None:
                await asyncio.Event().wait()
            for _ in range(turns or 0):
                await asyncio.sleep(0)

        async def main() -> tuple[bool, int | None]:
            died = asyncio.create_task(die())
            swarm: Any = EndedSwarm(status)
            returned = await command.watch([died], swarm)
            return died.done(), returned

        return asyncio.run(main())

    def test_a_cluster_that_ends_just_after_its_swarm_is_reported(self) -> None:
        """The swarm loses its connections before the last process of the cluster has ended."""
        self.assertEqual(self.watch(turns=10, status=1), (True, 1))

    def test_a_swarm_that_fails_on_a_running_cluster_returns_its_status(self) -> None:
        self.patch(command, "DEATH_SECONDS", 0.01)
        self.assertEqual(self.watch(turns=None, status=2), (False, 2))

    def test_success(self) -> None:
        self.assertEqual(self.watch(turns=None, status=0), (False, 0))


# Without print: a signal that arrives within its call must not call it again.
SLOW_TO_END = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"ending\\n"))
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))
os.write(1, b"running\\n")
while True:
    signal.pause()
"""


class ProgramTests(SynchronousTestCase):
    def test_ctrl_c_does_not_interrupt_the_ending(self) -> None:
        async def run(started: "asyncio.Future[Any]", ending: "asyncio.Future[None]") -> None:
            slow = (sys.executable, "-c", SLOW_TO_END)
            async with programs.program("the cluster", slow, 30, stdout=PIPE) as process:
                await process.stdout.readline()
                started.set_result(process)
                task = asyncio.create_task(process.stdout.readline())
                task.add_done_callback(ending.set_result)

        async def main() -> int | None:
            loop = asyncio.get_running_loop()
            started, ending = loop.create_future(), loop.create_future()
            playing = asyncio.create_task(run(started, ending))
            process = await started
            await ending
            playing.cancel()
            await asyncio.sleep(0)
            process.send_signal(signal.SIGUSR1)
            with self.assertRaises(asyncio.CancelledError):
                await playing
            return process.returncode

        self.assertEqual(asyncio.run(main()), 7)
