"""CPU time of a publication from a node of one machine to a node of another one.

A publisher's node, its broker, Redis, the broker of the other machine and a receiver's node run in
one process each. The publisher sends batches of publications as a node does at the end of a turn of
its event loop, to 1,000 topics that the receiver's node wants. The broker writes what gathers
during one write in the next one, so more batches travel together when there are more. For
comparison, the same with both nodes on one machine, without a Redis.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.broadcast import redis
from benchmarks.machines.bus import url_of
from benchmarks.machines.link_processes import LOADS, OWN_TOPIC
from benchmarks.measurements import Measurements
from benchmarks.roles import cpu_seconds
from benchmarks.servers import PAGE_KB, ROOT, Failed

PARTS = ("publisher", "broker A", "Redis", "broker B", "receiver")
ANSWER_WITHIN = 120.0


@dataclass
class Process:
    """One process of the link; ask it through its pipes."""

    pid: int
    commands: IO[str]
    answers: IO[str]

    def ask(self, command: str) -> str:
        """Send a command, and return the next line that it prints. Raises Failed."""
        self.tell(command)
        return self.answer()

    def tell(self, command: str) -> None:
        print(command, file=self.commands, flush=True)

    def answer(self) -> str:
        line = self.answers.readline().rstrip()
        if not line:
            raise Failed("a process of the link has ended")
        return line


class Link:
    """The five processes; `link` makes one."""

    def __init__(self, processes: dict[str, Process], redis_pid: int) -> None:
        self.processes = processes
        self._pids = {name: process.pid for name, process in processes.items()}
        if redis_pid:
            self._pids["Redis"] = redis_pid

    def cpu(self) -> dict[str, float]:
        """Return the CPU time of each part so far, in seconds; 0 for one that is not there."""
        pids = self._pids
        return {name: cpu_seconds(pids[name]) if name in pids else 0.0 for name in PARTS}

    def rss_kb(self, name: str) -> float:
        """Return the resident memory of a part in KB."""
        return int(Path(f"/proc/{self._pids[name]}/statm").read_text().split()[1]) * PAGE_KB

    def turns(self) -> int:
        """Return the number of writes of the publisher's broker so far."""
        return int(self.processes["broker A"].ask("turns"))


@contextmanager
def link(folder: Path, machines: int = 2) -> Iterator[Link]:
    """Start the processes; the publisher knows the subscriptions of the receiver."""
    with ExitStack() as stack:
        server = stack.enter_context(redis(folder)) if machines > 1 else None
        processes = {}
        there = "B" if server else "A"
        for name, role, machine in (
            ("broker A", "broker", "A"),
            *([("broker B", "broker", "B")] if server else []),
            ("receiver", "receiver", there),
            ("publisher", "publisher", "A"),
        ):
            address = f"ipc://{folder}/broker-{machine}.ipc"
            arguments = [role, machine, address, "--redis", url_of(server) if server else ""]
            process = processes[name] = stack.enter_context(_process(arguments))
            if process.answer() != "ready":
                raise Failed(f"the {name} did not start")
        yield Link(processes, server.pids()[0] if server else 0)


@contextmanager
def _process(arguments: list[str]) -> Iterator[Process]:
    command = [sys.executable, "-m", "benchmarks.machines.link_processes", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield Process(process.pid, process.stdin, process.stdout)
        finally:
            process.stdin.close()


def publications(name: str, machines: int, folder: Path) -> Measurements:
    """Make one run of a load; returns µs of CPU a publication, in all and by part."""
    load = LOADS[name]
    with link(folder, machines) as found:
        before, turns = found.cpu(), found.turns()
        found.processes["publisher"].tell(f"publish {name}")
        received = int(found.processes["receiver"].answer())
        used = {part: seconds - before[part] for part, seconds in found.cpu().items()}
        turns = found.turns() - turns
    if received < load.publications:
        raise Failed(f"{received} of {load.publications} publications received")
    return {
        "µs CPU a publication": sum(used.values()) / received * 1e6,
        **{part: used[part] / received * 1e6 for part in PARTS},
        "publications a write": received / turns if turns else 0.0,
    }


def subscriptions(count: int, folder: Path) -> Measurements:
    """Let the publisher's node subscribe to topics of its own, until the other machine's node knows
    all of them; returns µs of CPU a subscription by part, and the memory that it takes."""
    with link(folder) as found:
        receiver, before = found.processes["receiver"], found.cpu()
        memory = {part: found.rss_kb(part) for part in ("broker B", "receiver")}
        found.processes["publisher"].tell(f"subscribe 0 {count}")
        receiver.ask(f"know {(OWN_TOPIC % (count - 1)).decode()}")
        used = {part: seconds - before[part] for part, seconds in found.cpu().items()}
        grown = {part: found.rss_kb(part) - kb for part, kb in memory.items()}
    return {
        "µs CPU a subscription": sum(used.values()) / count * 1e6,
        **{part: used[part] / count * 1e6 for part in PARTS},
        "bytes, broker B": grown["broker B"] / count * 1024,
        "bytes, receiver": grown["receiver"] / count * 1024,
    }
