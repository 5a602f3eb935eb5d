"""`swarm storm`: all clients are disconnected at once, and reconnect at once."""

import argparse
from collections.abc import Mapping
from time import monotonic
from typing import Any

from workers.cli.argument_types import path, positive, rate, seconds
from workers.cli.options import add_common_arguments
from workers.cli.run import Run
from workers.load.storm_clients import StormShard
from workers.processes.plan import Plan
from workers.processes.swarm import Stopped
from workers.reporting.summary import (
    Outcome,
    cpu_seconds_of,
    failure_lines,
    merged_counts,
    merged_latencies,
    milliseconds,
    plural,
    times_line,
)

PATH = "/echo/async/"

DESCRIPTION = """\
Connect many clients, disconnect all of them at once without a closing handshake, as when a network
fails, and let them reconnect at once. A client that cannot connect tries again after half a second
to a second. The run fails unless all clients are connected again in time.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--clients", type=positive, default=10_000, metavar="N", help="clients (10000)")
    add(
        "--jitter",
        type=rate,
        default=0.0,
        metavar="SECONDS",
        help="time over which clients spread their reconnecting; 0: all at once (0)",
    )
    add(
        "--within",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="time for all clients to reconnect, from the drop on (60)",
    )
    add("--path", type=path, default=PATH, help=f"path of the WebSocket ({PATH})")
    add_common_arguments(parser)


def run(options: Mapping[str, Any]) -> int:
    """Returns the exit status."""
    clients = options["clients"]
    return Run(options, clients, _storm, paths=[options["path"]], at_once=clients).status()


async def _storm(run: Run) -> Outcome:
    within = run.options["within"]
    swarm = run.swarm(StormShard, Plan(**run.common(run.options["path"])))
    connected = 0.0  # seconds until the last client had connected, before the storm
    took: float | None = None  # seconds from the drop until the last client had reconnected
    in_time = True

    async def steps() -> None:
        nonlocal connected, took, in_time
        began = monotonic()
        reports = await swarm.all("connected")
        connected = max(report["at"] for report in reports) - began
        missing = run.clients - sum(report["opened"] for report in reports)
        if missing:
            raise Stopped(
                f"{missing:,} of {run.clients:,} clients could not connect before the storm"
            )
        run.status_line.say(f"{plural(run.clients, 'client')} connected; the storm begins")
        swarm.do("drop", jitter=run.options["jitter"])
        dropped_at = monotonic()
        reports = await swarm.all("reconnected", within)
        if reports:
            took = max(report["at"] for report in reports) - dropped_at
        in_time = took is not None and took <= within

    reports = await swarm.through(steps())
    tally = merged_counts(reports, "tally")
    failures = failure_lines(reports)
    reconnect_times = merged_latencies(reports, "reconnect")
    problems = failures if tally["failed"] else []
    if not in_time:
        missing = max(1, run.clients - len(reconnect_times) + tally["failed"])
        problems = [
            f"{missing:,} of {run.clients:,} clients did not reconnect within {within:g} s",
            *problems,
        ]
    values = {
        "clients": run.clients,
        "all_back": took is not None and in_time,
        "back_seconds": None if took is None else round(took, 3),
        "connect_seconds": round(connected, 3),
        "retries": tally["retries"],
        "failed": tally["failed"],
        "failures": merged_counts(reports, "failures"),
        "connect_before_ms": milliseconds(merged_latencies(reports, "first"), 50, 99, 100),
        "connect_ms": milliseconds(merged_latencies(reports, "connect"), 50, 99, 100),
        "back_ms": milliseconds(reconnect_times, 50, 99, 100),
        "cpu_seconds": cpu_seconds_of(reports),
    }
    return Outcome(values, _lines(values, failures), problems)


def _lines(values: Mapping[str, Any], failures: list[str]) -> list[str]:
    took = values["back_seconds"]
    return [
        f"{plural(values['clients'], 'client')} connected in {values['connect_seconds']:.1f} s",
        "not all clients reconnected"
        if took is None
        else f"all clients reconnected {took:.1f} s after the drop",
        times_line("connect time before the drop", values["connect_before_ms"]),
        times_line("connect time after the drop", values["connect_ms"]),
        times_line("from the drop to reconnected", values["back_ms"]),
        plural(values["retries"], "retry", "retries"),
        *(f"failed attempts: {failure}" for failure in failures),
    ]
