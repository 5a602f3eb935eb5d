"""Scaling: drains and starts nodes, and changes their number, while the cluster runs.

The rules:

* one command at a time, and none during a restart; a restart waits for a command that runs;
* a node that drains takes no new connections, accepts those in its queues, and then does what the
  previous process of a restart does (cluster.node.drain): its clients are closed with 1012, spread
  over time, and views finish;
* its slot stays, without a process and without sockets, until the drain is undone, or a restart
  starts all nodes;
* at least one node serves: the last one cannot be drained;
* nodes are added and removed at the end, so that their names have no gaps. New ones start one after
  the other; those that are removed drain at the same time, so that no client moves twice.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import ConfigurationError, OperationFailed
from cluster.supervisor.config import MAX_NODES
from cluster.supervisor.registration.roster import Roster, check_node, count_nodes
from cluster.supervisor.restarting.rolling_restart import RollingRestart

HANDSHAKE_S = 0.5
"""Seconds for handshakes that have begun to be completed: two round trips around the world. New
connections that the kernel assigned to the node meanwhile try again after one second."""

QUEUE_S = 10.0
"""Seconds that a node which is busy has to accept the connections in its queues."""

LOOK_S = 0.05
"""Seconds between two looks at the queues."""


class Processes(Protocol):
    """The methods of cluster.supervisor.child_processes that are called."""

    def pid(self, name: str) -> int | None: ...
    def is_ready(self, name: str) -> bool: ...
    def is_retired(self, name: str) -> bool: ...
    def retire(self, name: str) -> None: ...
    def forget(self, name: str) -> None: ...
    def start_now(self, name: str) -> None: ...
    def hand_over(self, name: str) -> "Deferred[None]": ...
    def replace_in_place(self, name: str) -> "Deferred[None]": ...


class Slots(Protocol):
    """The methods of cluster.supervisor.listening_slots that are called."""

    def add(self, name: str) -> None: ...
    def remove_last(self) -> None: ...
    def retire(self, number: int) -> None: ...
    def queued(self, number: int) -> int: ...
    def shut(self, number: int) -> None: ...
    def reopen(self, number: int) -> None: ...


class Record(Protocol):
    """Adds an event; see EventLog."""

    def __call__(self, kind: str, text: str, *, process: str = "", level: str = "info") -> None: ...


class Scaling:
    """Each public command returns a Deferred with a JSON object, and fails with OperationFailed.

    Args:
        roster: The nodes.
        processes: Their processes.
        slots: Their listening sockets.
        add_child: Starts the first process of a node that is new.
        restart: The rolling restart.
        record: Adds an event.
        has_bus: Whether the nodes can reach each other. A cluster that was started with one node
            has no broker.
        clock: The clock of the reactor.
    """

    log = Logger()

    def __init__(
        self,
        roster: Roster,
        processes: Processes,
        slots: Slots,
        add_child: Callable[[str], object],
        restart: RollingRestart,
        record: Record,
        has_bus: bool,
        clock: IReactorTime,
    ) -> None:
        self._roster = roster
        self._processes = processes
        self._slots = slots
        self._add_child = add_child
        self._restart = restart
        self._record = record
        self._has_bus = has_bus
        self._clock: Any = clock
        self._running: Deferred[Any] | None = None
        self._waiting: list[Deferred[None]] = []
        self._stopped = False

    def when_idle(self) -> "Deferred[None]":
        """Fires when no command runs; at once if none does."""
        idle: Deferred[None] = Deferred()
        if self._running is None:
            idle.callback(None)
        else:
            self._waiting.append(idle)
        return idle

    def stop(self) -> None:
        """The cluster stops: end the command that runs, and refuse further ones."""
        self._stopped = True
        if self._running is not None:
            self._running.cancel()

    def drain(self, node: str) -> "Deferred[dict[str, Any]]":
        """Have a node finish its work and end.

        Returns:
            A Deferred with ``node``, ``state`` and ``seconds``, which fires when it has ended.
        """
        return self._run(self._drain(node))

    def undo_drain(self, node: str) -> "Deferred[dict[str, Any]]":
        """Start a node that was drained; the Deferred fires with the same when it serves."""
        return self._run(self._undo_drain(node))

    def scale(self, nodes: int) -> "Deferred[dict[str, Any]]":
        """Change the number of nodes.

        Returns:
            A Deferred with ``nodes``, ``before`` and ``seconds``, which fires when the new nodes
            serve, or the removed ones have ended.
        """
        return self._run(self._scale(nodes))

    # One command at a time.

    def _run(self, command: Coroutine[Any, Any, dict[str, Any]]) -> "Deferred[dict[str, Any]]":
        reason = ""
        if self._stopped:
            reason = "the cluster is stopping"
        elif self._restart.is_running:
            reason = "a restart is in progress: try again when it has ended"
        elif self._running is not None:
            reason = "another drain or scale is in progress: try again when it has ended"
        if reason:
            command.close()
            raise OperationFailed(reason)
        begun = self._clock.seconds()
        self._running = running = Deferred.fromCoroutine(command)
        running.addBoth(self._finished, begun)
        done: Deferred[dict[str, Any]] = Deferred()
        running.addBoth(done.callback)  # a separate one, which nobody can cancel
        return done

    def _finished(self, result: Any, begun: float) -> Any:
        self._running = None
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)
        if not isinstance(result, Failure):
            return {**result, "seconds": round(self._clock.seconds() - begun, 1)}
        if self._stopped:  # the result is a CancelledError, or one that gatherResults wraps
            return Failure(OperationFailed("the cluster is stopping"))
        if result.check(ConfigurationError):
            return Failure(OperationFailed(result.getErrorMessage()))
        return result

    # The commands.

    async def _drain(self, node: str) -> dict[str, Any]:
        check_node(node, self._roster.nodes)
        if self._processes.is_retired(node):
            raise OperationFailed(f"{node} is drained already")
        if not any(self._serves(name) for name in self._roster.nodes if name != node):
            raise OperationFailed(f"{node} cannot be drained: no other node serves")
        await self._end([node])
        self.log.info("{node} is drained", node=node)
        self._record("drained", "drained", process=node)
        return {"node": node, "state": "drained"}

    async def _undo_drain(self, node: str) -> dict[str, Any]:
        check_node(node, self._roster.nodes)
        if not self._processes.is_retired(node):
            raise OperationFailed(f"{node} is not drained")
        self._slots.reopen(self._roster.slot_of(node))
        self._processes.start_now(node)
        await self._restart.starts.ready(node, self._processes.pid(node))
        return {"node": node, "state": "ready"}

    async def _scale(self, number: int) -> dict[str, Any]:
        before = len(self._roster.nodes)
        if type(number) is not int or not 1 <= number <= MAX_NODES:
            raise OperationFailed(f"a cluster has 1 to {MAX_NODES} nodes, not {number}")
        if number > before and not self._has_bus:
            raise OperationFailed(
                "this cluster was started with one node, and has no broker:"
                " start it again with --nodes 2 or more"
            )
        if number < before:
            await self._remove(self._roster.nodes[number:])
        while len(self._roster.nodes) < number:
            await self._add()
        if number != before:
            text = f"scaled from {before} to {count_nodes(number)}"
            self.log.info("{text}", text=text)
            self._record("scaled", text)
        return {"nodes": number, "before": before}

    async def _add(self) -> None:
        """Add a node, and wait until it serves."""
        name = f"node{len(self._roster.nodes)}"
        self._slots.add(name)
        self._roster.nodes.append(name)
        self._add_child(name)
        try:
            await self._restart.starts.ready(name, self._processes.pid(name))
        except OperationFailed as error:
            self._processes.retire(name)
            await self._processes.replace_in_place(name)
            self._forget_last()
            raise OperationFailed(f"{error} (the cluster has {self._roster.count()})") from None

    async def _remove(self, names: Sequence[str]) -> None:
        """Drain the last nodes, and remove them."""
        first = self._roster.slot_of(names[0])
        if not any(map(self._serves, self._roster.nodes[:first])):
            kept = ", ".join(self._roster.nodes[:first])
            raise OperationFailed(f"no node that would remain serves ({kept})")
        await self._end([name for name in names if not self._processes.is_retired(name)])
        for _ in names:
            self._forget_last()

    async def _end(self, names: Sequence[str]) -> None:
        """Have nodes take no new connections, finish their work and end."""
        for name in names:
            self.log.info("draining {name}", name=name)
            self._record("draining", "draining", process=name)
            self._processes.retire(name)
            self._slots.retire(self._roster.slot_of(name))
        if any(self._processes.pid(name) is not None for name in names):
            await deferLater(self._clock, HANDSHAKE_S)
            deadline = self._clock.seconds() + QUEUE_S
            while any(map(self._has_queue, names)) and self._clock.seconds() < deadline:
                await deferLater(self._clock, LOOK_S)
        for name in names:
            self._slots.shut(self._roster.slot_of(name))
        await gatherResults([self._processes.hand_over(name) for name in names], consumeErrors=True)

    def _has_queue(self, name: str) -> bool:
        """Whether connections wait that the node can accept."""
        slot = self._roster.slot_of(name)
        return self._processes.pid(name) is not None and self._slots.queued(slot) > 0

    def _forget_last(self) -> None:
        name = self._roster.nodes[-1]
        self._slots.shut(len(self._roster.nodes) - 1)
        self._slots.remove_last()
        self._roster.nodes.pop()
        self._processes.forget(name)

    def _serves(self, name: str) -> bool:
        return self._processes.is_ready(name) and not self._processes.is_retired(name)
