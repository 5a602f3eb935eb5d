"""ClusterStatus: takes a sample of the cluster every second, and answers with the document."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.supervisor.heartbeat import Statistics
from cluster.supervisor.status.document import ClusterInfo, ProcessState, status_document
from cluster.supervisor.status.events import EventLog
from cluster.supervisor.status.history import ClusterHistory
from cluster.supervisor.status.process_usage import Usage, usage_of
from cluster.supervisor.status.uplink import UplinkEvents

SAMPLE_S = 1.0


class StatusSource(Protocol):
    """The methods of the supervisor that the status needs."""

    def survey(self) -> "Deferred[Statistics]":
        """The statistics of every child now."""

    def busiest_topics(self) -> "Deferred[list[dict[str, Any]]]":
        """The topics with the most subscribers: ``topic``, ``subscribers``, ``history``."""

    def process_states(self) -> Sequence[ProcessState]:
        """The state of every child, without ``usage`` and ``cpu``."""

    def state(self, statistics: Statistics) -> tuple[str, Sequence[str]]:
        """The state of the cluster, and the reasons why it is not ready."""

    def info(self) -> ClusterInfo:
        """What the cluster is."""


class ClusterStatus:
    """Samples from ``start`` to ``stop``.

    Args:
        source: The supervisor.
        clock: The reactor, whose clock is monotonic.
        now: Returns Unix time in seconds.
        measure: Returns what a process uses.
    """

    _log = Logger()

    def __init__(
        self,
        source: StatusSource,
        clock: IReactorTime,
        now: Callable[[], float] = time.time,
        measure: Callable[[int], Usage | None] = usage_of,
    ) -> None:
        self.events = EventLog()
        self.history = ClusterHistory()
        self._uplink_events = UplinkEvents(self.record)
        self._source = source
        self._clock = clock
        self._now = now
        self._measure = measure
        self._began = clock.seconds()
        self._usage: dict[str, tuple[int, float, Usage]] = {}  # name -> pid, time, usage
        self._cpu: dict[str, float] = {}
        self._samples = LoopingCall(self._sample)
        self._samples.clock = clock

    def start(self) -> None:
        """Start sampling."""
        self._began = self._clock.seconds()
        self._samples.start(SAMPLE_S, now=False).addErrback(self._broken)

    def stop(self) -> None:
        """Stop sampling. Does nothing if it was not started."""
        if self._samples.running:
            self._samples.stop()

    def record(self, kind: str, text: str, *, process: str = "", level: str = "info") -> None:
        """Add an event; see EventLog."""
        self.events.record(self._now(), kind, text, process=process, level=level)

    def document(self) -> "Deferred[dict[str, Any]]":
        """The content of /status.json."""

        def with_topics(topics: list[dict[str, Any]]) -> "Deferred[dict[str, Any]]":
            return self._source.survey().addCallback(self._document, topics)

        return self._source.busiest_topics().addCallback(with_topics)

    def _document(
        self, statistics: Statistics, topics: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        state, reasons = self._source.state(statistics)
        monotonic = self._clock.seconds()
        return status_document(
            self._source.info(),
            state,
            reasons,
            monotonic - self._began,
            [self._with_usage(each) for each in self._source.process_states()],
            statistics,
            topics,
            self.history,
            self.events,
            monotonic,
            self._now(),
        )

    def _with_usage(self, state: ProcessState) -> ProcessState:
        pid, _, usage = self._usage.get(state.name, (None, 0.0, None))
        if state.pid is None or pid != state.pid:
            return state
        return state._replace(usage=usage, cpu=self._cpu.get(state.name))

    def _sample(self) -> "Deferred[None]":
        # The next sample waits for this one.
        return self._source.survey().addCallback(self._add)

    def _add(self, statistics: Statistics) -> None:
        now = self._clock.seconds()
        self.history.add(now, statistics)
        self._uplink_events.add(statistics)
        for state in self._source.process_states():
            usage = None if state.pid is None else self._measure(state.pid)
            before = self._usage.pop(state.name, None)
            self._cpu.pop(state.name, None)
            if usage is None or state.pid is None:
                continue
            self._usage[state.name] = (state.pid, now, usage)
            if before is not None and before[0] == state.pid and now > before[1]:
                self._cpu[state.name] = (usage.cpu_s - before[2].cpu_s) / (now - before[1])

    def _broken(self, failure: Failure) -> None:
        self._log.failure("the status page has no more samples", failure)
