"""`swarm idle`: what a connection costs while nothing happens on it."""

import argparse
from collections.abc import Mapping
from time import monotonic
from typing import Any

from workers.cli.argument_types import path, positive, rate
from workers.cli.reactor_run import add_ramp
from workers.cli.run import Run, add_common_arguments, play
from workers.processes.client import Plan
from workers.processes.swarm import added, counted
from workers.reporting.server_memory import Memory, is_here, listening_processes, measure
from workers.reporting.summary import Outcome, cpu_of, failures_of, milliseconds, times_line

PATH = "/echo/async/"

DESCRIPTION = """\
Connect many clients, hold them, and report what that took: time, and, of a server on this machine,
memory for each connection. RSS is that of the processes that listen on the port (or --pids), after
minus before: measure a server that has just been started, as one that has had many clients before
has their memory still. The kernel's figures are the whole machine's, so they hold both ends.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("--clients", type=positive, default=10_000, metavar="N", help="how many (10000)")
    add(
        "--hold",
        type=rate,
        default=10.0,
        metavar="SECONDS",
        help="how long after the last has connected (10)",
    )
    add("--path", type=path, default=PATH, help=f"of the WebSocket ({PATH})")
    add(
        "--pids",
        type=_pids,
        metavar="PID,…",
        help="processes of the server; default: those of this machine that listen on its port",
    )
    add_ramp(parser)
    add_common_arguments(parser)


def run(options: Mapping[str, Any]) -> int:
    """The exit status."""
    return play(options, options["clients"], [options["path"]], _idle)


async def _idle(run: Run) -> Outcome:
    options = run.options
    pids = options["pids"]
    if pids is None:
        pids = listening_processes(t.port for t in run.targets if is_here(t.address))
    plan = Plan(**run.common(options["path"]), ramp=options["ramp"])
    load = run.load("idle", plan, run.stop_without_clients)
    measured: list[Memory] = []
    took = 0.0

    async def steps() -> None:
        nonlocal took
        began = monotonic()
        measured.append(measure(pids))
        reports = await load.all("connected")
        took = max(report["at"] for report in reports) - began
        await load.pause(options["hold"])
        measured.append(measure(pids))

    reports = await run.through(load, steps())
    tally = counted(reports, "tally")
    held = tally["opened"] - tally["failed"] if reports else 0
    connect = milliseconds(added(reports, "connect"), 50, 99, 100)
    speed = round(tally["opened"] / took, 1) if took else None
    figures: dict[str, Any] = {
        "clients": run.clients,
        "opened": tally["opened"],
        "failed": tally["failed"],
        "failures": counted(reports, "failures"),
        "connect_ms": connect,
        "connect_seconds": round(took, 3),
        "connects_per_second": speed,
        "hold_seconds": options["hold"],
        "memory": None,
        "cpu_seconds": cpu_of(reports),
    }
    lines = [
        f"{tally['opened']:,} of {run.clients:,} clients connected, {tally['failed']:,} failed"
    ]
    if speed is not None:
        lines.append(f"{speed:,.0f} connects/s, {took:.1f} s")
    lines.append(times_line("connect", connect))
    if len(measured) == 2 and held:
        figures["memory"] = memory = _memory(measured[0], measured[1], held, pids)
        lines += _memory_lines(memory)
    return Outcome(figures, lines, failures_of(reports))


def _memory(before: Memory, after: Memory, connections: int, pids: list[int]) -> dict[str, Any]:
    """Bytes for each connection; of RSS only if we know whose."""
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
            "the server's processes are not on this machine, not ours, or not all alive: no RSS"
        )
    else:
        count = len(memory["pids"])
        lines.append(
            f"server's RSS: {memory['rss_per_connection'] / 1024:.1f} KiB a connection "
            f"({memory['rss_before'] >> 20:,} -> {memory['rss_after'] >> 20:,} MiB in {count} "
            f"process{'es' if count > 1 else ''})"
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
