"""The spare process: it has loaded the site, and waits until a node ends.

Most of a node's start is spent on imports. A node that is killed is replaced at once by the spare
process, which only has to connect to the broker and to listen. Then another spare process starts.

It is an ordinary process that was started for this, not a fork of one that has loaded the site: a
fork has only one of the threads, and shares connections, locks and random seeds with its original.
"""

from typing import Protocol

from twisted.internet.defer import Deferred

from cluster.supervisor.child_processes import SPARE


class Processes(Protocol):
    """The methods of cluster.supervisor.child_processes that the spare process needs."""

    def pid(self, name: str) -> int | None: ...
    def became_ready(self, name: str) -> None: ...
    def start_now(self, name: str) -> None: ...
    def use_spare(self, name: str) -> None: ...
    def replace_in_place(self, name: str) -> "Deferred[None]": ...


class Spare:
    """Call ``standby`` when the process has loaded the site, and ``ended`` when it has ended.

    Args:
        processes: The processes of the cluster.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._slot: Deferred[int] | None = None

    def standby(self) -> "Deferred[int]":
        """The process has loaded the site.

        Returns:
            A Deferred that fires with the slot that the process shall take.
        """
        self._processes.became_ready(SPARE)
        self._slot = Deferred()
        return self._slot

    def take(self, name: str, slot: int) -> bool:
        """Let the spare process take the slot of a node that has just ended.

        Returns:
            Whether there is one. If not, the node is started as usual.
        """
        waiting, self._slot = self._slot, None
        if waiting is None:
            return False
        self._processes.use_spare(name)
        waiting.callback(slot)
        return True

    def renew(self) -> None:
        """Replace the process by one that loads the code as it is now."""
        self._slot = None
        if self._processes.pid(SPARE) is None:
            self._processes.start_now(SPARE)
        else:
            self._processes.replace_in_place(SPARE)

    def ended(self) -> None:
        """The process has ended without a slot."""
        self._slot = None
