"""Kills nodes while `swarm socketio` checks what its clients receive.

    python -m workers.drill.socketio                    400 clients for two minutes
    python -m workers.drill.socketio --clients 40 --minutes 0.5 --node-every 5

Half of the clients poll, the others have a WebSocket; all are in one room. A client that loses its
connection connects again with what it needs for the recovery of its session. Every message must
arrive once and in order, unless the server says that it has not recovered the session.
"""

import argparse
import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from workers.cli.argument_types import positive, seconds
from workers.drill.clients import Progress
from workers.drill.cluster import (
    Cluster,
    add_common_arguments,
    carry_out,
    running_cluster,
    verdict,
)
from workers.drill.faults import schedule

CALM_SECONDS = 5.0  # after the last fault
DRAIN_SECONDS = 10  # for the last messages
TIMEOUT_SECONDS = 15  # of a connection, a handshake and an acknowledgement


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.drill.socketio",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 nothing was violated, 1 something was, or the cluster failed, "
        "2 wrong usage, 130 Ctrl-C.",
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, metavar="N", help="which nodes are killed, and when (1)")
    add("--minutes", type=seconds, default=2.0, metavar="N", help="duration of the faults (2)")
    add("--clients", type=positive, default=400, metavar="N", help="clients (400)")
    add("--rate", type=seconds, default=20.0, metavar="RATE", help="messages a second (20)")
    add("--node-every", type=seconds, default=20.0, metavar="S", help="kill a node so often (20)")
    add_common_arguments(parser)
    return parser.parse_args(arguments)


def swarm_command(options: argparse.Namespace, url: str) -> list[str]:
    """Return the command line of the swarm."""
    length = options.minutes * 60 + CALM_SECONDS
    return [
        *(sys.executable, "-m", "workers", "socketio", "--url", url, "--json", "--reconnect"),
        *("--transport", "polling", "--transport", "websocket", "--processes", "1"),
        *("--clients", str(options.clients), "--rate", str(options.rate)),
        *("--seconds", str(length), "--pause", "2", "--drain", str(DRAIN_SECONDS)),
        *("--timeout", str(TIMEOUT_SECONDS)),
    ]


async def kill_nodes(options: argparse.Namespace, cluster: Cluster, progress: Progress) -> int:
    """Kill a node now and then; returns how many were killed."""
    killed = 0
    for fault in schedule(options.seed, options.minutes * 60, options.node_every, 0.0):
        await asyncio.sleep(max(0.0, fault.at - progress.seconds))
        nodes = cluster.running_nodes()
        name = nodes[int(fault.choice * len(nodes))] if nodes else ""
        pid = cluster.kill(name)
        if pid is not None:
            killed += 1
            progress.say(f"killed {name} (process {pid})")
    return killed


async def check(options: argparse.Namespace) -> dict[str, Any]:
    """Run the swarm against a new cluster; returns the summary. Raises Failed."""
    progress = Progress()
    async with running_cluster(options.nodes, options.log) as cluster:
        process: Process | None = None
        killing: asyncio.Task[int] | None = None
        try:
            command = swarm_command(options, cluster.ws_url)
            process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
            progress.begin()
            killing = asyncio.create_task(kill_nodes(options, cluster, progress))
            output, _ = await process.communicate()
        finally:
            if killing is not None and not killing.done():
                killing.cancel()
            if process is not None and process.returncode is None:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT)
                await process.wait()
    swarm = json.loads(output)
    violations = list(swarm["errors"])
    killed = killing.result() if killing.done() and not killing.cancelled() else 0
    if not killed:
        violations.append("no node was killed, or the swarm ended before the last one was")
    return {
        "verified": not violations,
        "violations": violations,
        "seed": options.seed,
        "killed": killed,
        "swarm": swarm,
    }


def lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary as text."""
    swarm = summary["swarm"]
    if "delivered" not in swarm:
        return verdict(summary)
    return [
        f"{swarm['clients']:,} clients, {summary['killed']} nodes killed, seed {summary['seed']}",
        f"{swarm['published']:,} messages, {swarm['uncertain']:,} more that may not have been sent:"
        f" {swarm['delivered']:,} deliveries, {swarm['lost']:,} lost, {swarm['duplicates']:,} "
        f"duplicates, {swarm['out_of_order']:,} out of order",
        f"reconnects: {swarm['recovered']:,} recovered, {swarm['unrecovered']:,} not",
        *verdict(summary),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a drill with these arguments; returns the exit status."""
    options = parse_arguments(arguments)
    print("Starting a cluster ...", file=sys.stderr, flush=True)
    return carry_out("drill", options, check(options), lines)


if __name__ == "__main__":
    sys.exit(main())
