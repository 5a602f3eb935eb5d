"""Real clusters for tests, started by twistd from this checkout.

``start_cluster(test, "--nodes", "2")`` starts a cluster on free ports, and fires with a ``Cluster``
when it has logged that it is ready. The test's clean-up kills the cluster, and fails if a process
of the cluster outlives its supervisor.
"""

import os
import re
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

ROOT = Path(__file__).resolve().parents[2]

PATIENCE_S = 120.0
"""Seconds to wait for an event. It usually takes one or two, but many more on a busy machine."""

ORPHAN_TIMEOUT_S = 30.0
"""Seconds to wait for the end of processes that must end at once."""

TEST_TIMEOUT_S = 600
"""A test's ``timeout``, in seconds: longer than each wait in it, whose error is more specific."""

STDOUT, STDERR = 1, 2

_MARK = "C10K_TEST_CLUSTER"

reactor: Any = _reactor


class Program(ProcessProtocol):
    """A process whose output lines are recorded, and for which tests can wait.

    ``lines`` has all lines. Those of standard output and those of standard error are each in order,
    but a line of one may precede an earlier line of the other. ``errors`` has standard error only.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.runtime = Path()
        self.status: int | None = None
        self.signal: int | None = None
        self._rests = {STDOUT: b"", STDERR: b""}
        self._waiting: list[tuple[re.Pattern[str], Deferred[re.Match[str]]]] = []
        self._ends: list[Deferred[None]] = []
        self._ended = False

    @property
    def pid(self) -> int:
        transport: Any = self.transport
        return transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        # Decode the streams separately, so that neither splits a line or character of the other.
        *lines, self._rests[childFD] = (self._rests[childFD] + data).split(b"\n")
        for raw in lines:
            line = raw.decode("utf-8", "replace")
            self.lines.append(line)
            if childFD == STDERR:
                self.errors.append(line)
            self.line_received(line)
            for pattern, waiting in list(self._waiting):
                match = pattern.search(line)
                if match:
                    self._waiting.remove((pattern, waiting))
                    waiting.callback(match)

    def line_received(self, line: str) -> None:
        """Called for each line, before the Deferreds of ``line`` fire; subclasses override it."""

    def processEnded(self, reason: Failure) -> None:
        for stream, rest in self._rests.items():
            if rest:
                self.childDataReceived(stream, b"\n")
        ended: Any = reason.value
        self.status = ended.exitCode
        self.signal = ended.signal
        self._ended = True
        for end in self._ends:
            end.callback(None)
        for pattern, waiting in self._waiting:
            waiting.errback(AssertionError(f"ended without {pattern.pattern!r}:\n{self.text}"))
        self._waiting.clear()

    @property
    def text(self) -> str:
        """Return all output so far."""
        return "\n".join(self.lines)

    def line(self, pattern: str, timeout: float = PATIENCE_S) -> "Deferred[re.Match[str]]":
        """Fires with the match of the next line that has ``pattern``; earlier lines are ignored."""
        waiting: Deferred[re.Match[str]] = Deferred()
        if self._ended:
            return fail(AssertionError(f"ended before {pattern!r} was waited for:\n{self.text}"))
        self._waiting.append((re.compile(pattern), waiting))

        def too_late(failure: Any, seconds: float) -> Any:
            raise AssertionError(f"no {pattern!r} within {seconds} s:\n{self.text}")

        return waiting.addTimeout(timeout, reactor, onTimeoutCancel=too_late)

    def end(self, timeout: float = PATIENCE_S) -> "Deferred[None]":
        """Fires when the process has ended and all of its output is in ``lines``."""
        if self._ended:
            return succeed(None)
        end: Deferred[None] = Deferred()
        self._ends.append(end)

        def too_late(failure: Any, seconds: float) -> Any:
            raise AssertionError(f"still runs after {seconds} s:\n{self.text}")

        return end.addTimeout(timeout, reactor, onTimeoutCancel=too_late)

    def kill(self, number: int = signal.SIGTERM) -> None:
        """Send a signal. No effect if the process has ended."""
        if not self._ended:
            os.kill(self.pid, number)


class Cluster(Program):
    """A cluster: the process of its supervisor."""

    def __init__(self) -> None:
        super().__init__()
        self.mark = uuid.uuid4().hex
        self.base_url = ""
        self.admin_url = ""
        self.pids: dict[str, int] = {}

    def line_received(self, line: str) -> None:
        if match := re.search(r"#info\] (\w+) ready \(process (\d+)\)", line):
            self.pids[match[1]] = int(match[2])

    @property
    def port(self) -> int:
        """The first listening port."""
        return int(self.base_url.rstrip("/").rpartition(":")[2])

    def processes(self) -> list[int]:
        """Return the IDs of all processes that this cluster started."""
        return marked_processes(self.mark)


def marked_processes(mark: str) -> list[int]:
    """Return the processes with this mark in their environment."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and f"{_MARK}={mark}" in Path(f"/proc/{entry}/environ").read_text():
                found.append(int(entry))
        except (OSError, UnicodeDecodeError):
            pass  # the process has ended, or belongs to another user
    return found


def command_line(pid: int) -> str:
    """Return a process's command line, with a blank after each word; "" if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def kill_if_there(pid: int, number: int) -> bool:
    """Send a signal to a process, which may have ended. Returns whether it was running."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def environment(mark: str, **extra: str) -> dict[str, str]:
    """Return the environment of a program that uses this checkout: packages, plugin and mark."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "twistd_plugins")])
    inherited = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": f"{path}{os.pathsep}{inherited}" if inherited else path,
        "PYTHONUNBUFFERED": "1",
        _MARK: mark,
        **extra,
    }


def twistd(*arguments: str) -> list[str]:
    """Return the command line of this interpreter's twistd."""
    return [sys.executable, "-m", "tests.e2e.twistd", *arguments]


def start_program(
    test: TestCase,
    program: Program,
    command: list[str],
    mark: str,
    cwd: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> Program:
    """Start a program; the test's clean-up kills it and all processes that it started.

    Its runtime folders are below ``program.runtime``.
    """
    program.runtime = Path(tempfile.mkdtemp(prefix="c10k-"))
    test.addCleanup(shutil.rmtree, program.runtime)
    added = {"XDG_RUNTIME_DIR": str(program.runtime), **(extra or {})}
    reactor.spawnProcess(
        program, command[0], command, env=environment(mark, **added), path=cwd or str(ROOT)
    )

    def clean_up() -> "Deferred[object]":
        # Kill only the supervisor first: the children must end by themselves.
        if program.transport is not None:
            program.kill(signal.SIGKILL)
        return program.end().addCallback(lambda _: no_orphans(test, mark))

    test.addCleanup(clean_up)
    return program


def no_orphans(test: TestCase, mark: str) -> "Deferred[object]":
    """Wait until all marked processes have ended. If some do not, kill them and fail the test."""

    running = marked_processes(mark)
    commands = [command_line(pid) for pid in running]

    def too_late(result: Any, seconds: float) -> None:
        left = [pid for pid in marked_processes(mark) if kill_if_there(pid, signal.SIGKILL)]
        if left:
            test.fail(f"still there {seconds} s after the supervisor's end: {commands}")

    ends = [process_end(pid) for pid in running]
    return gatherResults(ends).addTimeout(ORPHAN_TIMEOUT_S, reactor, onTimeoutCancel=too_late)


def start_cluster(
    test: TestCase,
    *options: str,
    listen: str = "tcp:0:interface=127.0.0.1",
    extra: Mapping[str, str] | None = None,
    on_spawn: Callable[[Cluster], object] = lambda cluster: None,
) -> "Deferred[Cluster]":
    """Start ``twistd -n c10k`` on a free port; fires when it is ready."""
    cluster = Cluster()
    command = twistd("-n", "--pidfile=", "c10k", "--listen", listen, *options)
    start_program(test, cluster, command, cluster.mark, extra=extra)
    on_spawn(cluster)

    def ready(match: re.Match[str]) -> Cluster:
        cluster.base_url, cluster.admin_url = match[1], match[2]
        return cluster

    return cluster.line(r"c10k ready: (https?:\S+?),? .*admin (http\S+)$").addCallback(ready)


class _ProcessEnd(FileDescriptor):
    """A pidfd: readable when the process has ended, even if it is not our child."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(reactor)
        self._descriptor = descriptor
        self.ended: Deferred[None] = Deferred(lambda _: self._stop())

    def fileno(self) -> int:
        return self._descriptor

    def _stop(self) -> None:
        self.stopReading()
        os.close(self._descriptor)
        self._descriptor = -1

    def doRead(self) -> None:
        self._stop()
        self.ended.callback(None)


def process_end(pid: int) -> "Deferred[None]":
    """Fires when a process has ended; at once if there is no process with this id."""
    try:
        watcher = _ProcessEnd(os.pidfd_open(pid))
    except ProcessLookupError:
        return succeed(None)
    watcher.startReading()
    return watcher.ended
