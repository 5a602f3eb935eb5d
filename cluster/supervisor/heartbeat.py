"""The children's heartbeat: the supervisor asks for their statistics, and replaces silent children.

Every second it asks each child over the control connection. A response proves that the child's
event loop runs. The rules:

* a child is not asked again before it has answered;
* a serving child may be silent for SILENCE_S seconds, and a starting one for START_SILENCE_S
  seconds from the start of its process. Then the supervisor kills it, and
  ``cluster.supervisor.child_processes`` starts the next process;
* if the supervisor itself did not run, for example because the machine was suspended, these times
  start again.

A survey, for an operator's probe or scrape, asks all children at once and waits ANSWER_S seconds.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.liveness import Liveness
from cluster.supervisor.control_connection import ChildLink

HEARTBEAT_S = 1.0
SILENCE_S = 10.0
"""Seconds after which a serving child that does not answer is replaced: its process is stopped, or
its loop is blocked. No handler and no garbage collection should block for so long."""

START_SILENCE_S = 60.0
"""The same for a starting child, in seconds: it loads the Django site, which blocks its loop."""

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

    def kill(self, name: str) -> None:
        """Kill a child that does not answer."""


class Heartbeat:
    """Asks each child every second from ``start`` to ``stop``.

    Call ``joined``, ``became_ready``, ``left`` and ``ended`` for each event of a child.

    Args:
        names: The names of all children.
        processes: Their processes.
        clock: The clock of the reactor.
    """

    log = Logger()

    def __init__(self, names: Sequence[str], processes: Processes, clock: IReactorTime) -> None:
        self._names = names
        self._processes = processes
        self._clock = clock
        self._links: dict[str, ChildLink] = {}
        self._asked: set[ChildLink] = set()
        self._starting = Liveness(START_SILENCE_S)
        self._serving = Liveness(SILENCE_S)
        self._last_beat = 0.0
        self._beats = LoopingCall(self._beat)
        self._beats.clock = clock

    def start(self) -> None:
        """Start asking every second."""
        self._last_beat = self._clock.seconds()
        self._beats.start(HEARTBEAT_S, now=False).addErrback(self._broken)

    def stop(self) -> None:
        """Stop asking. Does nothing if it was not started."""
        if self._beats.running:
            self._beats.stop()

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
        """A child serves: SILENCE_S counts for it from now on."""
        self._starting.forget(name)
        self._serving.heard(name, self._clock.seconds())

    def left(self, name: str, link: ChildLink) -> None:
        """A connection is lost; the child's next process may have registered already."""
        self._asked.discard(link)
        if self._links.get(name) is link:
            del self._links[name]

    def ended(self, name: str) -> None:
        """A child's process has ended."""
        self._links.pop(name, None)
        self._starting.forget(name)
        self._serving.forget(name)

    # Asking.

    def _beat(self) -> None:
        now = self._clock.seconds()
        if now - self._last_beat > 3 * HEARTBEAT_S:
            # This process or the whole machine was stopped.
            self._starting.excuse(now)
            self._serving.excuse(now)
        self._last_beat = now
        for name in self._names:
            if self._processes.pid(name) is not None and not self._processes.is_ready(name):
                self._starting.watch(name, now)
        for name, link in list(self._links.items()):
            if link not in self._asked:
                self._asked.add(link)
                link.stats().addCallbacks(self._answered, lambda _: None, callbackArgs=(name, link))
        for liveness in (self._starting, self._serving):
            for name in liveness.silent(now):
                self.log.error(
                    "{name} (process {pid}) has not answered for {seconds:.0f} s; replacing it",
                    name=name,
                    pid=self._processes.pid(name),
                    seconds=liveness.timeout,
                )
                liveness.forget(name)
                self._processes.kill(name)

    def _answered(self, _: dict[str, Any], name: str, link: ChildLink) -> None:
        self._asked.discard(link)
        if self._links.get(name) is link:
            liveness = self._serving if self._processes.is_ready(name) else self._starting
            liveness.heard(name, self._clock.seconds())

    def survey(self) -> "Deferred[Statistics]":
        """Ask for the statistics of every child; None for a child that does not run or answer in
        time."""
        answers = [self._statistics(name) for name in self._names]
        return gatherResults(answers).addCallback(
            lambda statistics: dict(zip(self._names, statistics, strict=True))
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
