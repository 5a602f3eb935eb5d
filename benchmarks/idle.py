"""Memory of an idle connection: `python -m benchmarks.idle`.

    python -m benchmarks.idle                        10,000 on 4 nodes, 5,000 on each of the others
    python -m benchmarks.idle --only cluster --rounds 1 --connections 1000 --hold 5

Each round starts every server anew, takes the resident memory of all its processes, opens the
connections, lets them be for some time, answering pings, and takes it again: the growth divided by
the connections. What the first connection makes a server load counts too. Pings are on everywhere,
at the same interval; the cluster has its Django site, bus and metrics as ever.

Kernel memory is the growth of the system's unreclaimable slab and of its TCP buffers. Both ends of
each connection are on this machine, and so is whatever else runs: take it as an estimate, of two
sockets, and of its order of size only. The CPU figure is what all the connections together cost in
the second half of that time; it can be compared between servers only where pings/s agree.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import environments, figures, load
from benchmarks.servers import Contender, Server, cluster, kernel_kb_now, peer

SETTLE_S = 1.0  # between the server's start and the first look: the last imports


def contenders(
    cache: Path, nodes: int, ping: float
) -> tuple[list[Contender], dict[str, dict[str, str]]]:
    """All servers, pinging every `ping` seconds, and their libraries' versions."""
    names = ("autobahn", "websockets", "picows")
    pythons = {name: environments.python_for(name, cache) for name in names}
    pings = ("--ping", str(ping))
    path = "/echo/async/"
    found = [
        cluster(nodes, "--ping-interval", str(ping), path=path),
        cluster(1, "--ping-interval", str(ping), path=path),
        peer("picows, uvloop", pythons["picows"], "picows_echo", *pings),
        peer("websockets", pythons["websockets"], "websockets_echo", *pings),
        peer("Autobahn", pythons["autobahn"], "autobahn_echo", *pings),
        peer(
            "Autobahn, twisted.web",
            pythons["autobahn"],
            "autobahn_echo",
            "--site",
            *pings,
            path="/echo",
        ),
    ]
    return found, {name: environments.versions(name, pythons[name]) for name in names}


def measure(contender: Contender, folder: Path, connections: int, hold: float) -> figures.Figures:
    """One run of one server."""
    with Server(contender, folder) as server:
        time.sleep(SETTLE_S)
        empty, kernel = server.rss_kb(), kernel_kb_now()
        sockets = load.connect(server.port, contender.path, connections)
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
    found = figures.arguments("idle", __doc__)
    environments.add_option(found)
    found.add_argument("--connections", type=int, default=10_000, help="to the nodes (10000)")
    found.add_argument("--peer-connections", type=int, default=5_000, help="to one process (5000)")
    found.add_argument("--nodes", type=int, default=4, help="of the cluster (4)")
    found.add_argument("--hold", type=float, default=20.0, help="seconds of doing nothing (20)")
    found.add_argument("--ping", type=float, default=10.0, help="seconds between pings (10)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    load.allow_descriptors(max(options.connections, options.peer_connections))
    before = figures.machine()
    everybody, versions = contenders(options.cache, options.nodes, options.ping)
    several = everybody[0].name
    with figures.scratch_folder() as folder:
        results = figures.measured(
            figures.chosen(everybody, options.only),
            options.rounds,
            lambda contender: measure(
                contender,
                folder,
                options.connections if contender.name == several else options.peer_connections,
                options.hold,
            ),
        )
    found = figures.report(options, before, results, ["KB RSS"], versions)
    figures.print_report(found, options.json)
    return 0


if __name__ == "__main__":
    figures.run(main)
