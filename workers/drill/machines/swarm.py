"""Runs the swarm against several machines: `python -m workers.drill.machines.swarm`.

    python -m workers.drill.machines.swarm broadcast --subscribers 10000 --rate 10 --seconds 60
    python -m workers.drill.machines.swarm --faults gateway-kill,redis-kill,machine-kill \
        life --size 32 -n 400 -l 5 --verify

Starts the machines as a drill does, in network namespaces if this is root. The swarm, on this
host, connects to all of them, and checks what it receives. Meanwhile the faults are injected, in
the order in which they are given.
"""

import argparse
import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from workers.cli.argument_types import positive, seconds
from workers.demo.programs import Failed
from workers.drill.clients import Progress
from workers.drill.cluster import add_common_arguments, carry_out, verdict
from workers.drill.machines.command import machine_names, networked
from workers.drill.machines.faults import KINDS, Fault
from workers.drill.machines.injector import Injector
from workers.drill.machines.machine import Machine

CONNECTIONS = {"C10K_CONNECTIONS_PER_CLIENT": "100000"}
"""The environment of the site: to machines with addresses of their own, the swarm is one client."""

DOWN_SECONDS = 2.0  # a machine or a server that was killed stays down


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line; ``swarm`` are the arguments of the swarm."""
    parser = argparse.ArgumentParser(
        prog="swarm-machines",
        description="Start several machines with a cluster of their own on one Redis, and run the "
        "swarm against all of them.",
        epilog="Exit status: that of the swarm; 1 if a fault was not injected, or if the machines "
        "did not join again after it; 2 wrong usage, 130 Ctrl-C.",
    )
    add = parser.add_argument
    add("--machines", type=positive, default=2, metavar="N", help="machines (2)")
    add("--faults", default="", metavar="KINDS", help="inject these, separated by commas")
    add("--pause", type=seconds, default=10.0, metavar="S", help="before each fault (10)")
    add("--sentinel", action="store_true", help="two Redis servers with Sentinels")
    add("--loopback", action="store_true", help="no namespaces, even as root")
    add_common_arguments(parser, nodes=2)
    add("swarm", nargs=argparse.REMAINDER, metavar="SWARM …", help="arguments of the swarm")
    options = parser.parse_args(arguments)
    if not options.swarm:
        parser.error("the arguments of the swarm are missing; for example: life -n 100 --verify")
    options.kinds = options.faults.split(",") if options.faults else []
    for kind in options.kinds:
        if kind not in KINDS:
            parser.error(f"--faults: {kind!r} is none of {', '.join(KINDS)}")
    return options


async def inject(injector: Injector, kinds: Sequence[str], pause: float) -> None:
    """Inject faults of these kinds, one after the other, with pauses of so many seconds.

    The first one concerns the first machine, the second one the next.
    """
    for number, kind in enumerate(kinds):
        await asyncio.sleep(pause)
        choice = number % 2 / 2
        await injector.perform(Fault(0.0, kind, DOWN_SECONDS, choice, 0.5))


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the swarm against new machines; returns the summary. Raises Failed."""
    wanted = list(options.kinds)
    progress = Progress()
    with networked(options) as (network, engine, folder):
        os.environ.update(CONNECTIONS)
        machines = [
            Machine(network, name, options.nodes, folder, engine.url, options.log)
            for name in machine_names(options)
        ]
        impossible = sorted(set(wanted) - set(options.kinds))
        if impossible:
            raise Failed(f"--faults: not possible here: {', '.join(impossible)}")
        injector = Injector(network, machines, engine, progress.say)
        process: Process | None = None
        try:
            await asyncio.gather(*(machine.start() for machine in machines))
            await injector.wait_joined("the start")
            progress.begin()
            urls = [machine.url.replace("http", "ws", 1) for machine in machines]
            command = [sys.executable, "-m", "workers", *options.swarm]
            for url in urls:
                command += ["--url", url]
            process = await asyncio.create_subprocess_exec(*command)
            injecting = asyncio.create_task(inject(injector, wanted, options.pause))
            status = await process.wait()
            injecting.cancel()
            with suppress(asyncio.CancelledError):
                await injecting
        finally:
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGINT)
                await process.wait()
            await injector.end()
            await asyncio.gather(*(machine.stop() for machine in machines))
        violations = [*injector.violations]
        if status:
            violations.append(f"the swarm ended with status {status}")
        missing = wanted[len(injector.injected) :]
        if missing:
            violations.append(f"the swarm ended before these faults: {', '.join(missing)}")
        return {
            "verified": not violations,
            "violations": violations,
            "network": "namespaces" if network.can_cut else "loopback",
            "machines": len(machines),
            "nodes": options.nodes,
            "injected": injector.injected,
            "longest_join": round(injector.longest_join, 1),
        }


def lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary as text."""
    faults = ", ".join(fault["what"] for fault in summary["injected"])
    return [
        f"{summary['machines']} machines × {summary['nodes']} nodes as {summary['network']}",
        f"injected: {faults or 'nothing'}; all machines joined again after at most "
        f"{summary['longest_join']} s",
        *verdict(summary),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the swarm with these arguments; returns the exit status."""
    options = parse_arguments(arguments)
    print(f"Starting {options.machines} machines ...", file=sys.stderr, flush=True)
    return carry_out("swarm-machines", options, run(options), lines)


if __name__ == "__main__":
    sys.exit(main())
