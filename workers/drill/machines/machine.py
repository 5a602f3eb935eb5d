"""One machine of a drill: a cluster of its own, which is killed as a whole and started again."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TextIO

from workers.demo.machines import DRAIN_SECONDS, twistd_command
from workers.demo.programs import Failed
from workers.drill.cluster import Cluster
from workers.drill.machines.cleaner import kill_all_in
from workers.drill.machines.network import Namespace, Network

SITE_PORT, ADMIN_PORT = 8000, 9000
END_SECONDS = DRAIN_SECONDS + 7.0
ANSWER_SECONDS = 2.0
START_SECONDS = 180.0
"""For a cluster to serve: all machines share the processors of this host, and start together."""
READY, DEGRADED = "ready", "degraded"  # how /readyz answers when all processes serve
LINE_BYTES = 1 << 20  # the longest line of a log


class Machine:
    """Call `start`, `kill` and `stop`, several times if need be. cluster: its newest cluster.

    folder: shared by all machines, like the database of a site. bus: the URL of the engine.
    """

    def __init__(
        self, network: Network, name: str, nodes: int, folder: Path, bus: str, log: TextIO | None
    ) -> None:
        self.name = name
        self.host = network[name]
        self.port = self.host.port(SITE_PORT)
        self.admin_port = self.host.port(ADMIN_PORT)
        self.url = f"http://{self.host.address}:{self.port}/"
        self.cluster = Cluster(log)
        self._network = network
        self._log = log
        self._process: Process | None = None
        runtime = folder / f"runtime-{name}"
        runtime.mkdir(mode=0o700, exist_ok=True)
        address = self.host.address
        self._environment = {
            **site_environment(folder),
            "XDG_RUNTIME_DIR": str(runtime),
            "C10K_ALLOWED_HOSTS": address,
        }
        self._options = [
            *("--nodes", str(nodes), "--drain-timeout", str(DRAIN_SECONDS)),
            *("--listen", f"tcp:{self.port}:interface={address}"),
            *("--admin", f"tcp:{self.admin_port}:interface={address}"),
            *("--bus", bus, "--machine", name),
        ]

    @property
    def is_running(self) -> bool:
        """Whether its supervisor runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, and wait until it serves. Raises Failed."""
        self.cluster = Cluster(self._log)
        process = self._process = await asyncio.create_subprocess_exec(
            *self.host.command([*twistd_command(), *self._options]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            env=self._environment,
            process_group=0,
            limit=LINE_BYTES,
        )
        self._network.cleaner.add("process", process.pid)
        assert process.stdout is not None
        self.cluster.supervisor = process.pid
        self.cluster.reading = asyncio.create_task(self.cluster.read(process.stdout))
        await self.cluster.wait_ready(START_SECONDS)

    async def kill(self) -> None:
        """Kill all processes at once, as a loss of power does."""
        for pid in (self.cluster.supervisor, *self.cluster.pids.values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if isinstance(self.host, Namespace):
            kill_all_in(self.host.namespace)
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """Stop it as SIGTERM does, and kill it if that takes too long."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), END_SECONDS)
        except TimeoutError:
            print(f"drill: machine {self.name} does not end; killed", file=sys.stderr)
            await self.kill()

    async def readiness(self) -> str:
        """Return what /readyz answers; empty if nothing does."""
        return await _get(self.host.address, self.admin_port, "/readyz")

    async def wait_joined(self, seconds: float) -> bool:
        """Wait until all of its processes serve, and the engine connects it with the others.

        Returns False if it is cut off for so many seconds while its processes serve, or if they do
        not serve in time, which depends on this host.
        """
        too_late = monotonic() + START_SECONDS
        cut_off_since: float | None = None
        while True:
            answer, now = await self.readiness(), monotonic()
            if answer.startswith(READY):
                return True
            if not answer.startswith(DEGRADED):
                cut_off_since = None
            elif cut_off_since is None:
                cut_off_since = now
            if now > too_late or (cut_off_since is not None and now > cut_off_since + seconds):
                return False
            await asyncio.sleep(0.1)


def site_environment(folder: Path) -> dict[str, str]:
    """Return the environment of the site's processes on all machines."""
    return {**os.environ, "C10K_STATE_DIR": str(folder / "state")}


async def create_users(folder: Path, password: str) -> None:
    """Create the demo site's users in the database that all machines share. Raises Failed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "django_project", "createdemousers", "--password", password),
        stdout=asyncio.subprocess.DEVNULL,
        env=site_environment(folder),
    )
    if await process.wait():
        raise Failed("the users of the site could not be created")


async def _get(address: str, port: int, path: str) -> str:
    """Request a page of the admin port; returns its body, empty if there is no answer."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return ""
    return answer.partition(b"\r\n\r\n")[2].decode(errors="replace")
