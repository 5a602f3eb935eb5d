"""What all subcommands of `swarm` share: options, one run of the reactor, Ctrl-C, exit status.

A subcommand has `add_arguments(parser)` and `run(options)`, which returns the exit status. Its run
is a ReactorRun that says what to `play` and how to `end_early`.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from workers.cli.argument_types import positive, rate, seconds
from workers.connection import limits
from workers.connection.ramp import UNDER_WAY
from workers.connection.target import BadURL, Target, resolve

DEFAULT_URL = "ws://127.0.0.1:8000"
INTERRUPTED = 130  # what shells say of a program ended by Ctrl-C: 128 + SIGINT


def add_ramp(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ramp",
        type=rate,
        default=0.0,
        metavar="RATE",
        help="connections opened a second, 0: as fast as the server shakes hands (0)",
    )


def add_common_arguments(parser: argparse.ArgumentParser, timeout_of: str) -> None:
    """timeout_of: what --timeout is for, in the help's words."""
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
        help=f"{timeout_of} (30)",
    )
    add("--json", action="store_true", help="print the summary as one JSON object, nothing else")


class Refused(Exception):
    """The run cannot begin. The arguments are for the user, a line each."""


def complain(text: str) -> None:
    print(f"swarm: {text}", file=sys.stderr, flush=True)


def refuse(options: Mapping[str, Any], refused: Refused, warnings: list[str] | None = None) -> int:
    """Say why there was no run, also to who reads JSON only; returns the exit status."""
    for why in refused.args:
        complain(why)
    if options["json"]:
        nothing = {"warnings": warnings or [], "errors": refused.args, "interrupted": False}
        print(json.dumps(nothing), flush=True)
    return 1


class ReactorRun:
    """One run of the reactor, so once in a process, in its main thread: `status` is all of it."""

    def __init__(
        self,
        reactor: Any,
        options: Mapping[str, Any],
        connections: int,
        at_once: int = UNDER_WAY,
    ) -> None:
        self.reactor = reactor
        self.options = options
        self.connections = connections
        self.targets: tuple[Target, ...] = ()
        self.warnings: list[str] = []
        self.exit_status = 1
        self._at_once = at_once
        self._allowed = limits.descriptors()
        self.processes = min(connections, options["processes"] or self._default_processes())

    def _default_processes(self) -> int:
        return max(
            limits.processes_for(self.connections, len(os.sched_getaffinity(0))),
            limits.processes_needed(self.connections, self._allowed),
        )

    # For each subcommand

    async def play(self) -> None:
        """The servers are known and the limits suffice: do it and set `exit_status`.

        May raise Refused.
        """
        raise NotImplementedError

    def end_early(self) -> bool:
        """The user wants an end: sum up what there is. False: there is nothing yet."""
        raise NotImplementedError

    # The run itself

    def status(self) -> int:
        self.reactor.callWhenRunning(self._begin)
        self.reactor.run()
        return self.exit_status

    def _begin(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        Deferred.fromCoroutine(self._all()).addErrback(self._crashed).addBoth(self._end)

    def _signalled(self, number: int, frame: Any) -> None:
        self.reactor.callFromThread(self._interrupted)

    def _interrupted(self) -> None:
        will_not_wait = self.exit_status == INTERRUPTED
        self.exit_status = INTERRUPTED
        if will_not_wait or not self.end_early():
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
            self._look_at_limits()
            await self.play()
        except BadURL as error:
            self.exit_status = refuse(self.options, Refused(str(error)), self.warnings)
        except Refused as refused:
            self.exit_status = refuse(self.options, refused, self.warnings)

    def _look_at_limits(self) -> None:
        findings = limits.check(
            self.connections,
            self.processes,
            self.targets,
            self._at_once,
            allowed=self._allowed,
            room=limits.waiting_room(self.targets),
        )
        self.warnings = [finding.text for finding in findings if not finding.fatal]
        if not self.options["json"]:
            for warning in self.warnings:
                complain(warning)
        fatal = [finding.text for finding in findings if finding.fatal]
        if fatal:
            raise Refused(*fatal)
