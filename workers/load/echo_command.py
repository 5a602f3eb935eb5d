"""`swarm echo` and `manage.py testecho`: many clients hold a conversation at the same time.

Clients connect evenly over twice the delay and send three messages, each after the delay. So the
first client ends after three delays, and between two and three delays all are open: the peak.
"""

import argparse
import math
from collections import Counter
from collections.abc import Mapping
from time import monotonic
from typing import Any

from workers.cli.argument_types import positive, rate
from workers.cli.options import add_common_arguments
from workers.cli.run import Run
from workers.load.echo_clients import EchoPlan, EchoShard
from workers.processes.swarm import Report
from workers.reporting.summary import (
    Outcome,
    Reports,
    cpu_seconds_of,
    failure_lines,
    merged_counts,
    merged_latencies,
    milliseconds,
    plural,
    times_line,
)

PATH = "/test/ws/"
BUSY = 0.8  # cores used by one process: above this the swarm itself may limit the speed

DESCRIPTION = """\
Connect many clients, each of which holds a short conversation with the server and checks every
message of it. Clients connect over twice the delay and stay for three delays, so that after two
delays all are connected at the same time. A run takes five delays.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--clients", type=positive, default=10_000, metavar="N", help="clients (10000)")
    add(
        "--delay",
        type=rate,
        default=60.0,
        metavar="SECONDS",
        help="pause before each of a client's three messages (60); with 0 all clients connect as "
        "fast as the server accepts them, and need not be connected at the same time",
    )
    add_common_arguments(parser)


def run(options: Mapping[str, Any]) -> int:
    """Returns the exit status."""
    return Run(options, options["clients"], _echo, paths=[PATH]).status()


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

    swarm = run.swarm(EchoShard, plan, tallied)

    def full(reports: list[Report]) -> None:
        if swarm.tally["open"] == run.clients:
            run.status_line.say(f"{run.clients:,} clients are connected!")

    async def steps() -> None:
        swarm.all("full").addCallbacks(full, lambda stopped: None)
        swarm.all("connected").addCallbacks(connected.extend, lambda stopped: None)
        await swarm.all("done")

    began = monotonic()
    reports = await swarm.through(steps())
    seconds = monotonic() - began
    reached = peak_reached(reports)
    most = run.clients if reached else max([most, *(report["most"] for report in reports)])
    took = max((report["at"] for report in connected), default=began + seconds) - began
    tally = merged_counts(reports, "tally")
    problems = failure_lines(reports)
    if not reached and delay:
        cpu = max((report["cpu"] for report in connected), default=0.0)
        problems.append(
            f"peak missed: {most:,} of {run.clients:,} clients were connected at the same time; "
            + why_missed(tally["failed"], took, delay, cpu / took, run.processes)
        )
    values = {
        "clients": run.clients,
        "peak": most,
        "peak_reached": reached,
        "done": tally["done"],
        "failed": tally["failed"],
        "failures": merged_counts(reports, "failures"),
        "connect_ms": milliseconds(merged_latencies(reports, "connect"), 50, 99, 100),
        "reply_ms": milliseconds(merged_latencies(reports, "reply"), 50, 99, 100),
        "connect_seconds": round(took, 3),
        "seconds": round(seconds, 3),
        "cpu_seconds": cpu_seconds_of(reports),
    }
    return Outcome(values, _lines(values), problems)


def _lines(values: Mapping[str, Any]) -> list[str]:
    of = "" if values["peak_reached"] else f"{values['peak']:,} of "
    return [
        f"{of}{plural(values['clients'], 'client')} connected at the same time",
        f"{plural(values['done'], 'correct transcript')}, "
        f"{plural(values['failed'], 'failed client')}, {values['seconds']:.1f} s",
        times_line("connect time", values["connect_ms"]),
        times_line("reply time", values["reply_ms"]),
    ]


def peak_reached(reports: Reports) -> bool:
    """Whether all clients of all shards were open before the first one ended."""
    full = [report["full_at"] for report in reports]
    ends = [report["first_end"] for report in reports if report["first_end"] is not None]
    return bool(full) and None not in full and max(full) < min(ends, default=math.inf)


def why_missed(failed: int, took: float, delay: float, busy: float, processes: int) -> str:
    """Return why the peak was missed, and what to do about it, for the user.

    took: seconds until the last client was connected. busy: cores that the busiest process of the
    swarm used meanwhile.
    """
    if failed:
        return f"{failed:,} failed"
    longer = math.ceil(took / 2 * 1.2)
    slow = (
        f"connecting took {took:.1f} s, but the first clients ended after {3 * delay:g} s: use "
        f"--delay {longer}"
    )
    if busy > BUSY:
        return f"{slow}, or --processes {processes + 1}, because the swarm itself was busy"
    return f"{slow}, or a server with more --nodes"
