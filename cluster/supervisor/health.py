"""The children's heartbeat: each one's figures, asked for over its control connection.

Every second each child is asked; whatever it answers proves that its event loop turns. The rules:

* a child is asked once at a time, however long it takes to answer;
* one that serves may be silent for SILENCE_S, one that starts for START_SILENCE_S, from the start
  of its process; then it is killed, and whoever started it starts it again;
* a supervisor that was itself stopped has heard nobody, which is held against none of them.

A survey, for an operator's probe or scrape, asks all children at once and waits for ANSWER_S.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.liveness import Liveness
from cluster.supervisor.control_connection import ChildLink

HEARTBEAT_S = 1.0
SILENCE_S = 10.0
"""A serving child that answers nothing for so long is stopped or its loop is blocked; its clients
have waited long enough. Longer than any handler or garbage collection may reasonably block."""

START_SILENCE_S = 60.0
"""The same for a child that is not ready yet: loading a big Django site blocks its loop."""

ANSWER_S = 1.0
"""A scrape waits so long for a child's figures."""

Statistics = dict[str, dict[str, Any] | None]
"""What the children answered, by name; None for one that did not."""


class Processes(Protocol):
    """What the heartbeat needs to know of the children's processes, and do to them."""

    def pid(self, name: str) -> int | None:
        """The process number of a child that runs."""

    def is_ready(self, name: str) -> bool:
        """Whether this run of the child said that it serves."""

    def kill(self, name: str) -> None:
        """End a child that does not listen any more."""


class Heartbeat:
    """Knows each child's connection. Tell it of all that comes and goes; ``start`` and ``stop`` it
    with the processes."""

    log = Logger()

    def __init__(self, names: Sequence[str], processes: Processes, clock: Any) -> None:
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
        """Ask each second from now on."""
        self._last_beat = self._clock.seconds()
        self._beats.start(HEARTBEAT_S, now=False).addErrback(self._broken)

    def stop(self) -> None:
        """Ask no more by itself; fine if it was not started."""
        if self._beats.running:
            self._beats.stop()

    def _broken(self, failure: Failure) -> None:
        self.log.failure("the supervisor does not watch its children any more", failure)

    # What comes and goes.

    def link(self, name: str) -> ChildLink | None:
        """The connection of a child that has one."""
        return self._links.get(name)

    def joined(self, name: str, link: ChildLink) -> None:
        """A child has registered."""
        self._links[name] = link

    def became_ready(self, name: str) -> None:
        """A child serves: it has the shorter time from now on."""
        self._starting.forget(name)
        self._serving.heard(name, self._clock.seconds())

    def left(self, name: str, link: ChildLink) -> None:
        """A connection is gone, perhaps after the child's next run has registered."""
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
            # It is we who were stopped, or the whole machine.
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
        """The figures of every child; None for one that is not there or does not answer in time."""
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
        """What keeps the children from serving, one phrase each; empty if they all do."""
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
        return phrases
