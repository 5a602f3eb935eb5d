"""`swarm idle`: measures what a connection costs while nothing happens on it."""

import argparse
from collections.abc import Mapping
from time import monotonic
from typing import Any

from workers.cli.argument_types import path, positive, rate
from workers.cli.options import add_common_arguments, add_ramp
from workers.cli.run import Run
from workers.processes.plan import Plan
from workers.processes.shard import Shard
from workers.reporting.server_memory import Memory, is_here, listening_processes, measure
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
Connect many clients, hold the connections, and report the time that this took and, for a server on
this machine, the memory for each connection. RSS is that of the processes that listen on the port
(or --pids), after minus before: measure a server that has just been started, because one that has
had many clients keeps their memory. The kernel's memory is counted for the whole machine, which is
both ends of each connection.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--clients", type=positive, default=10_000, metavar="N", help="clients (10000)")
    add(
        "--hold",
        type=rate,
        default=10.0,
        metavar="SECONDS",
        help="how long to hold the connections after the last client has connected (10)",
    )
    add("--path", type=path, default=PATH, help=f"path of the WebSocket ({PATH})")
    add(
        "--pids",
        type=_pids,
        metavar="PID,…",
        help="processes of the server; default: those of this machine that listen on its port",
    )
    add_ramp(parser)
    add_common_arguments(parser)


def run(options: Mapping[str, Any]) -> int:
    """Returns the exit status."""
    return Run(options, options["clients"], _idle, paths=[options["path"]]).status()


async def _idle(run: Run) -> Outcome:
    options = run.options
    pids = options["pids"]
    if pids is None:
        pids = listening_processes(t.port for t in run.targets if is_here(t.address))
    plan = Plan(**run.common(options["path"]), ramp=options["ramp"])
    swarm = run.swarm(Shard, plan, run.stop_without_clients)
    measured: list[Memory] = []
    took = 0.0  # seconds until the last client had connected

    async def steps() -> None:
        nonlocal took
        began = monotonic()
        measured.append(measure(pids))
        reports = await swarm.all("connected")
        took = max(report["at"] for report in reports) - began
        await swarm.pause(options["hold"])
        measured.append(measure(pids))

    reports = await swarm.through(steps())
    tally = merged_counts(reports, "tally")
    held = tally["opened"] - tally["failed"] if reports else 0
    values: dict[str, Any] = {
        "clients": run.clients,
        "opened": tally["opened"],
        "failed": tally["failed"],
        "failures": merged_counts(reports, "failures"),
        "connect_ms": milliseconds(merged_latencies(reports, "connect"), 50, 99, 100),
        "connect_seconds": round(took, 3),
        "connects_per_second": round(tally["opened"] / took, 1) if took else None,
        "hold_seconds": options["hold"],
        "memory": _memory(measured, held, pids) if len(measured) == 2 and held else None,
        "cpu_seconds": cpu_seconds_of(reports),
    }
    return Outcome(values, _lines(values), failure_lines(reports))


def _lines(values: Mapping[str, Any]) -> list[str]:
    speed = values["connects_per_second"]
    return [
        f"{values['opened']:,} of {plural(values['clients'], 'client')} connected, "
        f"{values['failed']:,} failed",
        *([f"{speed:,.0f} connects/s, {values['connect_seconds']:.1f} s"] if speed else []),
        times_line("connect time", values["connect_ms"]),
        *(_memory_lines(values["memory"]) if values["memory"] else []),
    ]


def _memory(measured: list[Memory], connections: int, pids: list[int]) -> dict[str, Any]:
    """Bytes for each connection; RSS is None if a process of the server could not be read."""
    before, after = measured
    known = before.resident and after.resident
    rss = round((after.resident - before.resident) / connections) if known else None
    return {
        "pids": pids,
        "rss_before": before.resident,
        "rss_after": after.resident,
        "rss_per_connection": rss,
        "kernel_slab_per_connection": round((after.slab - before.slab) / connections),
        "kernel_tcp_per_connection": round((after.tcp - before.tcp) / connections),
    }


def _memory_lines(memory: Mapping[str, Any]) -> list[str]:
    lines = []
    if memory["rss_per_connection"] is None:
        lines.append(
            "server's RSS: unknown, because its processes are not on this machine, belong to "
            "another user, or have ended"
        )
    else:
        lines.append(
            f"server's RSS: {memory['rss_per_connection'] / 1024:.1f} KiB a connection "
            f"({memory['rss_before'] >> 20:,} -> {memory['rss_after'] >> 20:,} MiB in "
            f"{plural(len(memory['pids']), 'process', 'processes')})"
        )
    lines.append(
        f"kernel, both ends: {memory['kernel_slab_per_connection'] / 1024:.1f} KiB of slab and "
        f"{memory['kernel_tcp_per_connection'] / 1024:.1f} KiB of TCP buffers a connection"
    )
    return lines


def _pids(text: str) -> list[int]:
    try:
        return [positive(pid) for pid in text.split(",")]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError("must be process numbers, separated by commas") from None
