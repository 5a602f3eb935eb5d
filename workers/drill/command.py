"""The options of a drill, its course, and its summary."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from workers.cli.argument_types import rate
from workers.drill.chat import Room
from workers.drill.clients import (
    Clients,
    Progress,
    add_drill_arguments,
    client_lines,
    parse_drill_arguments,
)
from workers.drill.cluster import (
    Cluster,
    add_common_arguments,
    carry_out,
    check_cluster,
    verdict,
)
from workers.drill.faults import Fault, schedule
from workers.drill.feed import Feed
from workers.drill.game import Game

CALM_SECONDS = 5.0  # after the last fault, in which the game must advance
PATIENCE_SECONDS = 15.0  # for the last messages of feed and chat

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
        game = Game(
            [cluster.ws_url],
            options.size,
            options.seed,
            options.rate,
            options.stall,
            resume=without != "resuming",
        )
        feed = Feed(
            [cluster.url],
            options.clients,
            options.messages,
            cluster.double_faults,
            with_position=without != "positions",
        )
        room = Room([cluster.ws_url], options.clients, options.messages, cluster.double_faults)
        self._clients = Clients(game, feed, room)
        self._progress = Progress()
        self._injected: list[dict[str, Any]] = []
        self._violations: list[str] = []

    async def run(self) -> None:
        """Inject the faults, then check."""
        clients, progress = self._clients, self._progress
        try:
            await clients.start()
            progress.say("the game runs; the faults begin")
            progress.begin()
            reporting = asyncio.create_task(progress.repeat(clients.progress))
            course = asyncio.create_task(self._course())
            over = [asyncio.create_task(event.wait()) for event in self._ends]
            await asyncio.wait([course, *over], return_when=asyncio.FIRST_COMPLETED)
            if course.done():
                course.result()  # an error must not look like the end of the drill
            for task in (reporting, course, *over):
                task.cancel()
            if self._cluster.ended.is_set():
                self._violations.append("the cluster has ended")
            progress.say("the faults are over; checking")
            await clients.stop(PATIENCE_SECONDS)
        finally:
            clients.kill()
        self._violations += clients.violations

    @property
    def _ends(self) -> list[asyncio.Event]:
        return [self._clients.game.ended, self._cluster.ended]

    async def _course(self) -> None:
        options, progress = self._options, self._progress
        seconds = options.minutes * 60
        for fault in schedule(options.seed, seconds, options.node_every, options.broker_every):
            await asyncio.sleep(max(0.0, fault.at - progress.seconds))
            self._inject(fault)
        await asyncio.sleep(max(0.0, seconds - progress.seconds) + CALM_SECONDS)

    def _inject(self, fault: Fault) -> None:
        name = fault.name
        if name == "node":
            nodes = self._cluster.running_nodes()
            name = nodes[int(fault.choice * len(nodes))] if nodes else ""
        pid = self._cluster.kill(name)
        if pid is None:
            self._progress.say(f"{fault.name} is down already; nothing is killed")
            return
        self._injected.append({"at": round(fault.at, 2), "killed": name, "pid": pid})
        step = self._clients.game.watcher.step
        self._progress.say(f"killed {name} (process {pid}) at step {step:,}")

    def summary(self) -> dict[str, Any]:
        """Return the result, as for --json."""
        return {
            "verified": not self._violations,
            "violations": self._violations,
            "seed": self._options.seed,
            "seconds": round(self._progress.seconds, 1),
            "injected": self._injected,
            "outages": {
                name: {"count": len(times), "longest": round(max(times, default=0.0), 2)}
                for name, times in self._cluster.outages.items()
            },
            **self._clients.summary(self._options.size),
        }


def lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary as text."""
    killed = [fault["killed"].rstrip("0123456789") for fault in summary["injected"]]
    outages = summary["outages"]
    found = [
        f"injected: {killed.count('node')} nodes and {killed.count('broker')} brokers killed in "
        f"{summary['seconds']:.0f} s, seed {summary['seed']}; ready again after at most "
        f"{outages['node']['longest']:.1f} s and {outages['broker']['longest']:.1f} s",
    ]
    return [*found, *client_lines(summary), *verdict(summary)]


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="drill", description=DESCRIPTION, epilog=EPILOG)
    add = parser.add_argument
    add_drill_arguments(parser, size=32, steps=5.0, stall=5.0, clients=12)
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
    return parse_drill_arguments(parser, arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a drill with these arguments; returns the exit status."""
    options = parse_arguments(arguments)
    print(f"Drill with seed {options.seed}: starting a cluster ...", file=sys.stderr, flush=True)
    return carry_out("drill", options, check_cluster(options, Drill), lines)
