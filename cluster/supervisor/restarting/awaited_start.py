"""AwaitedStart: waits until a process that was just started serves, or cannot start."""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from cluster.core.exceptions import OperationFailed

START_TIMEOUT_S = 60.0
"""Seconds that a process has to load the site. The heartbeat gives a first start as long."""


class Processes(Protocol):
    """The methods of cluster.supervisor.child_processes that are called."""

    def pid(self, name: str) -> int | None: ...
    def candidate_pid(self, name: str) -> int | None: ...


class AwaitedStart:
    """One start at a time. Call ``ready``, and the other methods for each event of a child.

    Args:
        processes: The processes of all children.
        clock: The clock of the reactor.
    """

    def __init__(self, processes: Processes, clock: IReactorTime) -> None:
        self._processes = processes
        self._clock = clock
        self._awaited: tuple[str, int | None, Deferred[None]] | None = None

    async def ready(
        self, name: str, pid: int | None, too_slow: Callable[[str], object] = lambda name: None
    ) -> None:
        """Wait until this process of a child serves.

        Args:
            name: The child.
            pid: The process; None if it could not be started.
            too_slow: Called with the name if it does not serve after START_TIMEOUT_S.

        Raises:
            OperationFailed: It cannot start. The text has the reason.
        """
        if pid is None:
            raise OperationFailed(f"the process of {name} cannot be started")
        ready: Deferred[None] = Deferred()
        self._awaited = name, pid, ready

        def give_up() -> None:
            too_slow(name)
            self._fail(name, f"it does not serve after {START_TIMEOUT_S:.0f} s")

        timer: Any = self._clock.callLater(START_TIMEOUT_S, give_up)
        try:
            await ready
        finally:
            self._awaited = None
            if timer.active():
                timer.cancel()

    def _fail(self, name: str, reason: str) -> None:
        if self._awaited is not None and self._awaited[0] == name:
            ready, self._awaited = self._awaited[2], None
            ready.errback(OperationFailed(f"the new process of {name} cannot start: {reason}"))

    # Events of the children.

    def became_ready(self, name: str, pid: int) -> None:
        """A process of a child serves."""
        if self._awaited is not None and self._awaited[:2] == (name, pid):
            ready, self._awaited = self._awaited[2], None
            ready.callback(None)

    def start_failed(self, name: str, pid: int, reason: str) -> None:
        """A process has reported why it cannot start; it ends now."""
        if self._awaited is not None and self._awaited[:2] == (name, pid):
            self._fail(name, reason)

    def ended(self, name: str, how: str = "it ended before it was ready") -> None:
        """A process of a child has ended."""
        if self._awaited is not None and self._awaited[0] == name:
            pid = self._awaited[1]
            if pid not in (self._processes.pid(name), self._processes.candidate_pid(name)):
                self._fail(name, how)
