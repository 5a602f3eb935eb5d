"""`swarm storm`: everybody is cut off at once, and comes back at once."""

import argparse
from collections.abc import Mapping
from time import monotonic
from typing import Any

from workers.cli.argument_types import path, positive, rate, seconds
from workers.cli.run import Run, add_common_arguments, play
from workers.processes.client import Plan
from workers.processes.swarm import Report, Stopped, added, counted
from workers.reporting.summary import Outcome, cpu_of, failures_of, milliseconds, times_line

PATH = "/echo/async/"

DESCRIPTION = """\
Connect many clients, drop all of them at once without a closing handshake, as when a network
fails, and let them come back at once. Who cannot connect tries again after half a second to a
second. Fails unless all are connected again in time.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--clients", type=positive, default=10_000, metavar="N", help="how many (10000)")
    add(
        "--jitter",
        type=rate,
        default=0.0,
        metavar="SECONDS",
        help="over which clients spread their return, 0: all at once (0)",
    )
    add(
        "--within",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="for all to be back, from the drop (60)",
    )
    add("--path", type=path, default=PATH, help=f"of the WebSocket ({PATH})")
    add_common_arguments(parser)


def run(options: Mapping[str, Any]) -> int:
    """The exit status."""
    clients = options["clients"]
    return play(options, clients, [options["path"]], _storm, at_once=clients)


async def _storm(run: Run) -> Outcome:
    options = run.options
    within = options["within"]
    load = run.load("storm", Plan(**run.common(options["path"])))
    dropped_at = back_at = connected = 0.0
    in_time = True

    async def steps() -> None:
        nonlocal dropped_at, back_at, connected, in_time
        began = monotonic()
        reports = await load.all("connected")
        connected = max(report["at"] for report in reports) - began
        opened = sum(report["opened"] for report in reports)
        if opened < run.clients:
            raise Stopped(
                f"{run.clients - opened:,} of {run.clients:,} clients could not connect even "
                "before the storm"
            )
        run.status_line.say(f"{run.clients} clients are connected; now the storm")
        load.do("drop", jitter=options["jitter"])
        dropped_at = monotonic()
        reports = await load.all("back", within)
        if reports:
            back_at = max(report["at"] for report in reports)
        in_time = bool(back_at) and back_at - dropped_at <= within

    reports = await run.through(load, steps())
    return _outcome(run, reports, dropped_at, back_at, connected, in_time)


def _outcome(
    run: Run,
    reports: list[Report],
    dropped_at: float,
    back_at: float,
    connected: float,
    in_time: bool,
) -> Outcome:
    took = back_at - dropped_at if back_at else None
    tally = counted(reports, "tally")
    failures = failures_of(reports)
    connect = milliseconds(added(reports, "connect"), 50, 99, 100)
    first = milliseconds(added(reports, "first"), 50, 99, 100)
    back = milliseconds(added(reports, "back"), 50, 99, 100)
    lines = [
        f"{run.clients:,} clients connected in {connected:.1f} s",
        f"all back {took:.1f} s after the drop" if took is not None else "not all came back",
        times_line("connect before", first),
        times_line("connect after", connect),
        times_line("back since the drop", back),
        f"{tally['again']:,} further attempts",
        *(f"failed attempts: {failure}" for failure in failures),
    ]
    problems = []
    if not in_time:
        within = run.options["within"]
        missing = run.clients - len(added(reports, "back")) + tally["failed"]
        problems.append(
            f"{max(missing, 1):,} of {run.clients:,} clients were not back within {within:g} s"
        )
    if tally["failed"]:
        problems += failures
    return Outcome(
        {
            "clients": run.clients,
            "all_back": took is not None and in_time,
            "back_seconds": None if took is None else round(took, 3),
            "connect_seconds": round(connected, 3),
            "attempts_again": tally["again"],
            "failed": tally["failed"],
            "failures": counted(reports, "failures"),
            "connect_before_ms": first,
            "connect_ms": connect,
            "back_ms": back,
            "cpu_seconds": cpu_of(reports),
        },
        lines,
        problems,
    )
