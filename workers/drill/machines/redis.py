"""Redis servers that can be killed, stopped and set to another time, and Sentinels that fail over.

    engine = Engine(network, folder, ["redis"])                        one server
    engine = Engine(network, folder, ["redis", "replica", "sentinel"])  with failover
    engine.start()
    engine.url                           for `twistd c10k --bus`
    engine.primary.signal(signal.SIGKILL)

The network's cleaner kills all processes in the end.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, BinaryIO

from workers.demo.programs import Failed
from workers.drill.machines.clock import Clock
from workers.drill.machines.network import Host, Network

PORT, SENTINEL_PORT, PROXY_PORT = 6379, 26379, 6380
START_SECONDS = 20.0
ANSWER_SECONDS = 2.0
NAME = "c10k"
"""Of the primary, as Sentinel and the URL name it."""

DOWN_MS = 1000
"""After which a Sentinel holds a server to be down. Its default is 30 s, too long for a drill."""

FAILOVER_MS = 5000

SERVERS = ("redis-server", "valkey-server")


class NoServer(Failed):
    """Redis is not installed, or does not start; the text says which."""


def installed(name: str = "redis-server") -> str:
    """Return the path of a server's program; empty if it is not installed."""
    return shutil.which(name) or ""


class Server:
    """One process of redis-server. options: further lines of its configuration. clock: its own."""

    def __init__(
        self,
        network: Network,
        host: str,
        folder: Path,
        wanted_port: int = PORT,
        options: Sequence[str] = (),
        sentinel: bool = False,
        program: str = "redis-server",
    ) -> None:
        self.network = network
        self.host: Host = network[host]
        self.port = self.host.port(wanted_port)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.clock = Clock(folder / "clock")
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._program = program
        self._sentinel = sentinel
        self._lines = [
            f"port {self.port}",
            f"bind {self.host.address}",
            "protected-mode no",
            f"dir {folder}",
            f"logfile {folder}/log",
            *options,
        ]

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.host.address, self.port

    def start(self, empty: bool = False) -> None:
        """Start it, and wait until it answers. empty: without what it has kept. Raises NoServer.

        A server continues with its own configuration file, which Sentinel rewrites.
        """
        file = self.folder / "conf"
        if empty:
            for kept in [*self.folder.glob("*.rdb"), *self.folder.glob("appendonlydir")]:
                shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
        if not file.exists():
            file.write_text("\n".join(self._lines) + "\n")
        program = installed(self._program)
        if not program:
            raise NoServer(f"{self._program} is not installed")
        command = [program, str(file), *(["--sentinel"] if self._sentinel else [])]
        env = {**os.environ, **self.clock.environment}
        self._process = subprocess.Popen(
            self.host.command(command), stdout=subprocess.DEVNULL, start_new_session=True, env=env
        )
        self.pid = self._process.pid
        self.network.cleaner.add("process", self.pid)
        deadline = monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or monotonic() > deadline:
                raise NoServer(f"{self._program} does not start; see {self.folder}/log")
            sleep(0.01)

    def _answers(self) -> bool:
        with suppress(OSError):
            return bool(self.ask("PING") == "PONG")
        return False

    def ask(self, *words: str) -> Any:
        """Send one command; returns the decoded answer, errors as text. Raises OSError."""
        with socket.create_connection(self.address, timeout=ANSWER_SECONDS) as connection:
            connection.sendall(f"{' '.join(words)}\r\n".encode())
            with connection.makefile("rb") as file:
                return _answer(file)

    @property
    def is_primary(self) -> bool:
        """Whether it answers, and is no replica."""
        with suppress(OSError):
            return "role:master" in self.ask("INFO", "replication")
        return False

    def signal(self, number: int) -> None:
        """Send a signal, and wait for the end if it is SIGKILL."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        if number == signal.SIGKILL and self._process is not None:
            self._process.wait()


class Proxy:
    """Delays what machines exchange with a server; it runs on the server's machine."""

    def __init__(self, server: Server) -> None:
        self.port = server.host.port(PROXY_PORT)
        self.address = server.host.address
        target = [self.address, str(server.port)]
        self._process = subprocess.Popen(
            server.host.command(
                [
                    *(sys.executable, "-m", "workers.drill.machines.delay"),
                    *(self.address, str(self.port), *target),
                ]
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        server.network.cleaner.add("process", self._process.pid)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise NoServer("the proxy does not start")

    def delay(self, milliseconds: float) -> None:
        """Delay everything in each direction from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{milliseconds}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it, with all connections over it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Engine:
    """What the machines share: a server, or two of them and three Sentinels.

    hosts: the machine of the server, or those of both servers and of a Sentinel alone.
    """

    def __init__(
        self, network: Network, folder: Path, hosts: Sequence[str], **options: Any
    ) -> None:
        self.hosts = list(hosts)
        with_sentinel = len(hosts) > 1
        common = ["save ''", "appendonly yes", "appendfsync everysec"]
        if with_sentinel:
            # A primary that no replica follows refuses writes, so that none of them is lost.
            common += ["min-replicas-to-write 1", "min-replicas-max-lag 3", "repl-timeout 5"]
        self.servers = [
            Server(network, host, folder / host, options=common, **options)
            for host in hosts[: 2 if with_sentinel else 1]
        ]
        self.sentinels = (
            [
                Server(
                    *(network, host, folder / f"sentinel-{host}", SENTINEL_PORT),
                    options=self._sentinel_lines(),
                    sentinel=True,
                    **options,
                )
                for host in hosts
            ]
            if with_sentinel
            else []
        )
        self.proxy: Proxy | None = None

    def _sentinel_lines(self) -> list[str]:
        address, port = self.servers[0].address
        return [
            f"sentinel monitor {NAME} {address} {port} 2",
            f"sentinel down-after-milliseconds {NAME} {DOWN_MS}",
            f"sentinel failover-timeout {NAME} {FAILOVER_MS}",
        ]

    def start(self, with_proxy: bool = False) -> None:
        """Start all processes. with_proxy: machines reach a single server through the proxy."""
        for server in self.servers:
            server.start()
        if self.sentinels:
            first, second = self.servers
            address, port = first.address
            second.ask("REPLICAOF", address, str(port))
            _until(lambda: "connected_slaves:1" in first.ask("INFO", "replication"))
            for sentinel in self.sentinels:
                sentinel.start()
            for sentinel in self.sentinels:
                _until(lambda one=sentinel: self._knows_all(one))
        elif with_proxy:
            self.proxy = Proxy(self.servers[0])

    def _knows_all(self, sentinel: Server) -> bool:
        """Whether a Sentinel knows the replica and both other Sentinels: it can fail over."""
        answer = sentinel.ask("SENTINEL", "MASTER", NAME)
        found = dict(zip(answer[::2], answer[1::2], strict=True))
        return found.get("num-slaves") == "1" and found.get("num-other-sentinels") == "2"

    def is_settled(self) -> bool:
        """Whether all Sentinels name the same primary, which takes writes, and suspect nothing.

        A Sentinel that has voted for a failover carries it out although the primary is back.
        """
        named = set()
        for sentinel in self.sentinels:
            try:
                answer = sentinel.ask("SENTINEL", "MASTER", NAME)
            except OSError:
                return False
            found = dict(zip(answer[::2], answer[1::2], strict=True))
            if found.get("flags") != "master":
                return False
            named.add((found.get("ip"), found.get("port")))
        primaries = [one for one in self.servers if (one.address[0], str(one.port)) in named]
        return not named or (len(named) == 1 and all(one.is_primary for one in primaries))

    @property
    def primary(self) -> Server:
        """The server that takes writes; the first one if none does."""
        return next((one for one in self.servers if one.is_primary), self.servers[0])

    @property
    def replica(self) -> Server:
        """The other server."""
        first, second = self.servers
        return second if self.primary is first else first

    @property
    def url(self) -> str:
        """The URL for `--bus`."""
        if self.sentinels:
            hosts = ",".join("{}:{}".format(*one.address) for one in self.sentinels)
            return f"redis+sentinel://{hosts}/{NAME}"
        server = self.servers[0]
        port = server.port if self.proxy is None else self.proxy.port
        return f"redis://{server.host.address}:{port}/0"


def _answer(file: BinaryIO) -> Any:
    """Read one answer of the protocol RESP 2."""
    kind, rest = file.read(1), file.readline().decode().rstrip()
    if kind == b"$":
        size = int(rest)
        return file.read(size + 2)[:-2].decode(errors="replace") if size >= 0 else None
    if kind == b"*":
        return [_answer(file) for _ in range(int(rest))]
    if not kind:
        raise ConnectionError("no answer")
    return int(rest) if kind == b":" else rest


def _until(is_so: Any) -> None:
    deadline = monotonic() + START_SECONDS
    while not is_so():
        if monotonic() > deadline:
            raise NoServer("the servers do not find each other")
        sleep(0.05)
