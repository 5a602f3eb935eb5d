"""Watchdog: which processes no longer work, and what to do about them.

A process reports regularly from a thread of its own: that it is alive, and how long ago its event
loop completed a turn. The rules:

* a process is watched from ``watch``, which starts its times, until ``forget``;
* its loop is blocked if it has not completed a turn for ``Limits.blocked`` seconds. The process is
  asked to close its clients and to end, and is killed if its loop does not return within
  ``Limits.grace`` seconds;
* if a process that runs does not report for SILENT_S, one call holds the interpreter's lock, and no
  other thread runs. Its stacks are shown once, and its loop counts as blocked since its last turn;
* a process that the system has stopped (SIGSTOP) cannot answer. It is killed if it does not report
  for STOPPED_S;
* if the observer itself did not run, it must call ``excuse``: the reports wait for it.

Times are seconds of any monotonic clock; callers pass them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

SILENT_S = 3.0
"""Seconds without a report; on a busy machine a report is some tens of milliseconds late."""

STOPPED_S = 10.0
"""Seconds after which a stopped process is replaced: longer than a debugger or a snapshot of a
virtual machine stops a process for a moment."""


class Action(Enum):
    """What to do about a process."""

    SHOW_STACKS = "show stacks"
    ASK_TO_STOP = "ask to stop"
    KILL_BLOCKED = "kill blocked"
    KILL_STOPPED = "kill stopped"


class Limits(NamedTuple):
    """How long the loop of a process may be blocked.

    Attributes:
        blocked: Seconds until the process is asked to stop.
        grace: Seconds from then until it is killed.
    """

    blocked: float
    grace: float


@dataclass(slots=True)
class _Process:
    limits: Limits
    heard: float
    turn: float
    has_reported: bool = False
    stacks_shown: bool = False
    asked: float | None = None
    killed: bool = False

    def action(self, now: float, is_stopped: bool) -> Action | None:
        if self.killed:
            return None
        silent = now - self.heard
        if is_stopped:
            self.killed = silent >= STOPPED_S
            return Action.KILL_STOPPED if self.killed else None
        if self.asked is not None and self.turn > self.asked:
            self.asked = None  # the loop has returned, and the process ends by itself
        if self.asked is None and now - self.turn >= self.limits.blocked:
            self.asked = now
            if self.limits.grace:
                return Action.ASK_TO_STOP
        if self.asked is not None and now - self.asked >= self.limits.grace:
            self.killed = True
            return Action.KILL_BLOCKED
        if self.has_reported and not self.stacks_shown and silent >= SILENT_S:
            self.stacks_shown = True
            return Action.SHOW_STACKS
        return None


class Watchdog:
    """The last reports of each process, by name."""

    def __init__(self) -> None:
        self._processes: dict[str, _Process] = {}

    def watch(self, name: str, limits: Limits, now: float) -> None:
        """Watch a process from now on, with these limits. Replaces what was known of it."""
        known = self._processes.get(name)
        has_reported = known is not None and known.has_reported
        self._processes[name] = _Process(limits, now, now, has_reported)

    def is_watched(self, name: str) -> bool:
        """Whether ``watch`` was called for this process."""
        return name in self._processes

    def heard(self, name: str, turn_age: float, now: float) -> None:
        """Record a report of a process, which is ignored if the process is not watched.

        Args:
            name: The process.
            turn_age: Seconds since the last turn of its loop.
            now: The time of the report.
        """
        process = self._processes.get(name)
        if process is not None:
            process.heard = now
            process.turn = max(process.turn, now - turn_age)
            process.has_reported = True
            process.stacks_shown = False

    def forget(self, name: str) -> None:
        """Stop watching a process; does nothing if it is not watched."""
        self._processes.pop(name, None)

    def excuse(self, now: float) -> None:
        """Restart the times of all processes, because the observer did not run."""
        for process in self._processes.values():
            process.heard = process.turn = now

    def due(self, now: float, is_stopped: Callable[[str], bool]) -> Iterator[tuple[str, Action]]:
        """What is to be done now, as (process, action). Perform each action once.

        Args:
            now: The time.
            is_stopped: Whether the system has stopped a process. It is asked only about processes
                that are silent.
        """
        for name, process in list(self._processes.items()):
            silent = now - process.heard >= SILENT_S
            action = process.action(now, silent and is_stopped(name))
            if action is not None:
                yield name, action
