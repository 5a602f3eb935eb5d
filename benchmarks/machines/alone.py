"""One machine alone: what the bus costs where there is nothing on it, and what a revision changed.

An echo on one node, and a broadcast to a thousand subscribers on four nodes: without a bus; with a
Redis to which no other machine is connected; and, with --before DIR, the checkout of another
revision, which is measured in turn with this one.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import echo
from benchmarks.broadcast import Plan, broadcast, redis
from benchmarks.machines.bus import machine, url_of, wait_joined
from benchmarks.measurements import Measurements
from benchmarks.servers import ROOT, Candidate, Server, cluster

CONNECTIONS = 300


@dataclass(frozen=True, slots=True)
class Alone:
    """has_bus: with a Redis; checkout: where the code is."""

    name: str
    has_bus: bool = False
    checkout: Path = ROOT


def candidates(before: Path | None) -> list[Alone]:
    found = [Alone("1 machine"), Alone("1 machine, with a bus", has_bus=True)]
    if before is not None:
        found.append(Alone(f"1 machine, {before.name}", checkout=before.resolve()))
    return found


def measure(one: Alone, plan: Plan, folder: Path) -> Measurements:
    """Make one run: the echo, then the broadcast."""
    with ExitStack() as stack:
        url = url_of(stack.enter_context(redis(folder))) if one.has_bus else ""

        def candidate(nodes: int) -> Candidate:
            if url:
                return machine("A", nodes, url, folder)
            return replace(cluster(nodes), root=one.checkout)

        echoed = echo.measure(
            replace(candidate(1), path="/echo/"), folder, CONNECTIONS, plan.seconds
        )
        with Server(candidate(4), folder) as server:
            if url:
                wait_joined(server)
            delivered = broadcast([server], [], plan)
    return {
        **{f"echo {name}": value for name, value in echoed.items() if name.startswith("µs")},
        "µs CPU a delivery": delivered["µs CPU a delivery"],
        "p99 ms": delivered["p99 ms"],
    }
