"""Nodes of two machines: the broker process of each machine, and a Redis server between them.

They run as long as the tests of one class, because a broker needs a second to start.
"""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any, ClassVar

from tests.e2e.processes import environment, twistd
from tests.machines.bus_sites import SiteTestCase
from tests.machines.redis_server import MISSING, RedisServer
from tests.pubsub.links import reactor
from workers.drill.machines.cleaner import Cleaner

MACHINES = "AB"


class Machines:
    """A Redis server and the brokers of all machines, until the end of the test run."""

    def __init__(self, program: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-test-"))
        self._cleaner = Cleaner()
        atexit.register(self._cleaner.close)
        self._cleaner.add("folder", self.folder)
        self.server = RedisServer(self.folder, tcp=True, program=shutil.which(program))
        self.start_server()
        for machine in MACHINES:
            self._start_broker(machine)

    def start_server(self) -> None:
        self.server.start()
        assert self.server.process is not None
        self._cleaner.add("process", self.server.process.pid)

    def address(self, machine: str) -> str:
        """The address of a machine's broker."""
        return f"ipc://{self.folder}/{machine}.ipc"

    def _start_broker(self, machine: str) -> None:
        command = twistd(
            *("-n", "--pidfile=", "c10k-broker", "--bus", f"zmq+{self.address(machine)}"),
            *("--uplink", self.server.url, "--machine", machine, "--site", "conformance"),
            *("--settings", "tests.e2e.drill_site"),
        )
        with (self.folder / f"{machine}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment(uuid.uuid4().hex), stdout=log, stderr=log
            )
        self._cleaner.add("process", process.pid)


class RedisSite(SiteTestCase):
    """Two machines on Redis, or on the server that ``program`` names."""

    program = "redis-server"
    skip = MISSING
    _of_program: ClassVar[dict[str, Machines]] = {}

    @property
    def machines(self) -> Machines:
        """Those of this program, which the first test starts."""
        if self.program not in self._of_program:
            self._of_program[self.program] = Machines(self.program)
        return self._of_program[self.program]

    def setUp(self) -> None:
        super().setUp()
        self._mark = uuid.uuid4().hex[:8]

    async def start_site(self) -> None:
        """Everything runs already."""

    def node_name(self, number: int) -> str:
        return f"node{number}.{self._mark}@{MACHINES[number % len(MACHINES)]}"

    def make_bus(self, name: str, number: int) -> Any:
        from cluster.pubsub.zmq_bus import ZmqBus

        return ZmqBus(name, self.machines.address(MACHINES[number % len(MACHINES)]), reactor)

    async def restart_engine(self) -> None:
        self.machines.server.kill()
        self.machines.start_server()

    def stop_engine(self) -> None:
        self.machines.server.pause()
        self.addCleanup(self.continue_engine)

    def continue_engine(self) -> None:
        process = self.machines.server.process
        if process is not None:
            os.kill(process.pid, signal.SIGCONT)


class ValkeySite(RedisSite):
    """The same on Valkey."""

    program = "valkey-server"
    skip = None if shutil.which("valkey-server") else "valkey-server is not installed"
