"""What the child processes write: the lines of their logs, and what the site prints.

A child writes its log to a pipe of its own, LOG_DESCRIPTOR, as lines that are complete with time,
name and level. They are copied to the supervisor's log. Lines on standard output and standard
error, from programs that a view starts or from libraries in C, get time and name here.
"""

import re
from functools import partial
from typing import Protocol

from twisted.logger import Logger, LogLevel

from cluster.logs.standard_streams import LineSplitter

LOG_DESCRIPTOR = 3

DESCRIPTORS: dict[int, "str | int"] = {0: "w", 1: "r", 2: "r", LOG_DESCRIPTOR: "r"}
"""The pipes of a child, for ``spawnProcess``."""

STREAMS = {1: "stdout", 2: "stderr"}

_LEVELS = {level.name: level for level in LogLevel.iterconstants()}

_LINE = re.compile(r"\S+ \[(\S+#(\w+))\] (.*)", re.DOTALL)


class SupervisorLog(Protocol):
    """The log of the supervisor (ProcessLog)."""

    @property
    def dropped(self) -> int:
        """How many lines were dropped."""

    def write_lines(self, lines: bytes) -> None:
        """Write complete lines."""

    def printed(self, text: str, stream: str, process: str = "") -> None:
        """Write a line that a process has printed to a stream, "stdout" or "stderr"."""


class EventLog:
    """The same as events of Twisted's log, for an observer that the operator has chosen.

    Args:
        log: Emits the events.
    """

    dropped = 0

    def __init__(self, log: Logger) -> None:
        self._log = log

    def write_lines(self, lines: bytes) -> None:
        for line in lines.decode("utf-8", "backslashreplace").splitlines():
            match = _LINE.fullmatch(line)
            level = _LEVELS.get(match[2]) if match is not None else None
            if match is None or level is None:  # JSON, or a name that the site has chosen
                self._log.info("{line}", line=line)
            else:
                self._log.emit(level, "{line}", line=match[3], log_system=match[1])

    def printed(self, text: str, stream: str, process: str = "") -> None:
        self._log.info("{line}", line=text, log_system=f"{process}#info")


class ChildOutput:
    """The output of one process.

    Args:
        name: The name of the child.
        log: Where it goes.
    """

    def __init__(self, name: str, log: SupervisorLog) -> None:
        self._log = log
        self._rest = b""  # an incomplete line of the log
        self._printed = {
            descriptor: LineSplitter(partial(log.printed, stream=stream, process=name))
            for descriptor, stream in STREAMS.items()
        }

    def received(self, descriptor: int, data: bytes) -> None:
        """Log what the process has written to a descriptor."""
        if descriptor != LOG_DESCRIPTOR:
            self._printed[descriptor].add(data)
            return
        lines, end, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest
        if end:
            self._log.write_lines(lines + end)

    def finish(self) -> None:
        """Log the last lines, if they have no line end."""
        for printed in self._printed.values():
            printed.finish()
        rest, self._rest = self._rest, b""
        if rest:
            self._log.write_lines(rest + b"\n")
