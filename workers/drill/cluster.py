"""A cluster of its own for a drill: `twistd c10k` on a free port, whose processes can be killed.

`carry_out` is the course of every drill: signals, errors, the summary, the exit status. A drill or
a soak test on one cluster is a `Check`, which `check_cluster` makes and runs.
"""

import argparse
import asyncio
import json
import logging
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Protocol, TextIO

from workers.cli.argument_types import positive
from workers.demo.machines import CLUSTER_END_SECONDS, READY, START_SECONDS, twistd_command
from workers.demo.programs import Failed, program, quoted

READY_PROCESS = re.compile(r"(\w+) ready \(process (\d+)\)")
LAST_LINES = 8

JOIN_SECONDS = 1.0
"""Before its death a broker may not have read what nodes have sent, and a new one is ready before
all nodes have joined it."""


class Cluster:
    """url: of the site. supervisor: its process. pids: name -> process, of those that serve now.

    outages: seconds from each kill until the replacement was ready, by name without its number.
    reading: the task that reads the log until its end.
    """

    def __init__(self, log: TextIO | None) -> None:
        self.url = ""
        self.supervisor = 0
        self._log = log
        self.pids: dict[str, int] = {}
        self.outages: dict[str, list[float]] = {"node": [], "broker": []}
        self.ended = asyncio.Event()
        self.reading: asyncio.Task[None] | None = None
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._killed: dict[str, float] = {}
        self._node_kills: list[float] = []
        self._without_broker: list[tuple[float, float]] = []
        self._ready = asyncio.Event()

    @property
    def ws_url(self) -> str:
        """The URL for WebSockets."""
        return self.url.replace("http", "ws", 1)

    def running_nodes(self) -> list[str]:
        """The names of the nodes that serve."""
        return sorted(name for name in self.pids if name.startswith("node"))

    def kill(self, name: str) -> int | None:
        """Kill a process with SIGKILL; returns its number, or None if it does not serve."""
        pid = self.pids.pop(name, None)
        if pid is None:
            return None
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return None
        now = self._killed[name] = monotonic()
        if name != "broker":
            self._node_kills.append(now)
        return pid

    def double_faults(self) -> list[tuple[float, float]]:
        """The times without a broker in which a node was killed: (from, until)."""
        times = list(self._without_broker)
        if "broker" in self._killed:
            times.append((self._killed["broker"], monotonic()))
        return [
            (since, until)
            for since, until in times
            if any(since <= at <= until for at in self._node_kills)
        ]

    async def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until the cluster serves. Raises Failed."""
        ended = asyncio.ensure_future(self.ended.wait())
        ready = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait({ended, ready}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        ready.cancel()
        if not self._ready.is_set():
            raise Failed("the cluster did not start" + quoted(self.last))

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Read the log until its end."""
        async for line in stream:
            text = line.decode(errors="replace").rstrip()
            self.last.append(text)
            if self._log is not None:
                print(text, file=self._log, flush=True)
            if found := READY_PROCESS.search(text):
                name, pid = found[1], int(found[2])
                self.pids[name] = pid
                if name in self._killed:
                    since, now = self._killed.pop(name), monotonic()
                    self.outages[name.rstrip("0123456789")].append(now - since)
                    if name == "broker":
                        self._without_broker.append((since - JOIN_SECONDS, now + JOIN_SECONDS))
            if found := READY.search(text):
                self.url = found[1]
                self._ready.set()
        self.ended.set()


@asynccontextmanager
async def running_cluster(nodes: int, log: TextIO | None) -> AsyncIterator[Cluster]:
    """Start a cluster, and stop it at the end of the block. Raises Failed.

    log: receives the lines of the cluster's log.
    """
    cluster = Cluster(log)
    command = [
        *twistd_command(),
        *("--nodes", str(nodes), "--listen", "tcp:0:interface=127.0.0.1"),
        *("--drain-timeout", "3"),
    ]
    async with program(
        "the cluster", command, CLUSTER_END_SECONDS, stdout=PIPE, stderr=STDOUT
    ) as process:
        assert process.stdout is not None
        cluster.supervisor = process.pid
        # Not cancelled: a cluster that stops must not wait for a full pipe.
        cluster.reading = asyncio.create_task(cluster.read(process.stdout))
        try:
            await cluster.wait_ready()
            yield cluster
        finally:
            cluster.pids.clear()


class Check(Protocol):
    """A drill or a soak test."""

    async def run(self) -> None:
        """Load the cluster, and check what clients receive."""

    def summary(self) -> dict[str, Any]:
        """Return the result, as for --json; it has ``verified`` and ``violations``."""


Make = Callable[[argparse.Namespace, Cluster], Check]


def add_common_arguments(parser: argparse.ArgumentParser, nodes: int = 4) -> None:
    """Add the options that all programs have. nodes: the default of --nodes."""
    add = parser.add_argument
    add(
        "--nodes",
        type=positive,
        default=nodes,
        metavar="N",
        help=f"node processes of a cluster ({nodes})",
    )
    add("--log", type=argparse.FileType("w"), metavar="FILE", help="keep the log of all processes")
    add("--json", action="store_true", help="print the summary as one JSON object")


def verdict(summary: dict[str, Any]) -> list[str]:
    """Return the last lines of the summary as text."""
    found = [f"VIOLATED: {violation}" for violation in summary["violations"]]
    return [*found, "verified: nothing was violated"] if summary["verified"] else found


def carry_out(
    name: str,
    options: argparse.Namespace,
    check: Coroutine[Any, Any, dict[str, Any]],
    lines: Callable[[dict[str, Any]], list[str]],
) -> int:
    """Run a check, and print the summary that it returns; returns the exit status.

    name: of the program, for its errors. check: may raise Failed; SIGINT and SIGTERM cancel it.
    lines: returns the summary as text.
    """
    logging.disable(logging.WARNING)  # Autobahn logs connections that were lost, which is the point
    try:
        summary = asyncio.run(_cancelled_by_signals(check))
    except Failed as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return 1
    except asyncio.CancelledError:
        return 128 + signal.SIGINT
    print(json.dumps(summary) if options.json else "\n".join(lines(summary)), flush=True)
    return 0 if summary["verified"] else 1


async def _cancelled_by_signals(check: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await check


async def check_cluster(options: argparse.Namespace, make: Make) -> dict[str, Any]:
    """Make a check on a new cluster, and run it; returns its summary. Raises Failed."""
    async with running_cluster(options.nodes, options.log) as cluster:
        check = make(options, cluster)
        await check.run()
        return check.summary()
