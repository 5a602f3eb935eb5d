"""`swarm life` and `manage.py gameoflife`: their options, and a run with them.

parser = argparse.ArgumentParser(); add_arguments(parser)
exit_status = run(vars(parser.parse_args()))
"""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from workers.cli.argument_types import natural, rate, whole
from workers.cli.options import add_common_arguments, add_ramp
from workers.cli.run import Run
from workers.life import patterns, progress, rules
from workers.life.cell_clients import LifePlan
from workers.life.game import Game, reset
from workers.life.rules import Grid
from workers.reporting.summary import Outcome, refuse

DESCRIPTION = """\
Play Conway's Game of Life with one WebSocket connection for each cell. The server relays the
messages between neighbours and does not know the rules.
"""
EPILOG = """\
The step latency of a cell is the time from sending its state of a step until it knows all its
neighbours' states of that step. Steps a second are counted from the first cell that runs until the
last one has finished. A cell that loses its connection resumes on another one. Exit status: 0
success, 1 an error, a stall, or a cell that differs from the oracle, 2 wrong usage, 130 Ctrl-C.
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
    add("-C", "--not-centred", action="store_true", help="put the pattern into the top left corner")
    add("-W", "--no-wrap", action="store_true", help="end the grid at its edges; default: a torus")
    add("-n", "--steps", type=natural, metavar="N", help="steps to play; default: until Ctrl-C")
    add(
        "-l",
        "--limit",
        type=rate,
        default=1.0,
        metavar="RATE",
        help="steps a second at most, 0: no limit (1)",
    )
    add("--seed", type=int, metavar="N", help="make a random start repeatable")
    add_ramp(parser)
    add_common_arguments(parser, "for a connection, and for its handshake")
    add(
        "--stall-timeout",
        type=rate,
        default=60.0,
        metavar="SECONDS",
        help="end with an error after so many seconds without a step, 0: never (60)",
    )
    add("--no-resume", action="store_true", help="end with an error at the first lost connection")
    add("--verify", action="store_true", help="compare every cell of every step with the oracle")
    add(
        "--events",
        action="store_true",
        help='print a JSON line {"event": …} at "connected", "running" and "stepped"',
    )


def run(options: Mapping[str, Any]) -> int:
    """Play a game with these options; returns the exit status.

    Runs the reactor, so call it once in a process, in its main thread.
    """
    try:
        start = _start(options)
    except patterns.BadPattern as error:
        return refuse(options, str(error))

    async def play(run: Run) -> Outcome:
        return await _play(run, start)

    return Run(options, start.size**2, play).status()


async def _play(run: Run, start: Grid) -> Outcome:
    options = run.options
    game_id = await reset(run.reactor, run.targets[0], start.size, options["timeout"])
    plan = LifePlan.of(
        start,
        targets=run.targets,
        timeout=options["timeout"],
        shards=run.processes,
        wrap=not options["no_wrap"],
        last=options["steps"],
        rate=options["limit"],
        ramp=options["ramp"],
        verify=options["verify"],
        resume=not options["no_resume"],
        game=game_id,
    )

    def on_event(name: str) -> None:
        if options["events"]:
            print(json.dumps({"event": name}), flush=True)

    shown = progress.for_stream(
        sys.stderr, run.reactor.seconds, run.clients, plan.last, options["json"]
    )
    game = Game(run.reactor, plan, shown, on_event, options["stall_timeout"])
    run.interruptible(game.swarm)
    return await game.play()


def _start(options: Mapping[str, Any]) -> Grid:
    size = options["size"]
    if options["pattern"] is not None:
        pattern = patterns.load(options["pattern"])
        return Grid.of(size, patterns.cells_on_grid(pattern, size, not options["not_centred"]))
    return patterns.random_start(size, options["seed"])


def _size(text: str) -> int:
    return whole(text, rules.SMALLEST, rules.LARGEST)
