"""What `swarm echo`, `idle`, `broadcast` and `storm` share: options, course, output, exit status.

A subcommand has `add_arguments(parser)` and `run(options)`; the latter says how many clients there
are and where they connect, and gives `play` its course: a coroutine function that takes the Run and
returns an Outcome.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from workers import limits
from workers.arguments import positive, seconds
from workers.dialer import BadURL, Dialer, Target, resolve, say_why
from workers.load.causes import hint, why_not_opened
from workers.load.clients import Plan
from workers.load.run import Load, Report, Stopped
from workers.load.status import Status
from workers.load.summary import Outcome
from workers.pipes import log_errors_only
from workers.ramp import UNDER_WAY
from workers.read_hub import FlushList, ReadHub

DEFAULT_URL = "ws://127.0.0.1:8000"
INTERRUPTED = 130  # what shells say of a program ended by Ctrl-C: 128 + SIGINT

EPILOG = """\
Exit status: 0 all well, 1 something failed, 2 bad usage, 130 Ctrl-C. Times are milliseconds; a
percentile is at most 1% too high.
"""

Course = Callable[["Run"], Awaitable[Outcome]]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    add = parser.add_argument
    add(
        "--url",
        action="append",
        metavar="URL",
        help=f"base URL of a server ({DEFAULT_URL}); with several, clients take turns",
    )
    add("--processes", type=positive, metavar="N", help="of the swarm; default: by clients")
    add(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="for a connection, for its handshake, for a reply (30)",
    )
    add("--json", action="store_true", help="print the summary as one JSON object, nothing else")


def play(
    options: Mapping[str, Any],
    clients: int,
    paths: Sequence[str],
    course: Course,
    rate_of: tuple[str, str] = ("opened", "connects/s"),
    at_once: int = UNDER_WAY,
) -> int:
    """Run the reactor, so once in a process, in its main thread; returns the exit status.

    paths: where the clients will connect, tried with one connection each before all others.
    """
    log_errors_only()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    return Run(reactor, options, clients, paths, course, rate_of, at_once).status()


class Run:
    """One run of the reactor. For courses: the attributes, `load` and `through`."""

    def __init__(
        self,
        reactor: Any,
        options: Mapping[str, Any],
        clients: int,
        paths: Sequence[str],
        course: Course,
        rate_of: tuple[str, str],
        at_once: int,
    ) -> None:
        self.reactor = reactor
        self.options = options
        self.clients = clients
        self.targets: tuple[Target, ...] = ()
        self.status_line = Status(sys.stderr, reactor.seconds, options["json"], rate_of)
        self.stopped: Stopped | None = None
        self._allowed = limits.descriptors()
        self.processes = min(clients, options["processes"] or self._default_processes())
        self._paths = paths
        self._course = course
        self._at_once = at_once
        self._warnings: list[str] = []
        self._load: Load | None = None
        self._status = 1

    def _default_processes(self) -> int:
        cores = len(os.sched_getaffinity(0))
        return max(
            limits.processes_for(self.clients, cores),
            limits.processes_needed(self.clients, self._allowed),
        )

    # For courses

    def common(self, path: str) -> dict[str, Any]:
        """The part of a plan that is the same for all."""
        return {
            "clients": self.clients,
            "targets": self.targets,
            "path": path,
            "timeout": self.options["timeout"],
            "shares": self.processes,
        }

    def load(self, kind: str, plan: Plan, on_tally: Callable[[Any], None] | None = None) -> Load:
        """A Load whose counts are shown, and which ends at Ctrl-C."""

        def tallied(tally: Any) -> None:
            self.status_line.show(tally)
            if on_tally is not None:
                on_tally(tally)

        self._load = Load(self.reactor, kind, plan, tallied)
        return self._load

    async def through(self, load: Load, steps: Awaitable[None]) -> list[Report]:
        """Start the load, go through the steps or be stopped, end it; what the shares report."""
        try:
            load.start()
            await steps
        except Stopped as stopped:
            self.stopped = stopped
        self.status_line.end()
        return await load.end()

    # The run itself

    def status(self) -> int:
        self.reactor.callWhenRunning(self._begin)
        self.reactor.run()
        return self._status

    def _begin(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        Deferred.fromCoroutine(self._play()).addErrback(self._crashed).addBoth(self._end)

    def _signalled(self, number: int, frame: Any) -> None:
        self.reactor.callFromThread(self._interrupted)

    def _interrupted(self) -> None:
        if self._load is None or self._status == INTERRUPTED:
            self._status = INTERRUPTED
            self._end(None)  # nothing to sum up yet, or somebody who will not wait for it
        else:
            self._status = INTERRUPTED
            self._load.stop(None)

    def _crashed(self, failure: Any) -> None:
        sys.stderr.write(failure.getTraceback())

    def _end(self, result: Any) -> None:
        if self.reactor.running:
            self.reactor.stop()

    async def _play(self) -> None:
        try:
            urls = self.options["url"] or [DEFAULT_URL]
            self.targets = tuple([await resolve(self.reactor, url) for url in urls])
        except BadURL as error:
            complain(str(error))
            return
        if not self._limits_suffice():
            return
        for target in self.targets:
            for path in self._paths:
                why = await probe(self.reactor, target, path, self.options["timeout"])
                if why is not None:
                    complain(f"cannot connect to {target.url}{path}: {why}{hint(why)}")
                    return
        outcome = await self._course(self)
        self._report(outcome)

    def _limits_suffice(self) -> bool:
        findings = limits.check(
            self.clients,
            self.processes,
            self.targets,
            self._at_once,
            allowed=self._allowed,
            room=limits.waiting_room(self.targets),
        )
        for finding in findings:
            if finding.fatal or not self.options["json"]:
                complain(finding.text)
            self._warnings.append(finding.text)
        return not any(finding.fatal for finding in findings)

    def _report(self, outcome: Outcome) -> None:
        interrupted = self.stopped is not None and self.stopped.why is None
        problems = outcome.problems
        if self.stopped is not None:
            problems = [] if interrupted else [str(self.stopped.why)]
        if self.options["json"]:
            summary = {
                **outcome.figures,
                "processes": self.processes,
                "warnings": self._warnings,
                "errors": problems,
                "interrupted": interrupted,
            }
            print(json.dumps(summary), flush=True)
        else:
            if interrupted:
                outcome.lines.insert(0, "interrupted; so far:")
            print("\n".join(outcome.lines), flush=True)
        for problem in problems:
            complain(problem)
        if interrupted:
            self._status = INTERRUPTED
        else:
            self._status = 1 if problems else 0


def complain(text: str) -> None:
    print(f"swarm: {text}", file=sys.stderr, flush=True)


async def probe(reactor: Any, target: Target, path: str, timeout: float) -> str | None:
    """Open and close one connection; why that did not work, or None."""
    flush_list = FlushList(reactor)
    hub = ReadHub(reactor, flush_list)
    dialer = Dialer(reactor, [target], path, timeout, flush_list, hub)
    over: Deferred[str | None] = Deferred()
    was_open = False
    hub.start()
    try:
        lane = await dialer.dial(0)

        def opened() -> None:
            nonlocal was_open
            was_open = True
            lane.close(1000)

        lane.opened = opened
        lane.closed = lambda code, reason, was_clean: over.callback(
            None if was_open else why_not_opened(reason)
        )
        return await over
    except Exception as error:
        return say_why(error)
    finally:
        hub.stop()
