"""CPU time of a publication to another machine, in the writing gateway, Redis and the reading one.

    python -m benchmarks.engine [--runs 3] [--json]

Two uplinks and a Redis of their own run in one process each, connected by TCP. A publication has 1
KiB. The writer has one turn in flight, with 1, 10 or 100 publications for the other machine. The
gateways are replaced by ones that do nothing, so the results are those of the engine alone. The
command prints the CPU time of all threads in µs per publication, as the median of the runs.
"""

import asyncio
import shutil
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from benchmarks import command, roles
from cluster.core.machines.engine import START, Deliveries, InboxEntry, Joined, LogEntry, Turn

TURNS = {1: 5_000, 10: 5_000, 100: 2_000}
"""Publications in a turn -> turns in a run."""

PUBLICATION_BYTES = 1024
ROLES = ("writer", "Redis", "reader")
READER = "reader"


class Gateway:
    """Writes turns of the same payload to the other machine, and counts the bytes that arrive."""

    nodes = machines = ()
    state = "joined"
    queued_bytes = 0

    def __init__(self, batch: int, turns: int) -> None:
        self.dropped: Counter[str] = Counter()
        self.applied = self.read_inbox = START
        self.received = 0
        self._data = bytes(batch * PUBLICATION_BYTES)
        self._turns = turns
        self._number = 0
        self._to = ""
        self.go = False

    def joined(self, joined: Joined, now: int) -> list[Any]:
        print("ready", flush=True)
        self._find(joined.members)
        return []

    def cut_off(self) -> list[Any]:
        raise RuntimeError("cut off")

    def read(self, log: Sequence[LogEntry], inbox: Sequence[InboxEntry]) -> Deliveries:
        if log:
            self.applied = log[-1].id
            self._find([each.member for each in log])
        if inbox:
            self.read_inbox = inbox[-1].id
            self.received += sum(len(each.data) for each in inbox)
            if self.received >= self._turns * len(self._data):
                print(self.received // PUBLICATION_BYTES, flush=True)
        return Deliveries([], [])

    def take_turn(self) -> Turn | None:
        if not self.go or self._number >= self._turns:
            return None
        self._number += 1
        return Turn(self._number, b"", ((self._to, self._data),), (), self.applied)

    def turn_written(self, refused: frozenset[str]) -> list[Any]:
        if refused:
            self._turns += 1
        return []

    def retry(self) -> None:
        """Nothing is kept."""

    def clock(self, engine: int, now: int) -> None:
        """The time is not used."""

    def _find(self, members: Sequence[str]) -> None:
        for member in members:
            if member.startswith(READER):
                self._to = member


class Running:
    """What an uplink needs of a reactor."""

    def callWhenRunning(self, call: Any, *arguments: Any) -> None:
        call(*arguments)

    def callLater(self, seconds: float, call: Any) -> None:
        asyncio.get_running_loop().call_later(seconds, call)


async def play(role: str, url: str, batch: int) -> None:
    """Run one of the gateways: print "ready", write at "go", end with the standard input."""
    from cluster.uplink.redis_engine import RedisEngine
    from cluster.uplink.uplink import Uplink
    from cluster.uplink.url import parse_bus_url

    gateway = Gateway(batch, TURNS[batch])
    engine = RedisEngine(parse_bus_url(url), "benchmark", role)
    uplink = Uplink(engine, gateway, role, "", lambda result: None, Running(), role)
    uplink.startService()
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def read() -> None:
        if sys.stdin.buffer.raw.read(100):  # type: ignore[attr-defined]
            gateway.go = True
            uplink.wake()
        else:
            loop.remove_reader(0)
            ended.set_result(None)

    loop.add_reader(0, read)
    await ended


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(batch: int) -> dict[str, float]:
    """Make one run; returns the CPU time in µs per publication, by role."""
    redis = shutil.which("redis-server") or shutil.which("valkey-server")
    if redis is None:
        raise SystemExit("python -m benchmarks.engine: redis-server is not installed")
    with roles.roles() as running:
        port = _free_port()
        options = ["--port", str(port), "--save", "", "--bind", "127.0.0.1"]
        start = [redis, *options, "--dir", str(running.folder)]
        running.start("Redis", start, is_ours=False)
        for role in (READER, "writer"):
            url = f"redis://127.0.0.1:{port}"
            start = [sys.executable, "-m", "benchmarks.engine", "--play", role, url, str(batch)]
            running.start(role, start)
        return running.measure("writer", READER, batch * TURNS[batch])


def play_with_uvloop(role: str, url: str, batch: int) -> None:
    """Run one of the gateways as a broker does: with uvloop, if it is installed."""
    with suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(play(role, url, batch))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command.parser("engine", __doc__)
    roles.main(parser, arguments, play_with_uvloop, measure, ("turns", list(TURNS)), ROLES)


if __name__ == "__main__":
    main()
