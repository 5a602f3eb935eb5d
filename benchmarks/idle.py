"""Memory of an idle connection: `python -m benchmarks.idle`.

    python -m benchmarks.idle                        10,000 on 4 nodes, 5,000 on each of the others
    python -m benchmarks.idle --only cluster --rounds 1 --connections 1000 --hold 5

Each round restarts every server, measures the resident memory of all its processes, opens the
connections, leaves them idle for some time (they answer pings), and measures the memory again. The
result is the growth divided by the number of connections, including the modules that a server loads
for its first connection. All servers send pings at the same interval. The cluster runs with its
Django site, bus and metrics.

Kernel memory is the growth of the system's unreclaimable slab and of its TCP buffers. It is an
estimate for two sockets, because both ends of each connection are on this machine, and only its
order of magnitude is reliable, because other programs affect it. The CPU percentage is that of all
connections in the second half of the idle time. Compare it only between servers that send the same
number of pings.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import command, environments, load
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Server, cluster, competitor, kernel_kb_now
from workers.cli.argument_types import positive, seconds

SETTLE_S = 1.0  # seconds from the server's start to the first measurement, for the last imports


def candidates(
    cache: Path, nodes: int, ping: float
) -> tuple[list[Candidate], dict[str, dict[str, str]]]:
    """Return all servers, with pings every `ping` seconds, and the versions of their libraries."""
    names = ("autobahn", "websockets", "picows")
    pythons = {name: environments.python_for(name, cache) for name in names}
    pings = ("--ping", str(ping))
    path = "/echo/async/"
    found = [
        *(cluster(n, "--ping-interval", str(ping), path=path) for n in dict.fromkeys((nodes, 1))),
        competitor("picows, uvloop", pythons["picows"], "picows_echo", *pings),
        competitor("websockets", pythons["websockets"], "websockets_echo", *pings),
        competitor("Autobahn", pythons["autobahn"], "autobahn_echo", *pings),
        competitor(
            "Autobahn, twisted.web",
            pythons["autobahn"],
            "autobahn_echo",
            "--site",
            *pings,
            path="/echo",
        ),
    ]
    return found, {name: environments.versions(name, pythons[name]) for name in names}


def measure(candidate: Candidate, folder: Path, connections: int, hold: float) -> Measurements:
    """Make one run of one server."""
    with Server(candidate, folder) as server:
        time.sleep(SETTLE_S)
        empty, kernel = server.rss_kb(), kernel_kb_now()
        sockets = load.connect(server.port, candidate.path, connections)
        try:
            load.hold(sockets, hold / 2)
            before = server.cpu()
            pongs = load.hold(sockets, hold / 2)
            used = server.cpu() - before
            grown, kernel_grown = server.rss_kb() - empty, kernel_kb_now() - kernel
        finally:
            load.close(sockets)
    return {
        "connections": connections,
        "KB RSS": grown / connections,
        "KB kernel, both ends": kernel_grown / connections,
        "MB RSS, empty": empty / 1024,
        "pings/s": pongs / (hold / 2),
        "CPU %": used / (hold / 2) * 100,
    }


def parser() -> argparse.ArgumentParser:
    found = command.arguments("idle", __doc__)
    environments.add_option(found)
    add = found.add_argument
    add(
        "--connections",
        type=positive,
        default=10_000,
        metavar="N",
        help="to the cluster of several nodes (10000)",
    )
    add(
        "--competitor-connections",
        type=positive,
        default=5_000,
        metavar="N",
        help="to each of the others (5000)",
    )
    add("--nodes", type=positive, default=4, metavar="N", help="of the cluster (4)")
    add("--hold", type=seconds, default=20.0, metavar="S", help="seconds of idleness (20)")
    add("--ping", type=seconds, default=10.0, metavar="S", help="seconds between pings (10)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    several = cluster(options.nodes).name

    def connections(candidate: Candidate) -> int:
        return options.connections if candidate.name == several else options.competitor_connections

    return command.compare(
        options,
        max(options.connections, options.competitor_connections),
        lambda: candidates(options.cache, options.nodes, options.ping),
        lambda candidate, folder: measure(candidate, folder, connections(candidate), options.hold),
        ratio_of=["KB RSS"],
    )


if __name__ == "__main__":
    command.run(main)
