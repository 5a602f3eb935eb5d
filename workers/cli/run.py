"""One run of a subcommand of `swarm`: limits, the reactor, Ctrl-C, exit status.

A subcommand has `add_arguments(parser)` and `run(options)`, which returns the exit status. Its
`run` makes a Run with its course, a coroutine function that takes the Run and returns an Outcome,
and returns the Run's `status()`.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from workers.cli import limits
from workers.cli.options import DEFAULT_URL
from workers.connection.listening_sockets import accept_queue
from workers.connection.ramp_up import UNDER_WAY
from workers.connection.single_connection import NotOpened, open_once
from workers.connection.target import BadURL, Target, resolve
from workers.processes.plan import Plan
from workers.processes.process_count import default_processes
from workers.processes.process_setup import raise_open_file_limit, the_reactor
from workers.processes.shard import Shard
from workers.processes.swarm import Swarm
from workers.reporting.status_line import StatusLine
from workers.reporting.summary import (
    Outcome,
    complain,
    failure_lines,
    print_json,
    print_lines,
    refuse,
)

INTERRUPTED = 130  # 128 + SIGINT: the exit status by which shells report Ctrl-C

Course = Callable[["Run"], Awaitable[Outcome]]


class CannotRun(Exception):
    """The run cannot begin. Each argument of the exception is a line for the user."""


class Run:
    """One run of the reactor: only one for each process, in its main thread. Call `status` once.

    options: the values of the subcommand's arguments.
    clients: the number of connections that the course opens.
    paths: the paths to which clients will connect; each is tried with one connection before.
    rate_of: the count whose growth per second the status line shows, and the name of that rate.
    at_once: concurrent handshakes in each process.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        clients: int,
        course: Course,
        paths: Sequence[str] = (),
        rate_of: tuple[str, str] = ("opened", "connects/s"),
        at_once: int = UNDER_WAY,
        reactor: Any = None,
    ) -> None:
        self.reactor = reactor or the_reactor()
        self.options = options
        self.clients = clients
        self.targets: tuple[Target, ...] = ()
        self.status_line = StatusLine(
            sys.stderr, self.reactor.seconds, silent=options["json"], rate_of=rate_of
        )
        self._course = course
        self._paths = paths
        self._at_once = at_once
        self._open_files = raise_open_file_limit()
        cores = len(os.sched_getaffinity(0))
        processes = options["processes"] or default_processes(clients, cores, self._open_files)
        self.processes = min(clients, processes)
        self._warnings: list[str] = []
        self._swarm: Swarm | None = None
        self._exit_status = 1

    # For courses

    def common(self, path: str) -> dict[str, Any]:
        """The fields of a Plan that the options determine. path: of the WebSocket."""
        return {
            "clients": self.clients,
            "targets": self.targets,
            "path": path,
            "timeout": self.options["timeout"],
            "shards": self.processes,
        }

    def swarm(
        self,
        shard_type: type[Shard],
        plan: Plan,
        on_tally: Callable[[Any], None] = lambda tally: None,
    ) -> Swarm:
        """Create a swarm whose counts are shown, and which Ctrl-C ends."""

        def tallied(tally: Any) -> None:
            self.status_line.show(tally)
            on_tally(tally)

        return self.interruptible(Swarm(self.reactor, shard_type, plan, tallied))

    def interruptible(self, swarm: Swarm) -> Swarm:
        """Make Ctrl-C end this swarm."""
        self._swarm = swarm
        return swarm

    def stop_without_clients(self, tally: Mapping[str, int]) -> None:
        """An `on_tally` that stops a course when all clients are lost."""
        if self._swarm is not None and tally["failed"] >= self.clients and not tally["open"]:
            self._swarm.stop("no client is connected any more")

    # The run itself

    def status(self) -> int:
        """Run the reactor; returns the exit status."""
        self.reactor.callWhenRunning(self._begin)
        self.reactor.run()
        return self._exit_status

    def _begin(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        Deferred.fromCoroutine(self._all()).addErrback(self._crashed).addBoth(self._end)

    def _signalled(self, number: int, frame: Any) -> None:
        self.reactor.callFromThread(self._interrupted)

    def _interrupted(self) -> None:
        is_first = self._exit_status != INTERRUPTED
        self._exit_status = INTERRUPTED
        if is_first and self._swarm is not None:
            self._swarm.stop(None)
            return
        if self.options["json"]:
            print_json({}, self._warnings, (), interrupted=True)
        self._end(None)

    def _crashed(self, failure: Any) -> None:
        sys.stderr.write(failure.getTraceback())

    def _end(self, result: Any) -> None:
        if self.reactor.running:
            self.reactor.stop()

    async def _all(self) -> None:
        try:
            urls = self.options["url"] or [DEFAULT_URL]
            self.targets = tuple([await resolve(self.reactor, url) for url in urls])
            self._check_limits()
            timeout = self.options["timeout"]
            for target in self.targets:
                for path in self._paths:
                    await open_once(self.reactor, target, path, timeout, lambda c: c.close(1000))
            self._report(await self._course(self))
        except (BadURL, NotOpened, CannotRun) as error:
            # After Ctrl-C the reactor stops, and the first connection is lost only because of that.
            if self._exit_status != INTERRUPTED:
                self._exit_status = refuse(self.options, *error.args, warnings=self._warnings)
        finally:
            self.status_line.end()

    def _check_limits(self) -> None:
        findings = limits.check(
            self.clients,
            self.processes,
            self.targets,
            self._at_once,
            open_files=self._open_files,
            queue=accept_queue(self.targets),
        )
        self._warnings = [finding.text for finding in findings if not finding.fatal]
        if not self.options["json"]:
            for warning in self._warnings:
                complain(warning)
        fatal = [finding.text for finding in findings if finding.fatal]
        if fatal:
            raise CannotRun(*fatal)

    def _report(self, outcome: Outcome) -> None:
        self.status_line.end()
        stopped = self._swarm.stopped if self._swarm is not None else None
        interrupted = stopped is not None and stopped.why is None
        problems = outcome.problems
        if stopped is not None and self._swarm is not None:
            failures = failure_lines(self._swarm.reports)
            problems = [] if stopped.why is None else [stopped.why, *failures]
        values = {**outcome.values, "processes": self.processes}
        if self.options["json"]:
            print_json(values, self._warnings, problems, interrupted)
        else:
            print_lines(outcome.lines, interrupted)
        for problem in problems:
            complain(problem)
        if interrupted:
            self._exit_status = INTERRUPTED
        else:
            self._exit_status = 1 if problems else 0
