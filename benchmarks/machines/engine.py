"""CPU time of Redis by the number of machines, and by the size of what they write.

One process has the engines of all machines, without gateways: RedisEngine's scripts and reads are
those of a cluster. Either one machine writes, and the next time when Redis has answered; or all
machines write at once, so that a machine reads what several have written. A write has an entry for
the inbox of each other machine, or one entry for the log, which all machines read.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.broadcast import redis
from benchmarks.machines.bus import url_of
from benchmarks.measurements import Measurements
from benchmarks.roles import cpu_seconds

WAIT_MS = 1000
IDLE_S = 3.0
BEAT_BYTES = 1 << 20  # read since the last beat; like an uplink's


class Load(NamedTuple):
    """rounds: how often one machine writes, or all do. size: bytes of an entry."""

    machines: int
    size: int
    rounds: int
    writers: str = "one writes"  # or "all write"
    to: str = "inboxes"  # or "log"

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"{self.machines} machines, {self.writers} {self.size:,} bytes, {self.to}"


LOADS = (
    Load(2, 100, 5_000),
    Load(2, 4096, 3_000),
    Load(10, 100, 1_000),
    Load(50, 100, 200),
    Load(50, 4096, 200),
    Load(10, 100, 200, "all write"),
    Load(50, 100, 10, "all write"),
    Load(10, 100, 1_000, to="log"),
    Load(50, 100, 200, to="log"),
    Load(50, 100, 20, "all write", "log"),
)


@dataclass
class Member:
    """One machine: its engine, and what it has read."""

    engine: Any
    generation: str
    name: str
    log_id: str
    inbox_id: str = "0-0"
    read: int = 0
    written: int = 0

    async def write(self, log: bytes, inboxes: tuple[tuple[str, bytes], ...]) -> None:
        """Write the next turn."""
        from cluster.core.machines.engine import Turn

        self.written += 1
        turn = Turn(self.written, log, inboxes)
        if await self.engine.write(self.generation, self.name, turn):
            raise RuntimeError("an inbox is full")

    async def follow(self) -> None:
        """Read until cancelled, and beat as an uplink does."""
        beat, size = time.monotonic(), 0
        while True:
            arguments = self.generation, self.name, self.log_id, self.inbox_id
            log, inbox = await self.engine.read(*arguments, WAIT_MS)
            self.log_id = log[-1].id if log else self.log_id
            self.inbox_id = inbox[-1].id if inbox else self.inbox_id
            self.read += len(inbox) + sum(entry.kind == "T" for entry in log)
            size += sum(len(entry.data) for entry in inbox)
            if time.monotonic() - beat > WAIT_MS / 1000 or size > BEAT_BYTES:
                beat, size = time.monotonic(), 0
                await self.engine.beat(self.generation, self.name, self.log_id, self.inbox_id)


async def _join(url: Any, number: int) -> Member:
    from cluster.uplink.redis_engine import RedisEngine

    machine = f"m{number}"
    name = f"{machine}~{number:08x}"
    engine = RedisEngine(url, "benchmark", machine)
    await engine.connect()
    joined = await engine.hello(name, machine, machine, "benchmark")
    return Member(engine, joined.generation, name, joined.log_id)


async def _run(url: Any, pid: int, load: Load) -> Measurements:
    members = [await _join(url, number) for number in range(load.machines)]
    readers = [asyncio.ensure_future(member.follow()) for member in members]
    try:
        await asyncio.sleep(1)
        before = cpu_seconds(pid)
        await asyncio.sleep(IDLE_S)
        idle = (cpu_seconds(pid) - before) / IDLE_S

        payload = bytes(load.size)
        writers = members if load.writers == "all write" else members[:1]
        log = payload if load.to == "log" else b""
        inboxes = {
            one.name: () if log else tuple((each.name, payload) for each in members if each != one)
            for one in writers
        }
        before, began = cpu_seconds(pid), time.monotonic()
        for _ in range(load.rounds):
            await asyncio.gather(*(one.write(log, inboxes[one.name]) for one in writers))
        writes = load.rounds * len(writers)
        entries = writes * (load.machines if log else load.machines - 1)
        while sum(member.read for member in members) < entries:
            await asyncio.sleep(0.01)
        used = cpu_seconds(pid) - before - idle * (time.monotonic() - began)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for member in members:
            await member.engine.close()
    return {
        "µs CPU a write": used / writes * 1e6,
        "µs CPU an entry read": used / entries * 1e6,
        "µs CPU a second, idle": idle * 1e6,
    }


def measure(load: Load, folder: Path) -> Measurements:
    """Make one run of a load."""
    from cluster.uplink.url import parse_bus_url

    with redis(folder) as server:
        return asyncio.run(_run(parse_bus_url(url_of(server)), server.pids()[0], load))
