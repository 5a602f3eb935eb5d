"""Handshakes per second of CPU time: `python -m benchmarks.handshakes`.

    python -m benchmarks.handshakes                  3,000 connections, three rounds
    python -m benchmarks.handshakes --only cluster --rounds 1

Each round restarts every server and opens some connections as a warm-up. Then it opens the given
number, 100 handshakes at a time, and keeps them open. The result is the CPU time of the server's
processes until the last one is open. The cluster has one node with its Django site, and a
connection counts as open when its handler, an `async def`, has started.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import command, environments, load
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Server, channels, cluster, competitor
from workers.cli.argument_types import positive

AT_ONCE = 100
WARM_UP = 200  # connections
SETTLE_S = 0.3  # seconds until the last handler has started, too


def candidates(cache: Path) -> tuple[list[Candidate], dict[str, dict[str, str]]]:
    """Return all servers and the versions of their libraries."""
    names = ("autobahn", "websockets", "picows", "channels")
    pythons = {name: environments.python_for(name, cache) for name in names}
    found = [
        cluster(1, path="/echo/async/"),
        competitor(
            "Autobahn, twisted.web", pythons["autobahn"], "autobahn_echo", "--site", path="/echo"
        ),
        competitor("Autobahn", pythons["autobahn"], "autobahn_echo"),
        competitor("websockets", pythons["websockets"], "websockets_echo"),
        competitor("picows, uvloop", pythons["picows"], "picows_echo"),
        channels("uvicorn", pythons["channels"], 1, "/echo/"),
        channels("Daphne", pythons["channels"], 1, "/echo/"),
    ]
    return found, {name: environments.versions(name, pythons[name]) for name in names}


def measure(candidate: Candidate, folder: Path, connections: int) -> Measurements:
    """Make one run of one server."""
    with Server(candidate, folder) as server:
        sockets = load.connect(server.port, candidate.path, WARM_UP, AT_ONCE)
        try:
            time.sleep(SETTLE_S)
            before, start = server.cpu(), time.perf_counter()
            sockets += load.connect(server.port, candidate.path, connections, AT_ONCE)
            seconds = time.perf_counter() - start
            time.sleep(SETTLE_S)
            used = server.cpu() - before
        finally:
            load.close(sockets)
    return {
        "handshakes/CPU s": connections / used,
        "µs CPU": used / connections * 1e6,
        "handshakes/s": connections / seconds,
    }


def parser() -> argparse.ArgumentParser:
    found = command.arguments("handshakes", __doc__)
    environments.add_option(found)
    found.add_argument(
        "--connections", type=positive, default=3_000, metavar="N", help="to each server (3000)"
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return command.compare(
        options,
        options.connections + WARM_UP,
        lambda: candidates(options.cache),
        lambda candidate, folder: measure(candidate, folder, options.connections),
        ratio_of=["handshakes/CPU s"],
    )


if __name__ == "__main__":
    command.run(main)
