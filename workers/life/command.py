"""The options of `swarm life` and of `manage.py gameoflife`, and what both do with them.

parser = argparse.ArgumentParser(); add_arguments(parser)
exit_status = run(vars(parser.parse_args()))
"""

import argparse
import json
import random
import sys
from collections.abc import Mapping
from typing import Any

from workers.cli.argument_types import natural, rate, whole
from workers.cli.reactor_run import (
    INTERRUPTED,
    ReactorRun,
    Refused,
    add_common_arguments,
    add_ramp,
    complain,
    refuse,
)
from workers.life import patterns, progress, rules
from workers.life.game import LifeGame, Played, Summary
from workers.life.plan import Listener, Plan
from workers.life.rules import Grid
from workers.life.shard import LifeShard
from workers.life.shard_process import LifeShardProcess
from workers.processes.process_setup import keep_garbage_collection_short, the_reactor

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
    add_ramp(parser)
    add_common_arguments(parser, "for a connection and its handshake")
    add("--verify", action="store_true", help="compare every cell of every step with the oracle")
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
        return refuse(options, Refused(str(error)))
    return _Run(the_reactor(), options, start).status()


class _Run(ReactorRun):
    def __init__(self, reactor: Any, options: Mapping[str, Any], start: Grid) -> None:
        super().__init__(reactor, options, start.size**2)
        self._start = start
        self._game: LifeGame | None = None

    def end_early(self) -> bool:
        if self._game is not None:
            self._game.interrupt()
        return self._game is not None

    async def play(self) -> None:
        options = self.options
        plan = Plan(
            start=self._start,
            targets=self.targets,
            wrap=not options["no_wrap"],
            last=options["steps"],
            rate=options["limit"],
            ramp=options["ramp"],
            timeout=options["timeout"],
            verify=options["verify"],
            shards=self.processes,
        )
        shown = progress.for_stream(
            sys.stderr, self.reactor.seconds, self.connections, plan.last, options["json"]
        )
        self._game = LifeGame(self.reactor, plan, self._make_shard(plan), shown, self._event)
        self.exit_status = self._report(await self._game.play())

    def _make_shard(self, plan: Plan) -> Any:
        def make(number: int, listener: Listener) -> Played:
            if plan.shards == 1:
                return LifeShard(self.reactor, plan, number, listener)
            return LifeShardProcess(self.reactor, plan, number, listener)

        return make

    def _event(self, name: str) -> None:
        if name == "connected":
            keep_garbage_collection_short()
        if self.options["events"]:
            print(json.dumps({"event": name}), flush=True)

    def _report(self, summary: Summary) -> int:
        text = summary.as_json() if self.options["json"] else summary.as_text()
        if text:
            print(text, flush=True)
        if summary.error is not None:
            complain(summary.error)
            return 1
        return INTERRUPTED if summary.interrupted else 0


def _start(options: Mapping[str, Any]) -> Grid:
    size = options["size"]
    if options["pattern"] is not None:
        pattern = patterns.load(options["pattern"])
        return Grid.of(size, patterns.place(pattern, size, not options["not_centred"]))
    dice = random.Random(options["seed"])
    cells = [(row, col) for row in range(size) for col in range(size)]
    return Grid.of(size, [cell for cell in cells if not dice.randrange(4)])


def _size(text: str) -> int:
    return whole(text, rules.SMALLEST, rules.LARGEST)
