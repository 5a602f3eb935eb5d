"""The options of `swarm life` and of `manage.py gameoflife`, and what both do with them.

parser = argparse.ArgumentParser(); add_arguments(parser)
exit_status = run(vars(parser.parse_args()))
"""

import argparse
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from workers import life, patterns, progress
from workers.life import Grid
from workers.life_game import BadURL, LifeGame, Played, Summary, resolve
from workers.processes import ShareProcess
from workers.share import Listener, Plan, Share, keep_garbage_collection_short

DEFAULT_URL = "ws://127.0.0.1:8000"
CELLS_A_PROCESS = 4096  # see docs/topics/swarm.md
SPARED_DESCRIPTORS = 64  # for what is no connection: log, epoll, pipes
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
    add("-n", "--steps", type=_natural, metavar="N", help="steps to play; default: forever")
    add(
        "-l",
        "--limit",
        type=_rate,
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
    add("--processes", type=_positive, metavar="N", help="of the swarm; default: by size")
    add(
        "--ramp",
        type=_rate,
        default=0.0,
        metavar="RATE",
        help="connections opened a second, 0: as fast as the server shakes hands (0)",
    )
    add(
        "--timeout",
        type=_seconds,
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
    limit = descriptors() - SPARED_DESCRIPTORS
    cells = start.size**2
    processes = options["processes"] or processes_for(cells, len(os.sched_getaffinity(0)))
    processes = min(cells, max(processes, -(-cells // limit)))
    log_errors_only()
    from twisted.internet import reactor

    return _Run(reactor, options, start, processes).status()


class _Run:
    """One run of the reactor."""

    def __init__(
        self, reactor: Any, options: Mapping[str, Any], start: Grid, processes: int
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._start = start
        self._processes = processes
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


def processes_for(cells: int, cores: int) -> int:
    """As many processes as are worth their own cost, on at most half of the cores.

    On two cores, which the server needs too, a second process made 64x64 and 100x100 cost 25-30%
    more CPU and no faster.
    """
    return max(1, min(cores // 2, -(-cells // CELLS_A_PROCESS)))


def descriptors() -> int:
    """Raise this process's limit on open files as far as allowed; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def log_errors_only() -> None:
    """Twisted's and Autobahn's chatter goes nowhere, our own bugs to stderr."""
    to_stderr: Any = textFileLogObserver(sys.stderr)
    only_errors: Any = LogLevelFilterPredicate(LogLevel.critical)
    observer: Any = FilteringLogObserver(to_stderr, [only_errors])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def _error(text: str) -> int:
    print(f"swarm: {text}", file=sys.stderr, flush=True)
    return 1


def _size(text: str) -> int:
    size = int(text)
    if not life.SMALLEST <= size <= life.LARGEST:
        raise argparse.ArgumentTypeError(f"a size is {life.SMALLEST} to {life.LARGEST}")
    return size


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _rate(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of at least 0")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number
