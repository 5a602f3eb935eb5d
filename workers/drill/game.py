"""The Game of Life in a drill: a swarm plays it, and a watcher looks at the board as a page does.

The swarm compares every cell of every generation with the oracle, and ends when the game stalls.
The watcher compares each board that the server sends.
"""

import asyncio
import json
import signal
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from time import monotonic
from typing import Any

from workers.drill.socket import Lost
from workers.drill.websocket import in_turn, reconnect
from workers.life.patterns import random_start
from workers.life.rules import next_generation

END_SECONDS = 20.0  # for the swarm's summary after Ctrl-C


class Watcher:
    """Receives the board, and compares each generation with the oracle.

    step: the newest one. boards: how many were compared. wrong: the first wrong step, as a line.
    longest: seconds of the longest time without a new board.
    """

    def __init__(self, urls: Sequence[str], size: int, seed: int) -> None:
        self.step = -1
        self.boards = 0
        self.wrong = ""
        self.longest = 0.0
        self._urls = in_turn(urls, 0)
        self._size = size
        self._expected = random_start(size, seed)
        self._expected_step = 0
        self._states = bytearray(size * size)
        self._advanced_at = 0.0

    async def watch(self) -> None:
        """Receive until the task is cancelled."""
        while True:
            socket = await reconnect(self._urls, "watcher/", "life.v2.bin")
            try:
                while True:
                    message = await socket.receive()
                    if isinstance(message, bytes):
                        self._board(message)
            except Lost:
                continue
            finally:
                socket.abort()

    def _board(self, message: bytes) -> None:
        if message[:1] == b"S":
            size, step = struct.unpack_from("<HI", message, 1)
            if size != self._size:
                return
            bits = message[7:]
            for index in range(size * size):
                self._states[index] = bits[index >> 3] >> (index & 7) & 1
        else:
            step, _ = struct.unpack_from("<II", message, 1)
            for (code,) in struct.iter_unpack("<I", message[9:]):
                self._states[code >> 1] = code & 1
        if step > self.step and (step or message[:1] == b"D"):
            self._compare(step)

    def _compare(self, step: int) -> None:
        now = monotonic()
        if self._advanced_at:
            self.longest = max(self.longest, now - self._advanced_at)
        self._advanced_at = now
        self.step = step
        while self._expected_step < step:
            self._expected = next_generation(self._expected, True)
            self._expected_step += 1
        self.boards += 1
        if bytes(self._states) != self._expected.states() and not self.wrong:
            self.wrong = f"the board at step {step} differs from the oracle"


class Game:
    """Call `start`, then `stop`; `violations` and `values` have the result.

    urls: of the servers, among which the cells divide. stall: seconds without a step that are too
    long. resume: whether cells resume.
    """

    def __init__(
        self,
        urls: Sequence[str],
        size: int,
        seed: int,
        rate: float,
        stall: float,
        resume: bool,
    ) -> None:
        self.watcher = Watcher(urls, size, seed)
        self.values: dict[str, Any] = {}
        self.violations: list[str] = []
        self.ended = asyncio.Event()
        self._command = [
            *(sys.executable, "-m", "workers", "life", "--verify", "--json", "--events"),
            *(word for url in urls for word in ("--url", url)),
            *("--size", str(size), "--seed", str(seed), "--limit", str(rate)),
            *("--stall-timeout", str(stall), *(() if resume else ("--no-resume",))),
        ]
        self._process: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._runs = asyncio.Event()

    async def start(self) -> None:
        """Start the swarm, and wait until the game runs or has ended."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=DEVNULL, stdout=PIPE, process_group=0
        )
        self._tasks = [
            asyncio.create_task(self._read()),
            asyncio.create_task(self.watcher.watch()),
        ]
        await self._runs.wait()

    async def _read(self) -> None:
        async for line in self._process.stdout:
            said = json.loads(line)
            if said.get("event") == "running":
                self._runs.set()
            elif "event" not in said:
                self.values = said
        await self._process.wait()
        self._runs.set()
        self.ended.set()

    async def stop(self) -> None:
        """End the game as Ctrl-C does, and check the result."""
        early = self.ended.is_set()
        if not early:
            self._process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(self.ended.wait(), END_SECONDS)
        except TimeoutError:
            self.violations.append("the swarm does not end")
            self._process.kill()
            await self.ended.wait()
        for task in self._tasks:
            task.cancel()
        values = self.values
        self.violations += values.get("errors") or ()
        if early and not self.violations:
            self.violations.append(f"the swarm ended early ({self._process.returncode})")
        if values.get("compared", 0) <= values.get("steps", 0):
            compared, steps = values.get("compared", 0), values.get("steps", 0)
            self.violations.append(f"only {compared} of {steps + 1} generations were compared")
        if self.watcher.wrong:
            self.violations.append(self.watcher.wrong)

    def kill(self) -> None:
        """End the swarm at once, if it still runs."""
        for task in self._tasks:
            task.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
