"""`swarm echo` and `manage.py testecho`: ten thousand clients hold a conversation at the same time.

Clients connect evenly over twice the delay and speak three times, each time after the delay. So the
first ends after three delays, and between two and three delays all are open: that is the peak.
"""

import argparse
import math
from collections import Counter
from collections.abc import Mapping
from time import monotonic
from typing import Any

from workers.cli.argument_types import positive, rate
from workers.cli.run import Run, add_common_arguments, play
from workers.load.echo_clients import EchoPlan
from workers.processes.swarm import Report, added, counted
from workers.reporting.summary import Outcome, cpu_of, failures_of, milliseconds, times_line

PATH = "/test/ws/"
BUSY = 0.8  # of a core: a swarm that uses more is what limits the speed

DESCRIPTION = """\
Connect many clients, each of which holds a short conversation with the server and checks every
word of it. Clients connect over twice the delay and stay for three delays, so that after two
delays all are connected at the same time; it all takes five delays.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--clients", type=positive, default=10_000, metavar="N", help="how many (10000)")
    add(
        "--delay",
        type=rate,
        default=60.0,
        metavar="SECONDS",
        help="before each of a client's three messages (60); with 0 all connect as fast as the "
        "server shakes hands, and are not expected to be connected at the same time",
    )
    add_common_arguments(parser)


def run(options: Mapping[str, Any]) -> int:
    """The exit status."""
    return play(options, options["clients"], [PATH], _echo)


async def _echo(run: Run) -> Outcome:
    delay = run.options["delay"]
    plan = EchoPlan(
        **run.common(PATH), delay=delay, ramp=run.clients / (2 * delay) if delay else 0.0
    )
    most = 0
    connected: list[Report] = []

    def tallied(tally: Counter[str]) -> None:
        nonlocal most
        most = max(most, tally["open"])

    load = run.load("echo", plan, tallied)

    def full(reports: list[Report]) -> None:
        if load.tally["open"] == run.clients:
            run.status_line.say(f"{run.clients} clients are connected!")

    async def steps() -> None:
        load.all("full").addCallbacks(full, lambda stopped: None)
        load.all("connected").addCallbacks(connected.extend, lambda stopped: None)
        await load.all("done")

    began = monotonic()
    reports = await run.through(load, steps())
    seconds = monotonic() - began
    reached = peak_reached(reports)
    if reached:
        most = run.clients
    most = max([most, *(report["most"] for report in reports)])
    tally = counted(reports, "tally")
    connect = milliseconds(added(reports, "connect"), 50, 99, 100)
    reply = milliseconds(added(reports, "reply"), 50, 99, 100)
    took = max((report["at"] for report in connected), default=began + seconds) - began
    problems = failures_of(reports)
    if not reached and delay:
        cpu = max((report["cpu"] for report in connected), default=0.0)
        problems.append(
            f"peak missed: {most:,} of {run.clients:,} clients were connected at the same time; "
            + why_missed(tally["failed"], took, delay, cpu / took, run.processes)
        )
    lines = [
        f"{run.clients:,} clients were connected at the same time"
        if reached
        else f"{most:,} of {run.clients:,} clients were connected at the same time",
        f"{tally['done']:,} transcripts right, {tally['failed']:,} clients failed, {seconds:.1f} s",
        times_line("connect", connect),
        times_line("reply", reply),
    ]
    return Outcome(
        {
            "clients": run.clients,
            "peak": most,
            "peak_reached": reached,
            "done": tally["done"],
            "failed": tally["failed"],
            "failures": counted(reports, "failures"),
            "connect_ms": connect,
            "reply_ms": reply,
            "connect_seconds": round(took, 3),
            "seconds": round(seconds, 3),
            "cpu_seconds": cpu_of(reports),
        },
        lines,
        problems,
    )


def peak_reached(reports: list[Report]) -> bool:
    """Were all clients of all shards open before the first one came to its end?"""
    full = [report["full_at"] for report in reports]
    ends = [report["first_end"] for report in reports if report["first_end"] is not None]
    return bool(full) and None not in full and max(full) < min(ends, default=math.inf)


def why_missed(failed: int, took: float, delay: float, busy: float, processes: int) -> str:
    """For the user. took: seconds until the last was connected; busy: cores of the swarm."""
    if failed:
        return f"{failed:,} failed"
    longer = math.ceil(took / 2 * 1.2)
    slow = (
        f"connecting took {took:.1f} s, but the first clients ended after {3 * delay:g} s: use "
        f"--delay {longer}"
    )
    if busy > BUSY:
        return f"{slow}, or --processes {processes + 1}, as the swarm itself was busy"
    return f"{slow}, or a server with more --nodes"
