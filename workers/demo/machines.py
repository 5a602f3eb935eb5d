"""The clusters of a demo: one, or several that stand for machines and share a Redis.

All of them use the same state folder, as the machines of a site use the same database and key. Each
has a port and thereby a runtime folder of its own.
"""

import asyncio
import os
import re
import shutil
import socket
import sys
import sysconfig
import tempfile
import urllib.request
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from workers.demo.programs import Failed, program, quoted, read

MAX_MACHINES = 8  # each is another cluster of several processes on this host
START_SECONDS = 60.0  # a cold start takes about 2 s, more on a busy machine
DRAIN_SECONDS = 3  # short, because there are no uploads to wait for
CLUSTER_END_SECONDS = DRAIN_SECONDS + 7.0
REDIS_END_SECONDS = 5.0
PAUSE_SECONDS = 0.1  # between two questions whether a machine has joined the others
LAST_LINES = 5  # of a program's output, to show why it has failed

READY = re.compile(r"c10k ready: (http\S+?/)[ ,].*?\((.*)\)")
ADMIN = re.compile(r"admin (http\S+)")
REDIS_READY = re.compile("(?i)ready to accept connections")
REDIS_SERVERS = ("redis-server", "valkey-server")


@dataclass
class Machine:
    """A running cluster. label: its name in messages; died: done when its processes have ended."""

    name: str
    label: str
    url: str
    nodes: str
    admin: str
    process: Process
    last: deque[str]
    died: "asyncio.Task[Any]"


@asynccontextmanager
async def machine(
    name: str, nodes: int, port: int, bus: str, environment: Mapping[str, str]
) -> AsyncIterator[Machine]:
    """Start a cluster, and end it with the block. Raises Failed.

    name: of the machine; empty without others. bus: the URL of the Redis that they share.
    """
    label = f"the cluster of machine {name}" if name else "the cluster"
    command = [
        *twistd_command(),
        *("--nodes", str(nodes), "--listen", f"tcp:{port}"),
        *("--drain-timeout", str(DRAIN_SECONDS)),
        *(("--bus", bus, "--machine", name) if name else ()),
    ]
    streams: dict[str, Any] = {
        "stdout": PIPE,
        "stderr": STDOUT,
        "env": {**os.environ, **environment},
    }
    async with program(label, command, CLUSTER_END_SECONDS, **streams) as cluster:
        assert cluster.stdout is not None
        last: deque[str] = deque(maxlen=LAST_LINES)
        try:
            async with asyncio.timeout(START_SECONDS):
                ready = await read(cluster.stdout, last, READY)
        except TimeoutError:
            why = f"{label} was not ready after {START_SECONDS:.0f} s"
            raise Failed(why + quoted(last)) from None
        if ready is None:
            raise Failed(f"{label} did not start" + quoted(last))
        admin = ADMIN.search(ready.string)
        died = asyncio.create_task(read(cluster.stdout, last))
        started = Machine(
            name, label, ready[1], ready[2], admin[1] if admin else "", cluster, last, died
        )
        if name:
            await joined(started)
        yield started


async def joined(machine: Machine) -> None:
    """Wait until a machine is connected with the others. Raises Failed."""
    answer = ""
    try:
        async with asyncio.timeout(START_SECONDS):
            while not answer.startswith("ready") or "degraded" in answer:
                await asyncio.sleep(PAUSE_SECONDS)
                answer = await asyncio.to_thread(_readiness, machine.admin)
    except TimeoutError:
        why = answer.strip() or "no answer"
        raise Failed(f"{machine.label} did not join the others: {why}") from None


def _readiness(admin: str) -> str:
    try:
        with urllib.request.urlopen(f"{admin}readyz", timeout=PAUSE_SECONDS * 10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@asynccontextmanager
async def redis() -> AsyncIterator[str]:
    """Start a Redis without files and without a port; gives its URL. Raises Failed."""
    found = next(filter(None, map(shutil.which, REDIS_SERVERS)), None)
    if found is None:
        raise Failed(
            "several machines need a Redis between them, and redis-server is not installed."
            " On Debian and Ubuntu: apt-get install redis-server"
        )
    with tempfile.TemporaryDirectory(prefix="c10k-demo-") as folder:
        path = Path(folder) / "redis.sock"
        command = [
            *(found, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "600"),
            *("--save", "", "--appendonly", "no", "--dir", folder, "--daemonize", "no"),
        ]
        async with program("Redis", command, REDIS_END_SECONDS, stdout=PIPE, stderr=STDOUT) as run:
            assert run.stdout is not None
            last: deque[str] = deque(maxlen=LAST_LINES)
            ready = None
            with suppress(TimeoutError):
                async with asyncio.timeout(START_SECONDS):
                    ready = await read(run.stdout, last, REDIS_READY)
            if ready is None:
                raise Failed("Redis did not start" + quoted(last))
            reading = asyncio.create_task(read(run.stdout, last))  # so that its pipe stays empty
            try:
                yield f"unix://{path}"
            finally:
                reading.cancel()


def twistd_command() -> list[str]:
    """Return the command that starts c10k, without options. Raises Failed."""
    twistd = shutil.which("twistd", path=sysconfig.get_path("scripts")) or shutil.which("twistd")
    if twistd is None:
        raise Failed("twistd is not installed: pip install django-c10k")
    # No pid file: it would be written to the working directory, and two demos would share it.
    return [sys.executable, twistd, "--nodaemon", "--pidfile=", "c10k"]


def names_and_ports(machines: int, port: int) -> list[tuple[str, int]]:
    """Return the name and port of each machine, from `port` on; 0: any. Raises Failed."""
    names: Sequence[str] = ascii_uppercase[:machines] if machines > 1 else ("",)
    found = [(name, port and port + number) for number, name in enumerate(names)]
    for _, each in found:
        check_port(each)
    return found


def check_port(port: int) -> None:
    """Raise Failed if the port cannot be used, before anything is started."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("", port))
        except OSError as error:
            raise Failed(
                f"port {port} cannot be used ({error.strerror}); take another: make demo PORT=8100"
            ) from None
