"""The children's heartbeat: the supervisor replaces children that no longer work.

A thread of each child reports every half second (``cluster.supervisor.heartbeat_pipe``), and
``cluster.core.watchdog`` decides. The supervisor

* asks a child whose event loop is blocked to close its clients and to end, logs the stacks of its
  threads, and kills it if the loop does not return;
* kills a child that the system has stopped, after a while. SIGKILL also ends a stopped process.

``cluster.supervisor.child_processes`` then starts the next process. If the supervisor itself did
not run, for example because it was stopped, all times start again.

A survey, for an operator's probe or scrape, asks all children for their statistics over the control
connections, and waits ANSWER_S seconds.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.watchdog import STOPPED_S, Action, Limits, Watchdog
from cluster.supervisor.control_connection.child_link import ChildLink

LOOK_S = 1.0
"""Seconds between two checks of the reports."""

BLOCKED_START_S = 60.0
"""Seconds for which the loop of a starting child may be blocked: it loads the Django site."""

GRACE_S = 5.0
"""Seconds that a serving child whose loop is blocked has to close its clients, before it is
killed."""

ANSWER_S = 1.0
"""Seconds that a scrape waits for a child's statistics."""

Statistics = dict[str, dict[str, Any] | None]
"""The statistics of the children by name; None for a child that did not answer."""


class Processes(Protocol):
    """The methods of cluster.supervisor.child_processes that the heartbeat calls."""

    def pid(self, name: str) -> int | None:
        """The process id of a child; None if it does not run."""

    def is_ready(self, name: str) -> bool:
        """Whether the child's current process serves."""

    def is_stopped(self, name: str) -> bool:
        """Whether the system has stopped the child's process."""

    def show_stacks(self, name: str) -> None:
        """Have the child write the stacks of its threads to its log."""

    def kill(self, name: str) -> None:
        """Kill a child, after it has written its stacks."""


class Heartbeat:
    """Checks the children every second from ``start`` to ``stop``.

    Call ``heard`` for each report, and ``joined``, ``became_ready``, ``left`` and ``ended`` for
    each event of a child.

    Args:
        names: Returns the names of the children that shall run.
        processes: Their processes.
        clock: The clock of the reactor.
        blocked_timeout: Seconds for which the loop of a serving child may be blocked.
    """

    log = Logger()

    def __init__(
        self,
        names: Callable[[], Sequence[str]],
        processes: Processes,
        clock: IReactorTime,
        blocked_timeout: float = 30.0,
    ) -> None:
        self._names = names
        self._processes = processes
        self._clock = clock
        self._starting = Limits(BLOCKED_START_S, 0.0)
        self._serving = Limits(blocked_timeout, GRACE_S)
        self._links: dict[str, ChildLink] = {}
        self._watchdog = Watchdog()
        self._last_look = 0.0
        self._looks = LoopingCall(self._look)
        self._looks.clock = clock

    def start(self) -> None:
        """Start checking."""
        self._last_look = self._clock.seconds()
        self._looks.start(LOOK_S, now=False).addErrback(self._broken)

    def stop(self) -> None:
        """Stop checking. Does nothing if it was not started."""
        if self._looks.running:
            self._looks.stop()

    def _broken(self, failure: Failure) -> None:
        self.log.failure("the supervisor no longer watches its children", failure)

    # Events of the children.

    def link(self, name: str) -> ChildLink | None:
        """The control connection of a child; None if the child has none."""
        return self._links.get(name)

    def joined(self, name: str, link: ChildLink) -> None:
        """A child has registered."""
        self._links[name] = link

    def became_ready(self, name: str) -> None:
        """A child serves: the limits of a serving child count for it from now on."""
        self._watchdog.watch(name, self._serving, self._clock.seconds())

    def heard(self, name: str, turn_age: float) -> None:
        """A child's thread reports that its loop completed a turn ``turn_age`` seconds ago."""
        self._watchdog.heard(name, turn_age, self._clock.seconds())

    def left(self, name: str, link: ChildLink) -> None:
        """A connection is lost; the child's next process may have registered already."""
        if self._links.get(name) is link:
            del self._links[name]

    def ended(self, name: str) -> None:
        """A child's process has ended."""
        self._links.pop(name, None)
        self._watchdog.forget(name)

    # Checking.

    def _look(self) -> None:
        now = self._clock.seconds()
        if now - self._last_look > 3 * LOOK_S:  # this process was stopped
            self._watchdog.excuse(now)
        self._last_look = now
        for name in self._names():
            if self._processes.pid(name) is not None and not self._watchdog.is_watched(name):
                self._watchdog.watch(name, self._starting, now)
        for name, action in self._watchdog.due(now, self._processes.is_stopped):
            self._perform(name, action)

    def _perform(self, name: str, action: Action) -> None:
        process = f"{name} (process {self._processes.pid(name)})"
        limits = self._serving if self._processes.is_ready(name) else self._starting
        match action:
            case Action.SHOW_STACKS:
                self.log.warn("{process} is blocked by one call; its stacks:", process=process)
                self._processes.show_stacks(name)
            case Action.ASK_TO_STOP:
                self.log.error(
                    "the event loop of {process} has been blocked for {blocked:.0f} s: it is asked"
                    " to close its clients, and killed in {grace:.0f} s if it does not; its"
                    " stacks:",
                    process=process,
                    blocked=limits.blocked,
                    grace=limits.grace,
                )
                self._processes.show_stacks(name)
                link = self._links.get(name)
                if link is not None:
                    link.stop()
            case Action.KILL_BLOCKED:
                self.log.error(
                    "the event loop of {process} has been blocked for {seconds:.0f} s; killing and"
                    " replacing it",
                    process=process,
                    seconds=sum(limits),
                )
                self._processes.kill(name)
            case Action.KILL_STOPPED:
                self.log.error(
                    "{process} has been stopped for {seconds:.0f} s; killing and replacing it",
                    process=process,
                    seconds=STOPPED_S,
                )
                self._processes.kill(name)

    def survey(self) -> "Deferred[Statistics]":
        """Ask for the statistics of every child; None for a child that does not run or answer in
        time."""
        names = list(self._names())
        return gatherResults(map(self._statistics, names)).addCallback(
            lambda statistics: dict(zip(names, statistics, strict=True))
        )

    def _statistics(self, name: str) -> "Deferred[dict[str, Any] | None]":
        link = self._links.get(name)
        if link is None:
            return succeed(None)
        return link.stats().addTimeout(ANSWER_S, self._clock).addErrback(lambda _: None)

    def missing(self, statistics: Statistics) -> list[str]:
        """The children that do not serve, or have no room, with the reasons, as phrases; empty if
        all serve."""
        phrases = []
        for name, its_statistics in statistics.items():
            if name not in self._links:
                phrases.append(f"{name} is not running")
            elif not self._processes.is_ready(name):
                phrases.append(f"{name} is starting")
            elif its_statistics is None:
                phrases.append(f"{name} does not answer")
            elif not its_statistics.get("ready", False):
                phrases.append(f"{name} is draining or without the bus")
            elif its_statistics.get("shortage"):
                phrases.append(f"{name} {its_statistics['shortage']}")
        return phrases
