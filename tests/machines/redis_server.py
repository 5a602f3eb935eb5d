"""Redis servers and Sentinels for tests: on a Unix socket or a free port, without files.

server = RedisServer(folder)            # a Unix socket in the folder
server = RedisServer(folder, tcp=True)  # a free port of 127.0.0.1
server.start("--maxmemory", "5mb")
server.cli("CLIENT", "LIST")            # an answer of redis-cli
server.pause(); server.resume()         # SIGSTOP, SIGCONT
server.kill(); server.start()           # the same address, empty
server.stop()
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

VALKEY = shutil.which("valkey-server")
SERVER = shutil.which("redis-server") or VALKEY
CLIENT = shutil.which("redis-cli") or shutil.which("valkey-cli")
MISSING = None if SERVER and CLIENT else "redis-server is not installed"
NO_VALKEY = None if VALKEY and CLIENT else "valkey-server is not installed"
START_S = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A server process; `start` it, and `stop` it at the end."""

    def __init__(self, folder: Path, tcp: bool = False, program: str | None = SERVER) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.program = program
        self.port = free_port() if tcp else 0
        self.path = "" if tcp else str(folder / "redis.sock")
        self.process: subprocess.Popen[bytes] | None = None
        self.arguments: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"unix://{self.path}" if self.path else f"redis://127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> None:
        """Start it, with options; without, with those of the last start."""
        self.arguments = arguments or self.arguments
        command = [str(self.program), "--port", str(self.port), "--save", "", "--dir"]
        command += [str(self.folder), "--daemonize", "no", "--bind", "127.0.0.1"]
        if self.path:
            command += ["--unixsocket", self.path]
        self._run([*command, *self.arguments])

    def _run(self, command: list[str]) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        too_late = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > too_late:
                raise AssertionError((self.folder / "log").read_text())
            time.sleep(0.01)

    def _answers(self) -> bool:
        """Whether it accepts commands: until then there is nothing that a test could wait for."""
        done = self.ask("PING")
        return "PONG" in done or "NOAUTH" in done

    def ask(self, *command: str) -> str:
        """What redis-cli prints, also for errors."""
        where = ["-s", self.path] if self.path else ["-p", str(self.port)]
        done = subprocess.run(
            [str(CLIENT), *where, *command], capture_output=True, text=True, timeout=START_S
        )
        return done.stdout + done.stderr

    def cli(self, *command: str) -> str:
        answer = self.ask(*command)
        if "ERR" in answer or "Could not connect" in answer:
            raise AssertionError(f"{' '.join(command)}: {answer}")
        return answer.strip()

    def pause(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_S)
            self.process = None

    stop = kill


class SentinelServer(RedisServer):
    """A Sentinel that watches a primary, and is alone in deciding on a failover."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, tcp=True)

    def watch(self, primary: RedisServer, name: str = "mymaster") -> None:
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor {name} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {name} 500\n"
            f"sentinel failover-timeout {name} 3000\n"
        )
        self._run([str(self.program), str(config), "--sentinel"])


class RedisTestCase(TestCase):
    """Has a folder with a short name, for Unix sockets, and stops all servers at the end."""

    skip = MISSING
    timeout = 120
    program = SERVER

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-redis-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def start_redis(self, *arguments: str, tcp: bool = False, name: str = "redis") -> RedisServer:
        server = RedisServer(self.folder / name, tcp, self.program)
        self.addCleanup(server.stop)
        server.start(*arguments)
        return server
