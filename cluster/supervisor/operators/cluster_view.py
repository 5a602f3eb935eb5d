"""ClusterView: the supervisor's parts, as the status page and an operator's commands see them."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from cluster.core.exceptions import OperationFailed
from cluster.logs.line_writer import LineWriter
from cluster.net.listening_sockets import connection_capacity
from cluster.supervisor.config import SupervisorConfig
from cluster.supervisor.control_connection.child_link import ChildLink
from cluster.supervisor.heartbeat import ANSWER_S, Statistics
from cluster.supervisor.operators.operations import Operations
from cluster.supervisor.operators.scaling import Scaling
from cluster.supervisor.registration.roster import Roster
from cluster.supervisor.status.document import ClusterInfo, ProcessState
from cluster.supervisor.status.sampling import ClusterStatus
from cluster.supervisor.status.uplink import degraded

TOPICS = 15
"""Topics on the status page."""


LOG_LINES = 1000
"""Lines of the log that are kept in memory."""


class Processes(Protocol):
    """What is used of cluster.supervisor.child_processes."""

    starts: Counter[str]
    timeStarted: dict[str, float]

    def pid(self, name: str) -> int | None: ...
    def candidate_pid(self, name: str) -> int | None: ...
    def is_ready(self, name: str) -> bool: ...
    def is_retired(self, name: str) -> bool: ...
    def is_drained(self, name: str) -> bool: ...


class Heartbeats(Protocol):
    """What is used of cluster.supervisor.heartbeat."""

    def link(self, name: str) -> ChildLink | None: ...
    def survey(self) -> "Deferred[Statistics]": ...


class ClusterView:
    """What operators see.

    Args:
        roster: The names of all children.
        processes: Their processes.
        heartbeats: Their control connections.
        config: The configuration of the cluster.
        clock: The reactor.
        missing: Returns why the cluster is not ready, as phrases.
        activity: Returns "stopping", "restarting" or "".
        restart: Replaces all processes; see Supervisor.

    ``descriptor_limit`` (of each node) and ``urls`` are set when the cluster starts, ``scaling``
    before.
    """

    scaling: Scaling

    def __init__(
        self,
        roster: Roster,
        processes: Processes,
        heartbeats: Heartbeats,
        config: SupervisorConfig,
        clock: IReactorTime,
        missing: Callable[[Statistics], list[str]],
        activity: Callable[[], str],
        restart: Callable[[], "Deferred[str]"],
    ) -> None:
        self.descriptor_limit = 0
        self.urls: Sequence[str] = ()
        self.status = ClusterStatus(self, clock)
        self.operations = Operations(self, clock)
        self._roster = roster
        self._processes = processes
        self._heartbeats = heartbeats
        self._config = config
        self._clock = clock
        self._missing = missing
        self._activity = activity
        self.restart = restart
        self._last_end: dict[str, str] = {}
        self._log: LineWriter | None = None

    # Events of the children.

    def became_ready(self, name: str) -> None:
        """A child serves."""
        took = self._clock.seconds() - self._processes.timeStarted.get(name, self._clock.seconds())
        pid = self._processes.pid(name)
        text = f"ready (process {pid}), {took:.1f} s after its start"
        self.status.record("ready", text, process=name)

    def ended(self, name: str, how: str, is_expected: bool) -> None:
        """The process of a child has ended; ``how`` is a phrase."""
        self.status.history.forget(name)
        level = "info" if is_expected else "warn"
        self.status.record("ended", f"ended ({how})", process=name, level=level)
        if not is_expected:
            self._last_end[name] = f"{how}, {time.strftime('%H:%M')}"

    def restarted(self, result: str | Failure) -> Any:
        """A rolling restart is over; returns the result, which is a sentence or an error."""
        if isinstance(result, Failure):
            text = f"the restart has ended early: {result.getErrorMessage()}"
            self.status.record("restart", text, level="error")
        else:
            self.status.record("restart", result)
        return result

    # For the status page (sampling.StatusSource).

    def survey(self) -> "Deferred[Statistics]":
        return self._heartbeats.survey()

    def busiest_topics(self) -> "Deferred[list[dict[str, Any]]]":
        asked = self.operations.topics(TOPICS, grouped=True, timeout=ANSWER_S)
        rows: Deferred[list[dict[str, Any]]] = asked.addCallback(lambda answer: answer["topics"])
        return rows

    def process_states(self) -> Sequence[ProcessState]:
        broker = [self._roster.broker] if self._roster.broker else []
        return [self._state_of(name) for name in (*self._roster.nodes, *broker)]

    def _state_of(self, name: str) -> ProcessState:
        processes = self._processes
        pid, uptime, state = processes.pid(name), None, "down"
        if pid is not None:
            uptime = self._clock.seconds() - processes.timeStarted[name]
            state = "ready" if processes.is_ready(name) else "starting"
            if state == "ready" and processes.candidate_pid(name) is not None:
                state = "replacing"
        if processes.is_retired(name):
            state = "drained" if processes.is_drained(name) else "draining"
        return ProcessState(
            name,
            state,
            pid,
            uptime,
            processes.starts.get(name, 0),
            self._last_end.get(name, ""),
            is_broker=name == self._roster.broker,
        )

    def state(self, statistics: Statistics) -> tuple[str, Sequence[str]]:
        missing = self._missing(statistics)
        activity = self._activity()
        if activity:
            return activity, [each for each in missing if each != activity]
        if missing:
            return "not ready", missing
        reasons = degraded(statistics)
        return ("degraded" if reasons else "ready"), reasons

    def info(self) -> ClusterInfo:
        config = self._config
        return ClusterInfo(config.node["settings"], self.urls, self.capacity(), config.version)

    def capacity(self) -> int:
        """How many connections the nodes can hold that are not drained."""
        nodes = [name for name in self._roster.nodes if not self._processes.is_retired(name)]
        return connection_capacity(len(nodes), self.descriptor_limit)

    # For the operations (operations.Source).

    def node_links(self) -> Mapping[str, ChildLink]:
        links = {name: self._heartbeats.link(name) for name in self.node_names()}
        return {
            name: link
            for name, link in links.items()
            if link is not None and self._processes.is_ready(name)
        }

    def node_names(self) -> Sequence[str]:
        return list(self._roster.nodes)

    def status_document(self) -> "Deferred[dict[str, Any]]":
        return self.status.document()

    def recent_log(self, after: int) -> tuple[list[bytes], int]:
        if self._log is None:
            raise OperationFailed("the log is written by twistd's --logger, and is not kept here")
        return self._log.recent(after)

    def keep_log(self, log: LineWriter) -> None:
        """Keep the newest lines of the cluster's log."""
        log.keep_recent(LOG_LINES)
        self._log = log
