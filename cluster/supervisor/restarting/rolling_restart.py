"""The rolling restart: replaces the processes of a cluster one after the other.

For each node:

1. a second process of its slot starts: it has the same listening sockets, new code and new
   settings;
2. when it serves, it takes the node's place, and the previous process stops accepting;
3. the previous process finishes its work (cluster.node.drain) and ends; then the next node follows.

The broker is last, and keeps running if the code that it runs did not change. The rules:

* a replacement that cannot start ends the restart: the previous process continues to serve, and so
  do the nodes that were not replaced yet;
* a node that is not running starts at once, even if it waits for its next attempt;
* a node that ends while its replacement starts is replaced by it;
* a request during a restart is performed after it, once for all requests that arrived meanwhile:
  the code may have changed again since the first nodes were replaced.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.registration.roster import count_nodes
from cluster.supervisor.restarting.awaited_start import AwaitedStart


class Processes(Protocol):
    """The methods of cluster.supervisor.child_processes that the restart calls."""

    def pid(self, name: str) -> int | None: ...
    def candidate_pid(self, name: str) -> int | None: ...
    def start_now(self, name: str) -> None: ...
    def start_candidate(self, name: str) -> None: ...
    def kill_candidate(self, name: str) -> None: ...
    def promote(self, name: str) -> "Deferred[None]": ...
    def replace_in_place(self, name: str) -> "Deferred[None]": ...


class RollingRestart:
    """Call ``request`` for a restart, and the methods of ``starts`` for each event of a child.

    Args:
        nodes: Returns the names of the nodes, in the order of their replacement.
        broker: The name of the broker; empty if the cluster has none of its own.
        is_broker_current: Returns whether the broker runs the code that is installed now. Raises
            OperationFailed if that code cannot be loaded.
        processes: The processes of all children.
        clock: The clock of the reactor.
    """

    log = Logger()

    def __init__(
        self,
        nodes: Callable[[], Sequence[str]],
        broker: str,
        is_broker_current: Callable[[], Awaitable[bool]],
        processes: Processes,
        clock: IReactorTime,
    ) -> None:
        self._nodes = nodes
        self._broker = broker
        self._is_broker_current = is_broker_current
        self._processes = processes
        self._clock = clock
        self._running: Deferred[str] | None = None
        self._requests: list[Deferred[str]] = []
        self._next: list[Deferred[str]] = []
        self.starts = AwaitedStart(processes, clock)
        self._stopped = False

    @property
    def is_running(self) -> bool:
        """Whether a restart is in progress."""
        return self._running is not None

    def request(self) -> "Deferred[str]":
        """Restart all processes.

        Returns:
            A Deferred with a sentence for the operator. It fails with OperationFailed if a process
            cannot be replaced.
        """
        if self._stopped:
            return fail(OperationFailed("the cluster is stopping"))
        done: Deferred[str] = Deferred()
        if self._running is not None:
            self.log.info("a restart is running: another one follows it")
            self._next.append(done)
        else:
            self._requests = [done]
            self._begin()
        return done

    def stop(self) -> None:
        """The cluster stops: end the restart, and refuse further ones."""
        self._stopped = True
        if self._running is not None:
            self._running.cancel()

    def _begin(self) -> None:
        self._running = running = ensureDeferred(self._run())
        running.addBoth(self._finished)

    def _finished(self, result: str | Failure) -> None:
        self._running = None
        requests, self._requests = self._requests, []
        if isinstance(result, Failure):
            if result.check(CancelledError):
                result = Failure(OperationFailed("the cluster is stopping"))
            elif result.check(OperationFailed):
                reason = result.getErrorMessage()
                self.log.error("the restart has ended early: {reason}", reason=reason)
            else:
                self.log.failure("the restart has failed", result)
                result = Failure(OperationFailed(f"internal error: {result.getErrorMessage()}"))
        else:
            self.log.info("{summary}", summary=result)
        for request in requests:
            request.callback(result)  # a Failure calls its errbacks
        if self._next:
            self._requests, self._next = self._next, []
            if self._stopped:
                self._finished(Failure(CancelledError()))
            else:
                self._begin()

    # The sequence.

    async def _run(self) -> str:
        nodes = list(self._nodes())
        count = count_nodes(len(nodes))
        self.log.info("restarting {count}, one after the other", count=count)
        begun = self._clock.seconds()
        broker_is_current = not self._broker or await self._is_broker_current()
        for name in nodes:
            await self._replace(name)
        if not broker_is_current:
            await self._replace_broker()
        seconds = self._clock.seconds() - begun
        kept = "; the broker's code has not changed" if self._broker and broker_is_current else ""
        return f"restarted {count} in {seconds:.1f} s{kept}"

    async def _replace(self, name: str) -> None:
        processes = self._processes
        if processes.pid(name) is None:
            processes.start_now(name)
            await self.starts.ready(name, processes.pid(name))
            return
        try:
            processes.start_candidate(name)
        except OSError as error:
            raise OperationFailed(f"cannot start a process for {name}: {error}") from error
        pid = processes.candidate_pid(name)
        await self.starts.ready(name, pid, processes.kill_candidate)
        if processes.candidate_pid(name) is not None:
            await processes.promote(name)

    async def _replace_broker(self) -> None:
        self.log.info("replacing the broker, whose code has changed")
        if self._processes.pid(self._broker) is None:
            self._processes.start_now(self._broker)
        else:
            await self._processes.replace_in_place(self._broker)
            self._processes.start_now(self._broker)
        await self.starts.ready(self._broker, self._processes.pid(self._broker))
