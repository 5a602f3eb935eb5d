"""The options of `swarm life` and of `manage.py gameoflife`, and what both do with them.

parser = argparse.ArgumentParser(); add_arguments(parser)
exit_status = run(vars(parser.parse_args()))
"""

import argparse
import json
import os
import random
import signal
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from workers import life, limits, patterns, progress
from workers.arguments import natural, positive, rate, seconds
from workers.dialer import BadURL, resolve
from workers.life import Grid
from workers.life_game import LifeGame, Played, Summary
from workers.pipes import log_errors_only
from workers.processes import ShareProcess
from workers.share import Listener, Plan, Share, keep_garbage_collection_short

DEFAULT_URL = "ws://127.0.0.1:8000"
INTERRUPTED = 130  # what shells say of a program ended by Ctrl-C: 128 + SIGINT

DESCRIPTION = """\
Play Conway's Game of Life, one WebSocket connection for each cell. The server relays what
neighbours say to each other and knows nothing of the rules.
"""
EPILOG = """\
Step latency is a cell's: from sending its state of a step until it knows all its neighbours' states
of that step. Steps a second count from the first cell that runs to the last that has finished.
Exit status: 0 all well, 1 an error or a cell that differs from the oracle, 2 bad usage, 130 Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    add = parser.add_argument
    add("-s", "--size", type=_size, default=32, metavar="N", help="rows and columns, 1-1000 (32)")
    add(
        "-p",
        "--pattern",
        metavar="PATTERN",
        help=f"start with a pattern: {', '.join(patterns.BUILT_IN)}, or a file (plain, .cells, "
        "RLE); default: random, one cell in four alive",
    )
    add("-C", "--not-centred", action="store_true", help="the pattern lies in the top left corner")
    add("-W", "--no-wrap", action="store_true", help="the grid ends at its edges")
    add("-n", "--steps", type=natural, metavar="N", help="steps to play; default: forever")
    add(
        "-l",
        "--limit",
        type=rate,
        default=1.0,
        metavar="RATE",
        help="steps a second at most, 0: no limit (1)",
    )
    add("--seed", type=int, metavar="N", help="makes a random start repeatable")
    add(
        "--url",
        action="append",
        metavar="URL",
        help=f"base URL of a server ({DEFAULT_URL}); with several, cells take turns",
    )
    add("--processes", type=positive, metavar="N", help="of the swarm; default: by size")
    add(
        "--ramp",
        type=rate,
        default=0.0,
        metavar="RATE",
        help="connections opened a second, 0: as fast as the server shakes hands (0)",
    )
    add(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="for a connection and its handshake (30)",
    )
    add("--verify", action="store_true", help="compare every cell of every step with the oracle")
    add("--json", action="store_true", help="print the summary as one JSON object, nothing else")
    add(
        "--events",
        action="store_true",
        help='print a JSON line {"event": …} when the cells are connected, running and stepped',
    )


def run(options: Mapping[str, Any]) -> int:
    """Play a game as `options` say (the names of `add_arguments`); returns the exit status.

    Runs the reactor, so once in a process, in its main thread.
    """
    try:
        start = _start(options)
    except patterns.BadPattern as error:
        return _error(str(error))
    allowed = limits.descriptors()
    cells = start.size**2
    processes = options["processes"] or max(
        limits.processes_for(cells, len(os.sched_getaffinity(0))),
        limits.processes_needed(cells, allowed),
    )
    log_errors_only()
    from twisted.internet import reactor

    return _Run(reactor, options, start, min(cells, processes), allowed).status()


class _Run:
    """One run of the reactor."""

    def __init__(
        self,
        reactor: Any,
        options: Mapping[str, Any],
        start: Grid,
        processes: int,
        allowed: int,
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._start = start
        self._processes = processes
        self._allowed = allowed  # open files for each process
        self._game: LifeGame | None = None
        self._status = 1

    def status(self) -> int:
        self._reactor.callWhenRunning(self._begin)
        self._reactor.run()
        return self._status

    def _begin(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        Deferred.fromCoroutine(self._play()).addErrback(self._crashed).addBoth(
            lambda _: self._reactor.stop()
        )

    def _signalled(self, number: int, frame: Any) -> None:
        self._reactor.callFromThread(self._interrupted)

    def _interrupted(self) -> None:
        if self._game is None:
            self._status = INTERRUPTED
            self._reactor.stop()
        else:
            self._game.interrupt()

    def _crashed(self, failure: Any) -> None:
        sys.stderr.write(failure.getTraceback())

    async def _play(self) -> None:
        options = self._options
        urls = options["url"] or [DEFAULT_URL]
        try:
            targets = [await resolve(self._reactor, url) for url in urls]
        except BadURL as error:
            self._status = _error(str(error))
            return
        findings = limits.check(
            self._start.size**2,
            self._processes,
            targets,
            allowed=self._allowed,
            room=limits.waiting_room(targets),
        )
        for finding in findings:
            if finding.fatal or not options["json"]:
                _error(finding.text)
        if any(finding.fatal for finding in findings):
            return
        plan = Plan(
            start=self._start,
            targets=tuple(targets),
            wrap=not options["no_wrap"],
            last=options["steps"],
            rate=options["limit"],
            ramp=options["ramp"],
            timeout=options["timeout"],
            verify=options["verify"],
            shares=self._processes,
        )
        shown = progress.for_stream(
            sys.stderr, self._reactor.seconds, self._start.size**2, plan.last, options["json"]
        )
        self._game = LifeGame(self._reactor, plan, self._make_share(plan), shown, self._event)
        summary = await self._game.play()
        self._status = self._report(summary)

    def _make_share(self, plan: Plan) -> Any:
        def make(number: int, listener: Listener) -> Played:
            if plan.shares == 1:
                return Share(self._reactor, plan, number, listener)
            return ShareProcess(self._reactor, plan, number, listener)

        return make

    def _event(self, name: str) -> None:
        if name == "connected":
            keep_garbage_collection_short()
        if self._options["events"]:
            print(json.dumps({"event": name}), flush=True)

    def _report(self, summary: Summary) -> int:
        text = summary.as_json() if self._options["json"] else summary.as_text()
        if text:
            print(text, flush=True)
        if summary.error is not None:
            return _error(summary.error)
        return INTERRUPTED if summary.interrupted else 0


def _start(options: Mapping[str, Any]) -> Grid:
    size = options["size"]
    if options["pattern"] is not None:
        pattern = patterns.load(options["pattern"])
        return Grid.of(size, patterns.place(pattern, size, not options["not_centred"]))
    dice = random.Random(options["seed"])
    cells = [(row, col) for row in range(size) for col in range(size)]
    return Grid.of(size, [cell for cell in cells if not dice.randrange(4)])


def _error(text: str) -> int:
    print(f"swarm: {text}", file=sys.stderr, flush=True)
    return 1


def _size(text: str) -> int:
    size = int(text)
    if not life.SMALLEST <= size <= life.LARGEST:
        raise argparse.ArgumentTypeError(f"a size is {life.SMALLEST} to {life.LARGEST}")
    return size
