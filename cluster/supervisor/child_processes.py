"""Starts, restarts and stops the child processes, and logs their output.

twisted.runner.procmon does most of the work. The differences:

* the delay before a restart grows each time a child ends before it is ready, even if its start took
  long; otherwise a site that fails after six seconds of imports would be restarted without a delay;
* a child counts as ended when its process has ended, not when its output is closed, because a
  process that it started may hold the output open indefinitely;
* a line that is too long for the log is split (procmon would stop reading, and block the child);
* a stop is requested over the control connection, waits for the end of each process, and stops the
  broker last.
"""

import os
import signal
import site
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.runner.procmon import LineLogger, LoggingProtocol, ProcessMonitor

MAX_LINE = 8192
"""Bytes of a child's output that are logged as one line at most."""

_LEVELS = {level.name: level for level in LogLevel.iterconstants()}


class _Lines(LineLogger):
    """Logs a child's lines under the child's name.

    ``cluster.cli.child`` writes ``level: text``. Lines without a level, such as the output of
    ``print`` in a view, are logged as info.
    """

    service: "Children"

    MAX_LENGTH = MAX_LINE

    def __init__(self, monitor: "Children", name: str) -> None:
        self.service = monitor
        self.tag = name
        self.stream = ""

    def lineReceived(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        name, separator, rest = text.partition(": ")
        level = _LEVELS.get(name) if separator else None
        if level is None:
            level, rest = LogLevel.info, text
        self.service.log.emit(level, "{line}", line=rest, log_system=f"{self.tag}#{level.name}")

    def lineLengthExceeded(self, line: bytes) -> None:
        for part in line.split(self.delimiter):
            for start in range(0, len(part), MAX_LINE):
                self.lineReceived(part[start : start + MAX_LINE])

    def finish(self) -> None:
        """Log the last line, if it has no line end."""
        rest = self.clearLineBuffer()
        if rest:
            self.lineReceived(rest)


class _Relay(LoggingProtocol):
    """One process of one child."""

    service: "Children"
    transport: Any

    def __init__(self, monitor: "Children", name: str) -> None:
        self.service = monitor
        self.name = name
        self._lines = (_Lines(monitor, name), _Lines(monitor, name))

    def connectionMade(self) -> None:
        pass

    def outReceived(self, data: bytes) -> None:
        self._lines[0].dataReceived(data)

    def errReceived(self, data: bytes) -> None:
        self._lines[1].dataReceived(data)

    def processExited(self, reason: Failure) -> None:
        self.service._monitoredProcessExited(self.name, reason)

    def processEnded(self, reason: Failure) -> None:
        for lines in self._lines:
            lines.finish()


class Children(ProcessMonitor):
    """Call ``addProcess`` for each child before you start the service; they start in this order.

    Args:
        reactor: Starts the processes, and is the clock.
        ended: Called with the child's name each time its process has ended.
        ask_to_stop: Called with the child's name; returns False if the child cannot be asked,
            because it is not connected yet. Then it receives SIGTERM. A child that has not ended
            ``killTime`` seconds later receives SIGKILL.
        stop_last: The name of the child that the other children need until they have ended.
    """

    log = Logger()
    minRestartDelay: Any = 0.25
    maxRestartDelay = 30
    threshold = 5

    def __init__(
        self,
        reactor: Any,
        ended: Callable[[str], None],
        ask_to_stop: Callable[[str], bool],
        stop_last: str = "",
    ) -> None:
        super().__init__(reactor)
        # Typed as Any: procmon declares zope interfaces, whose methods have no self.
        self._reactor: Any = reactor
        self._clock: Any = reactor
        self.restart: dict[str, Any] = {}
        self.starts: Counter[str] = Counter()
        self._ended = ended
        self._ask_to_stop = ask_to_stop
        self._stop_last = stop_last
        self._ready: set[str] = set()
        self._waiting: dict[str, Deferred[None]] = {}

    def pid(self, name: str) -> int | None:
        """The process id of a child; None if it does not run."""
        relay = self.protocols.get(name)
        return None if relay is None or relay.transport is None else relay.transport.pid

    def is_ready(self, name: str) -> bool:
        """Whether the child's current process serves."""
        return name in self._ready

    def became_ready(self, name: str) -> None:
        """Record that the child's process serves: if it ends after ``threshold`` seconds or more,
        the next one starts without a delay."""
        self._ready.add(name)

    def kill(self, name: str) -> None:
        """Kill a child that does not answer. SIGKILL also ends a process that SIGSTOP stopped."""
        relay = self.protocols.get(name)
        if relay is not None and relay.transport is not None:
            self._forceStopProcess(relay.transport)

    def startProcess(self, name: str) -> None:
        if name in self.protocols:
            return
        process = self._processes[name]
        relay = _Relay(self, name)
        self.protocols[name] = relay
        self.timeStarted[name] = self._clock.seconds()
        self.starts[name] += 1
        try:
            self._reactor.spawnProcess(
                relay, process.args[0], process.args, env=process.env, path=process.cwd
            )
        except OSError as error:
            self.log.error("cannot start {name}: {error}", name=name, error=error)
            self._monitoredProcessExited(name, None)

    def _monitoredProcessExited(self, name: str, reason: Failure | None = None) -> None:
        if name in self._ready:
            self._ready.remove(name)
        else:
            self.timeStarted[name] = self._clock.seconds()
        super()._monitoredProcessExited(name, None)
        if not self.running:
            self.log.info("{name} stopped", name=name)
        else:
            delay = max(0.0, self.restart[name].getTime() - self._clock.seconds())
            self.log.warn(
                "{name} ended ({reason}); restarting it {when}",
                name=name,
                reason=_how_it_ended(reason),
                when=f"in {delay:.2g} s" if delay > 0.01 else "now",
            )
        self._ended(name)
        waiting = self._waiting.pop(name, None)
        if waiting is not None:
            waiting.callback(None)

    def stopService(self) -> "Deferred[None]":  # type: ignore[override]  # procmon does not wait
        """Stop all children; fires when every process has ended."""
        Service.stopService(self)
        for restart in self.restart.values():
            if restart.active():
                restart.cancel()
        first = [name for name in self._processes if name != self._stop_last]
        return DeferredList([self._stop(name) for name in first]).addCallback(
            lambda _: self._stop(self._stop_last)
        )

    def _stop(self, name: str) -> "Deferred[None]":
        relay: Any = self.protocols.get(name)
        if relay is None or relay.transport is None:
            return succeed(None)
        if not self._ask_to_stop(name):
            with suppress(ProcessExitedAlready):
                relay.transport.signalProcess("TERM")
        self.murder[name] = self._clock.callLater(
            self.killTime, self._forceStopProcess, relay.transport
        )
        self._waiting[name] = Deferred()
        return self._waiting[name]


def _how_it_ended(reason: Failure | None) -> str:
    if reason is None:
        return "it could not be started"
    if reason.check(ProcessDone):
        return "exit status 0"
    number = getattr(reason.value, "signal", None)
    if number:
        with suppress(ValueError):  # a real-time signal has no name
            return signal.Signals(number).name
        return f"signal {number}"
    return f"exit status {getattr(reason.value, 'exitCode', '?')}"


def child_environment(environ: Mapping[str, str], path: Iterable[str]) -> dict[str, str]:
    """Return the environment for children: this process's, with its import path as PYTHONPATH.

    The interpreter's own folders are left out: programs that a view starts inherit the variable,
    and may run on another version of Python.
    """
    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *site.getsitepackages()}
    entries = [os.path.abspath(entry) for entry in path]
    kept = [
        entry
        for entry in dict.fromkeys(entries)
        if entry not in own and not entry.endswith(("lib-dynload", ".zip"))
    ]
    # Unbuffered, so that each line is logged at once, rather than when 8 KB are complete.
    return {**environ, "PYTHONPATH": os.pathsep.join(kept), "PYTHONUNBUFFERED": "1"}


def child_command(*arguments: str) -> list[str]:
    """Return the command line of ``cluster.cli.child`` under this interpreter.

    With -P modules in the working directory do not hide installed ones. If the directory must be
    searched, it is in the PYTHONPATH of ``child_environment``.
    """
    return [sys.executable, "-P", "-m", "cluster", *arguments]
