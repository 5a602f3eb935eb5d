"""ChildProtocol: what one process of a child writes, and how it ends."""

import signal
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.error import ProcessDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.runner.procmon import LoggingProtocol

from cluster.supervisor import heartbeat_pipe
from cluster.supervisor.child_output import ChildOutput, EventLog, SupervisorLog


class Owner(Protocol):
    """The attributes of cluster.supervisor.child_processes that are used."""

    log: Logger
    output_log: SupervisorLog | None

    def reported(self, process: "ChildProtocol", turn_age: float) -> None:
        """A thread of the process reports that its loop completed a turn ``turn_age`` seconds
        ago."""

    def process_exited(self, process: "ChildProtocol", reason: Failure | None) -> None:
        """The process has ended."""


class ChildProtocol(LoggingProtocol):
    """One process of one child."""

    transport: Any

    def __init__(self, owner: Owner, name: str) -> None:
        self._owner = owner
        self.name = name
        self._log = ChildOutput(name, owner.output_log or EventLog(owner.log))

    @property
    def pid(self) -> int | None:
        """The process id; None if the process could not be started."""
        return None if self.transport is None else self.transport.pid

    def rename(self, name: str) -> None:
        """The process belongs to another child from now on."""
        self._log.finish()
        self.name = name
        self._log = ChildOutput(name, self._owner.output_log or EventLog(self._owner.log))

    def connectionMade(self) -> None:
        pass

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == heartbeat_pipe.DESCRIPTOR:
            turn_age = heartbeat_pipe.newest_report(data)
            if turn_age is not None:
                self._owner.reported(self, turn_age)
        else:
            self._log.received(childFD, data)

    def processExited(self, reason: Failure) -> None:
        self._owner.process_exited(self, reason)

    def processEnded(self, reason: Failure) -> None:
        self._log.finish()


def how_it_ended(reason: Failure | None) -> str:
    """Return how a process has ended, as a phrase."""
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
