"""What `swarm echo`, `idle`, `broadcast` and `storm` share: options, course, output, exit status.

A subcommand's `run` says how many clients there are and where they connect, and gives `play` its
course: a coroutine function that takes the Run and returns an Outcome.
"""

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from workers.cli import reactor_run
from workers.cli.reactor_run import INTERRUPTED, ReactorRun, Refused, complain
from workers.connection.dialer import Dialer, say_why
from workers.connection.failure_reasons import hint, why_not_opened
from workers.connection.ramp import UNDER_WAY
from workers.connection.read_hub import FlushList, ReadHub
from workers.connection.target import Target
from workers.processes.client import Plan
from workers.processes.process_setup import the_reactor
from workers.processes.swarm import Report, Stopped, Swarm
from workers.reporting.status_line import Status
from workers.reporting.summary import Outcome, failures_of

EPILOG = """\
Exit status: 0 all well, 1 something failed, 2 bad usage, 130 Ctrl-C. Times are milliseconds; a
percentile is at most 1% too high.
"""

Course = Callable[["Run"], Awaitable[Outcome]]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    reactor_run.add_common_arguments(parser, "for a connection, for its handshake, for a reply")


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
    return Run(the_reactor(), options, clients, paths, course, rate_of, at_once).status()


class Run(ReactorRun):
    """For courses: the attributes, `common`, `load` and `through`."""

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
        super().__init__(reactor, options, clients, at_once)
        self.clients = clients
        self.status_line = Status(sys.stderr, reactor.seconds, options["json"], rate_of)
        self.stopped: Stopped | None = None
        self._paths = paths
        self._course = course
        self._load: Swarm | None = None
        self._failures: list[str] = []

    # For courses

    def common(self, path: str) -> dict[str, Any]:
        """The part of a plan that is the same for all."""
        return {
            "clients": self.clients,
            "targets": self.targets,
            "path": path,
            "timeout": self.options["timeout"],
            "shards": self.processes,
        }

    def load(self, kind: str, plan: Plan, on_tally: Callable[[Any], None] | None = None) -> Swarm:
        """A Swarm whose counts are shown, and which ends at Ctrl-C."""

        def tallied(tally: Any) -> None:
            self.status_line.show(tally)
            if on_tally is not None:
                on_tally(tally)

        self._load = Swarm(self.reactor, kind, plan, tallied)
        return self._load

    def stop_without_clients(self, tally: Mapping[str, int]) -> None:
        """An `on_tally` for courses that have nothing to wait for once all clients are lost."""
        if self._load is not None and tally["failed"] >= self.clients and not tally["open"]:
            self._load.stop("no client is connected any more")

    async def through(self, load: Swarm, steps: Awaitable[None]) -> list[Report]:
        """Start the load, go through the steps or be stopped, end it; what the shards report."""
        try:
            load.start()
            await steps
        except Stopped as stopped:
            self.stopped = stopped
        self.status_line.end()
        reports = await load.end()
        self._failures = failures_of(reports)
        return reports

    # The run itself

    def end_early(self) -> bool:
        if self._load is not None:
            self._load.stop(None)
        return self._load is not None

    async def play(self) -> None:
        for target in self.targets:
            for path in self._paths:
                why = await probe(self.reactor, target, path, self.options["timeout"])
                if why is not None:
                    raise Refused(f"cannot connect to {target.url}{path}: {why}{hint(why)}")
        self._report(await self._course(self))

    def _report(self, outcome: Outcome) -> None:
        interrupted = self.stopped is not None and self.stopped.why is None
        problems = outcome.problems
        if self.stopped is not None:
            problems = [] if interrupted else [str(self.stopped.why), *self._failures]
        if self.options["json"]:
            summary = {
                **outcome.figures,
                "processes": self.processes,
                "warnings": self.warnings,
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
            self.exit_status = INTERRUPTED
        else:
            self.exit_status = 1 if problems else 0


async def probe(reactor: Any, target: Target, path: str, timeout: float) -> str | None:
    """Open and close one connection; why that did not work, or None."""
    flush_list = FlushList(reactor)
    hub = ReadHub(reactor, flush_list)
    dialer = Dialer(reactor, [target], path, timeout, flush_list, hub)
    over: Deferred[str | None] = Deferred()
    was_open = False
    hub.start()
    try:
        connection = await dialer.dial(0)

        def opened() -> None:
            nonlocal was_open
            was_open = True
            connection.close(1000)

        connection.opened = opened
        connection.closed = lambda code, reason, was_clean: over.callback(
            None if was_open else why_not_opened(reason)
        )
        return await over
    except Exception as error:
        return say_why(error)
    finally:
        hub.stop()
