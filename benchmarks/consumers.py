"""Consumers of Channels, and handlers in their place: `python -m benchmarks.consumers`.

    python -m benchmarks.consumers                 three rounds: 6 min
    python -m benchmarks.consumers --only cluster --rounds 1

What each step of a migration costs: the same consumers (those of Channels' tutorial) on uvicorn
with channels_redis, then in the cluster with its channel layer, then handlers with topics. Each has
two processes. Measured are the CPU time of an echo, the memory of an idle connection, and the CPU
time of a message to a group, for each of its members.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import command, echo, environments, idle
from benchmarks.broadcast import Plan, broadcast, with_redis
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Server, channels, cluster
from benchmarks.subscribers import PATH, Dialect
from workers.cli.argument_types import positive

PROCESSES = 2
ECHOES, SECONDS = 100, 3.0  # connections, and the length of a run
HOLD_S = 4.0
MESSAGES_PER_S = 20.0


@dataclass(frozen=True, slots=True)
class Step:
    """A server, and where its consumers or handlers are."""

    candidate: Candidate
    prefix: str = ""

    @property
    def name(self) -> str:
        return self.candidate.name


def measure(step: Step, folder: Path, connections: int) -> Measurements:
    """Make one run of one step, with a Redis server if it needs one."""
    with with_redis(step.candidate, folder) as (candidate, stores):
        candidate = replace(candidate, path=f"{step.prefix}/echo/")
        echoed = echo.measure(candidate, folder, ECHOES, SECONDS)
        held = idle.measure(candidate, folder, connections, HOLD_S)
        plan = Plan(connections, 1, MESSAGES_PER_S, SECONDS)
        with Server(candidate, folder) as server:
            sent = broadcast([server], stores, plan, Dialect(f"{step.prefix}{PATH}?"))
    return {
        "echo, µs CPU": echoed["µs, 8 in flight"],
        "idle, KB": held["KB RSS"],
        "group, µs CPU a delivery": sent["µs CPU a delivery"],
        "missing %": sent["missing %"],
    }


def candidates(cache: Path, only: str) -> tuple[list[Step], command.Versions]:
    """Return the steps, the last one first."""
    ours = cluster(PROCESSES, "--settings", "benchmarks.consumer_site")
    found = [
        Step(replace(ours, name="cluster, handlers and topics"), "/handlers"),
        Step(replace(ours, name="cluster, consumers and its channel layer")),
    ]
    if only and any(only.lower() in step.name for step in found):
        return found, {}
    python = environments.python_for("channels", cache)
    theirs = channels("uvicorn", python, PROCESSES, "/", redis="yes")
    # The other layer, core, times out with redis-py 8 when no message comes for 5 seconds.
    environment = {**theirs.environment, "CHANNELS_LAYER": "pubsub"}
    name = "uvicorn, consumers and channels_redis (pubsub)"
    found.append(Step(replace(theirs, name=name, environment=environment)))
    return found, {"channels": environments.versions("channels", python)}


def parser() -> argparse.ArgumentParser:
    found = command.arguments("consumers", __doc__)
    add = found.add_argument
    add("--connections", type=positive, default=1000, metavar="N", help="to each (1000)")
    environments.add_option(found)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return command.compare(
        options,
        options.connections + 100,
        lambda: candidates(options.cache, options.only),
        lambda step, folder: measure(step, folder, options.connections),
        ("echo, µs CPU", "idle, KB", "group, µs CPU a delivery"),
    )


if __name__ == "__main__":
    command.run(main)
