"""How soon a killed node is back, with and without a spare process: `python -m benchmarks.spare`.

    python -m benchmarks.spare                       2 nodes, five kills each
    python -m benchmarks.spare --settings mysite.settings

The time is that from SIGKILL to the line of the log which says that the node is ready. The memory
is the sum of all processes; pages that processes share count once (PSS).
"""

import argparse
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import command
from benchmarks.measurements import Measurements
from benchmarks.servers import START_WITHIN, Candidate, Failed, Server, cluster
from workers.cli.argument_types import positive

READY = r"node0 ready \(process (\d+)\)"
SPARE_READY = r"spare ready"
SERVE_S = 6.0
"""Seconds between two kills: a node that ends sooner after its start is started after a delay."""


def wait_for(server: Server, pattern: str, times: int) -> str:
    """Wait until a line has been logged so often; returns the group of the last match."""
    deadline = time.monotonic() + START_WITHIN
    while len(found := re.findall(pattern, server.output())) < times:
        if time.monotonic() > deadline:
            raise Failed(f"no {pattern!r} in the log:\n{server.output()[-2000:]}")
        time.sleep(0.002)
    last: str = found[-1]
    return last


def pss_mb(server: Server) -> float:
    """Return the memory of all processes in MB, without counting shared pages twice."""
    total = 0
    for pid in server.pids():
        found = re.search(r"(?m)^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())
        total += int(found[1]) if found else 0
    return total / 1024


def measure(candidate: Candidate, folder: Path, kills: int) -> Measurements:
    """Kill a node some times."""
    seconds = []
    has_spare = "--spare" in candidate.command
    with Server(candidate, folder) as server:
        for number in range(1, kills + 1):
            if has_spare:
                wait_for(server, SPARE_READY, number)
            time.sleep(SERVE_S)
            pid = int(wait_for(server, READY, number))
            memory = pss_mb(server)
            start = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            wait_for(server, READY, number + 1)
            seconds.append(time.perf_counter() - start)
    return {"back after s": median(seconds), "slowest s": max(seconds), "memory MB": memory}


def parser() -> argparse.ArgumentParser:
    found = command.arguments("spare", __doc__)
    add = found.add_argument
    add("--kills", type=positive, default=5, metavar="N", help="of a node, in each round (5)")
    add("--nodes", type=positive, default=2, metavar="N", help="of the cluster (2)")
    add("--settings", default="django_project.settings", metavar="MODULE", help="of the site")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    site = ("--settings", options.settings, "--admin", "tcp:0")
    candidates = [
        cluster(options.nodes, *site, name="cluster without a spare process"),
        cluster(options.nodes, *site, "--spare", name="cluster with a spare process"),
    ]
    return command.compare(
        options,
        100,
        lambda: (candidates, {}),
        lambda candidate, folder: measure(candidate, folder, options.kills),
    )


if __name__ == "__main__":
    command.run(main)
