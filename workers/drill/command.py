"""The options of a drill, its course, and its summary."""

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any

from workers.cli.argument_types import positive, rate
from workers.drill.chat import Room
from workers.drill.cluster import Cluster, add_common_arguments, carry_out, verdict
from workers.drill.faults import Fault, schedule
from workers.drill.feed import Feed
from workers.drill.game import Game

CALM_SECONDS = 5.0  # after the last fault, in which the game must advance
PATIENCE_SECONDS = 15.0  # for the last messages of feed and chat
DOUBLE = "lost_in_double_faults"
REPORT_EVERY = 10.0  # seconds between two lines of progress

DESCRIPTION = """\
Start a cluster, kill its processes at random, and check what clients receive: in the Game of Life
every generation equals the oracle and the game never stalls; in a feed with history and in a chat
every message arrives once, or its loss is announced.
"""
EPILOG = """\
Exit status: 0 nothing was violated, 1 something was, or the cluster failed, 2 wrong usage,
130 Ctrl-C.
"""


class Drill:
    """One drill on one cluster. Call `run`, then `summary`."""

    def __init__(self, options: argparse.Namespace, cluster: Cluster) -> None:
        self._options = options
        self._cluster = cluster
        without = options.without
        self._game = Game(
            [cluster.ws_url],
            options.size,
            options.seed,
            options.rate,
            options.stall,
            resume=without != "resuming",
        )
        self._feed = Feed(
            [cluster.url],
            options.clients,
            options.messages,
            cluster.double_faults,
            with_position=without != "positions",
        )
        self._room = Room(
            [cluster.ws_url], options.clients, options.messages, cluster.double_faults
        )
        self._injected: list[dict[str, Any]] = []
        self._began = 0.0
        self._violations: list[str] = []

    async def run(self) -> None:
        """Inject the faults, then check."""
        options = self._options
        try:
            await asyncio.gather(self._feed.start(), self._room.start(), self._game.start())
            self._say("the game runs; the faults begin")
            self._began = monotonic()
            seconds = options.minutes * 60
            reporting = asyncio.create_task(self._report())
            course = asyncio.create_task(self._course(seconds))
            over = [asyncio.create_task(event.wait()) for event in self._ends]
            await asyncio.wait([course, *over], return_when=asyncio.FIRST_COMPLETED)
            if course.done():
                course.result()  # an error must not look like the end of the drill
            for task in (reporting, course, *over):
                task.cancel()
            if self._cluster.ended.is_set():
                self._violations.append("the cluster has ended")
            self._say("the faults are over; checking")
            await self._game.stop()
            await asyncio.gather(
                self._feed.stop(PATIENCE_SECONDS), self._room.stop(PATIENCE_SECONDS)
            )
        finally:
            self._game.kill()
            self._feed.cancel()
            self._room.cancel()
        for part in (self._game, self._feed, self._room):
            self._violations += part.violations

    @property
    def _ends(self) -> list[asyncio.Event]:
        return [self._game.ended, self._cluster.ended]

    async def _course(self, seconds: float) -> None:
        options = self._options
        for fault in schedule(options.seed, seconds, options.node_every, options.broker_every):
            await asyncio.sleep(max(0.0, self._began + fault.at - monotonic()))
            self._inject(fault)
        await asyncio.sleep(max(0.0, self._began + seconds - monotonic()) + CALM_SECONDS)

    def _inject(self, fault: Fault) -> None:
        name = fault.name
        if name == "node":
            nodes = self._cluster.running_nodes()
            name = nodes[int(fault.choice * len(nodes))] if nodes else ""
        pid = self._cluster.kill(name)
        if pid is None:
            self._say(f"{fault.name} is down already; nothing is killed")
            return
        self._injected.append({"at": round(fault.at, 2), "killed": name, "pid": pid})
        self._say(f"killed {name} (process {pid}) at step {self._game.watcher.step:,}")

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY)
            feed, room = self._feed.values, self._room.values
            self._say(
                f"step {self._game.watcher.step:,}; feed: {feed['received']:,} received; "
                f"chat: {room['received']:,} received"
            )

    def _say(self, text: str) -> None:
        at = monotonic() - self._began if self._began else 0.0
        print(f"{at:6.1f} s  {text}", file=sys.stderr, flush=True)

    def summary(self) -> dict[str, Any]:
        """Return the result, as for --json."""
        game, watcher = self._game.values, self._game.watcher
        keys = ("steps", "compared", "resumed", "losses", "asked", "longest_stall")
        return {
            "verified": not self._violations,
            "violations": self._violations,
            "seed": self._options.seed,
            "seconds": round(monotonic() - self._began, 1),
            "injected": self._injected,
            "outages": {
                name: {"count": len(times), "longest": round(max(times, default=0.0), 2)}
                for name, times in self._cluster.outages.items()
            },
            "life": {
                "size": self._options.size,
                **{key: game.get(key) for key in keys},
                "boards_compared": watcher.boards,
                "longest_without_board": round(watcher.longest, 2),
            },
            "feed": self._feed.values,
            "chat": self._room.values,
        }


def lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary as text."""
    life = summary["life"]
    killed = [fault["killed"].rstrip("0123456789") for fault in summary["injected"]]
    outages = summary["outages"]
    found = [
        f"injected: {killed.count('node')} nodes and {killed.count('broker')} brokers killed in "
        f"{summary['seconds']:.0f} s, seed {summary['seed']}; ready again after at most "
        f"{outages['node']['longest']:.1f} s and {outages['broker']['longest']:.1f} s",
        f"life: {life['compared']} generations of {life['size']}×{life['size']} equal the oracle; "
        f"{life['resumed']} connections resumed; longest time without a step "
        f"{life['longest_stall']} s; {life['boards_compared']} boards of a watcher compared, "
        f"longest time without one {life['longest_without_board']} s",
    ]
    for name in ("feed", "chat"):
        values = summary[name]
        found.append(
            f"{name}: {values['confirmed']:,} messages confirmed, {values['received']:,} received "
            f"by {values['clients']} clients, which reconnected {values['reconnected']} times; "
            f"{values['losses_announced']} losses announced"
            + (f", {values[DOUBLE]} lost in double faults" if values.get(DOUBLE) else "")
        )
    return found + verdict(summary)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="drill", description=DESCRIPTION, epilog=EPILOG)
    add = parser.add_argument
    add("--seed", type=int, metavar="N", help="repeat a drill; default: random")
    add("--minutes", type=rate, default=5.0, metavar="N", help="duration of the faults (5)")
    add("--size", type=positive, default=32, metavar="N", help="rows and columns of the game (32)")
    add("--rate", type=rate, default=5.0, metavar="RATE", help="steps a second at most (5)")
    add(
        "--stall", type=rate, default=5.0, metavar="SECONDS", help="longest time without a step (5)"
    )
    add("--clients", type=positive, default=12, metavar="N", help="of feed and chat, each (12)")
    add("--messages", type=rate, default=2.0, metavar="RATE", help="a second in each of them (2)")
    for name, default in (("node", 10.0), ("broker", 15.0)):
        add(
            f"--{name}-every",
            type=rate,
            default=default,
            metavar="SECONDS",
            help=f"kill a {name} so often; 0: never ({default:g})",
        )
    add(
        "--without",
        choices=("resuming", "positions"),
        help="show that the drill can fail: cells do not resume, or feed clients reconnect without "
        "their position",
    )
    add_common_arguments(parser)
    options = parser.parse_args(arguments)
    if options.seed is None:
        options.seed = random.randrange(1 << 16)
    if options.messages <= 0:
        parser.error("--messages must be above 0")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a drill with these arguments; returns the exit status."""
    options = parse_arguments(arguments)
    print(f"Drill with seed {options.seed}: starting a cluster ...", file=sys.stderr, flush=True)
    return carry_out("drill", options, Drill, lines)
