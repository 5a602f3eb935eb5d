"""`make soak`: mixed load on a cluster, with a rolling restart in the middle; memory must not grow.

    python -m workers.drill.soak --minutes 20

Echo, broadcast, chat, a feed over WebSocket and server-sent events, views, the Game of Life, and
clients that do not read run at the same time. The memory of all processes of the cluster is
sampled. After a time to settle, the total may grow only by a margin (memory.py).
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from workers.cli.argument_types import positive, rate
from workers.drill.chat import Room
from workers.drill.clients import Clients, Progress
from workers.drill.cluster import (
    Cluster,
    add_common_arguments,
    carry_out,
    check_cluster,
    verdict,
)
from workers.drill.feed import Feed
from workers.drill.game import Game
from workers.drill.soak.load import Load
from workers.drill.soak.memory import MARGIN, MARGIN_BYTES, Growth, Sample, growth, sample

SAMPLE_EVERY = 5.0  # seconds
REPORT_EVERY = 12  # samples between two lines of progress
PATIENCE_SECONDS = 15.0  # for the last messages of feed and chat
STALL_SECONDS = 30.0  # for the game: a restart closes WebSockets over ten seconds
SETTLE = 0.25  # part of the duration after which memory must not grow: 5 of 20 minutes
LEAST_MINUTES = 1.0  # less has too few samples to compare
MIB = 1 << 20

EPILOG = f"""\
Memory may grow by {MARGIN:.0%} and {MARGIN_BYTES // MIB} MiB after a quarter of the duration. Exit
status: 0 nothing was violated, 1 something was, or the cluster failed, 2 wrong usage, 130 Ctrl-C.
"""


class Soak:
    """One soak test on one cluster. Call `run`, then `summary`."""

    def __init__(self, options: argparse.Namespace, cluster: Cluster) -> None:
        self._options = options
        self._cluster = cluster
        self._load = Load(cluster.url, options.clients)
        self._clients = Clients(
            Game([cluster.ws_url], options.size, 1, options.rate, STALL_SECONDS, resume=True),
            Feed([cluster.url], 8, 2.0, cluster.double_faults),
            Room([cluster.ws_url], 8, 2.0, cluster.double_faults),
        )
        self._progress = Progress()
        self._samples: list[Sample] = []
        self._growth: Growth | None = None
        self._violations: list[str] = []

    async def run(self) -> None:
        """Load the cluster, restart it in the middle, and check."""
        seconds = self._options.minutes * 60
        try:
            await self._clients.start()
            self._load.start()
            self._progress.begin()
            restarted = self._options.no_restart
            while self._progress.seconds < seconds and not self._cluster.ended.is_set():
                if not restarted and self._progress.seconds >= seconds / 2:
                    restarted = True
                    self._progress.say("rolling restart (SIGHUP)")
                    os.kill(self._cluster.supervisor, signal.SIGHUP)
                self._sample()
                await asyncio.sleep(SAMPLE_EVERY)
            if self._cluster.ended.is_set():
                self._violations.append("the cluster has ended")
            await self._clients.stop(PATIENCE_SECONDS)
        finally:
            self._load.cancel()
            self._clients.kill()
        self._violations += self._load.violations + self._clients.violations
        self._check_memory(seconds)

    def _sample(self) -> None:
        pids = {**self._cluster.pids, "supervisor": self._cluster.supervisor}
        self._samples.append(sample(self._progress.seconds, pids))
        if len(self._samples) % REPORT_EVERY == 1:
            newest = self._samples[-1]
            sizes = ", ".join(f"{kind} {size / MIB:.0f}" for kind, size in newest.sizes.items())
            self._progress.say(
                f"{newest.total / MIB:.0f} MiB ({sizes}); step {self._clients.game.watcher.step:,}"
            )

    def _check_memory(self, seconds: float) -> None:
        try:
            grown = self._growth = growth(self._samples, seconds * SETTLE)
        except ValueError as error:
            self._violations.append(str(error))
            return
        if grown.is_too_much:
            before, after = grown.before / MIB, grown.after / MIB
            self._violations.append(f"memory has grown from {before:.0f} to {after:.0f} MiB")

    def summary(self) -> dict[str, Any]:
        """Return the result, as for --json."""
        grown = self._growth
        return {
            "verified": not self._violations,
            "violations": self._violations,
            "seconds": round(self._options.minutes * 60, 1),
            "memory_mib": None
            if grown is None
            else {"settled": grown.before // MIB, "end": grown.after // MIB},
            "samples": [[round(one.at), one.total // MIB] for one in self._samples],
            "load": dict(self._load.counts),
            "feed": self._clients.feed.values,
            "chat": self._clients.room.values,
            "life": {
                key: self._clients.game.values.get(key)
                for key in ("steps", "compared", "resumed", "longest_stall")
            },
        }


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="soak", description=(__doc__ or "").splitlines()[0], epilog=EPILOG
    )
    add = parser.add_argument
    add("--minutes", type=rate, default=20.0, metavar="N", help="duration, 1 or more (20)")
    add(
        "--clients", type=positive, default=40, metavar="N", help="of echo and broadcast, each (40)"
    )
    add("--size", type=positive, default=16, metavar="N", help="rows and columns of the game (16)")
    add("--rate", type=rate, default=5.0, metavar="RATE", help="steps a second at most (5)")
    add("--no-restart", action="store_true", help="no rolling restart in the middle")
    add_common_arguments(parser)
    options = parser.parse_args(arguments)
    if options.minutes < LEAST_MINUTES:
        parser.error(f"--minutes: {options.minutes:g} is too short to compare memory; at least 1")
    return options


def lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary as text."""
    memory = summary["memory_mib"]
    found = []
    if memory:
        found = [f"memory: {memory['settled']} MiB when settled, {memory['end']} MiB at the end"]
    counts = ", ".join(f"{count:,} {name}" for name, count in summary["load"].items())
    return [*found, f"load: {counts}", *verdict(summary)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a soak test with these arguments; returns the exit status."""
    options = parse_arguments(arguments)
    print(f"Soak test of {options.minutes:g} minutes: starting ...", file=sys.stderr, flush=True)
    return carry_out("soak", options, check_cluster(options, Soak), lines)
