"""Starts, measures and stops server processes.

CPU time (user and system) and memory (resident set) are those of a server's whole process tree.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_WITHIN = 60.0  # seconds
STOP_WITHIN = 20.0  # seconds; a cluster drains for 10
TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds, the unit of /proc/PID/stat's times
PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024


class Failed(Exception):
    """A server or a load failed; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server to measure. `ready` finds the port in its output; clients connect to `path`. `root`
    is the checkout with its code."""

    name: str
    command: Sequence[str]
    ready: str
    path: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)
    root: Path = ROOT


def cluster(
    nodes: int,
    *arguments: str,
    name: str = "",
    path: str = "/",
    environment: Mapping[str, str] | None = None,
) -> Candidate:
    """Return this project on a free port, with further `arguments` for `twistd c10k`."""
    return Candidate(
        name or f"cluster, {nodes} node{'s' if nodes > 1 else ''}",
        (
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n"),
            *("--pidfile=", "c10k", "--listen", "tcp:0:interface=127.0.0.1"),
            *("--nodes", str(nodes), *arguments),
        ),
        r"c10k ready: http://[^:/]+:(\d+)/",
        path,
        environment or {},
    )


def competitor(name: str, python: str, module: str, *arguments: str, path: str = "/") -> Candidate:
    """Return a module of benchmarks.competitors, which prints its address."""
    command = (python, "-m", f"benchmarks.competitors.{module}", "--port", "0", *arguments)
    return Candidate(name, command, r":(\d+)/", path)


def node(name: str, script: str, environment: Mapping[str, str]) -> Candidate:
    """Return a script of benchmarks.competitors for Node, which prints its address."""
    path = ROOT / "benchmarks" / "competitors" / f"{script}.mjs"
    return Candidate(name, ("node", str(path)), r":(\d+)/", environment=environment)


def channels(server: str, python: str, workers: int, path: str, redis: str = "") -> Candidate:
    """Return the Channels site on "uvicorn" or "Daphne"; ready when all workers are."""
    environment = {"CHANNELS_REDIS": redis} if redis else {}
    if server == "uvicorn":
        name = "uvicorn + Channels" + (" + Redis" if redis else "")
        return uvicorn(name, python, workers, "channels_site", path, environment)
    return Candidate(
        f"{server} + Channels" + (" + Redis" if redis else ""),
        (python, "-m", "benchmarks.competitors.daphne_channels", "--workers", str(workers)),
        _all_ready(workers, "Listening on TCP", r"listening on ws://[^:]+:(\d+)/"),
        path,
        environment,
    )


def uvicorn(
    name: str, python: str, workers: int, module: str, path: str, environment: Mapping[str, str]
) -> Candidate:
    """Return an ASGI application of benchmarks.competitors; ready when all workers are."""
    command = [python, "-m", "uvicorn", f"benchmarks.competitors.{module}:application"]
    command += ["--host", "127.0.0.1", "--port", "0", "--backlog", "4096", "--no-access-log"]
    command += ["--workers", str(workers)]
    ready = _all_ready(workers, "startup complete", r"running on http://[^:]+:(\d+)")
    return Candidate(name, command, ready, path, environment)


def _all_ready(workers: int, started: str, port: str) -> str:
    return rf"(?s)\A(?=(?:.*?{started}){{{workers}}}).*{port}"


class Server:
    """A candidate's process tree, as a context manager."""

    def __init__(self, candidate: Candidate, folder: Path) -> None:
        self._candidate = candidate
        self._output = folder / f"{re.sub(r'[^a-z0-9]+', '-', candidate.name.lower())}.log"
        root = candidate.root
        paths = [str(root), str(root / "twistd_plugins"), os.environ.get("PYTHONPATH", "")]
        # A separate runtime folder, so that other clusters of this user are not affected.
        self._environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(path for path in paths if path),
            XDG_RUNTIME_DIR=str(folder),
            **candidate.environment,
        )

    def __enter__(self) -> "Server":
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._candidate.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._candidate.root,
                env=self._environment,
                start_new_session=True,  # Ctrl-C signals only the benchmark, which stops them
            )
        try:
            self.port = self._port()
            self.url = f"ws://127.0.0.1:{self.port}"
            admin = re.search(r"admin (http\S+)", self.output())
            self.admin_url = admin[1] if admin else ""
        except BaseException:
            self.__exit__()
            raise
        return self

    def _port(self) -> int:
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline and self._process.poll() is None:
            found = re.search(self._candidate.ready, self.output())
            if found:
                return int(found[1])
            time.sleep(0.05)
        raise Failed(f"{self._candidate.name} did not start:\n{self.output()}")

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is not None:
            return
        tree = self.pids()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            for pid in tree:  # the parent first: otherwise a supervisor would replace its children
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._process.wait()

    def output(self) -> str:
        """Return the output of the server so far."""
        return self._output.read_text(errors="replace")

    def cpu_seconds(self) -> dict[int, tuple[str, float]]:
        """Return the CPU time of each process so far: pid -> (kind, seconds)."""
        used = {}
        for pid in self.pids():
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except FileNotFoundError:
                continue
            kind = "server"
            if b"cluster" in command:
                kind = command[command.index(b"cluster") + 1].decode()
            elif self._candidate.name.startswith("cluster"):
                kind = "supervisor"
            used[pid] = kind, cpu_of(stat)
        return used

    def cpu(self) -> float:
        """Return the CPU time of all processes so far, in seconds."""
        return sum(seconds for _, seconds in self.cpu_seconds().values())

    def rss_kb(self) -> float:
        """Return the resident memory of all processes in KB; shared pages count for each
        process."""
        pages = 0
        for pid in self.pids():
            try:
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except FileNotFoundError:
                continue
        return pages * PAGE_KB

    def pids(self) -> list[int]:
        """Return the started process and all its descendants."""
        found = [self._process.pid]
        for pid in found:
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except FileNotFoundError:
                continue
            found.extend(map(int, children))
        return found


def cpu_of(stat: str) -> float:
    """Return the user and system time in seconds, from the text of /proc/PID/stat."""
    words = stat.rpartition(")")[2].split()  # the name before ")" may contain spaces and brackets
    return (int(words[11]) + int(words[12])) * TICK


def kernel_kb(meminfo: str, sockstat: str) -> float:
    """Return the memory of the kernel's objects and socket buffers, in KB.

    `meminfo` is the text of /proc/meminfo, `sockstat` of /proc/net/sockstat. The result includes
    the objects of all processes of the machine, but not page tables.
    """
    slab = re.search(r"^SUnreclaim:\s+(\d+)", meminfo, re.MULTILINE)
    buffers = re.search(r"^TCP:.*\bmem (\d+)", sockstat, re.MULTILINE)
    if not slab or not buffers:
        raise ValueError("no SUnreclaim in meminfo, or no TCP mem in sockstat")
    return int(slab[1]) + int(buffers[1]) * PAGE_KB


def kernel_kb_now() -> float:
    """Return `kernel_kb` of this machine now."""
    return kernel_kb(Path("/proc/meminfo").read_text(), Path("/proc/net/sockstat").read_text())
