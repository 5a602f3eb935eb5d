"""CPU time of one echoed message: `python -m benchmarks.echo`.

    python -m benchmarks.echo                        300 connections, three rounds: some minutes
    python -m benchmarks.echo --only cluster --rounds 1 --seconds 1

Each round restarts every server, opens the connections, and keeps messages of 20 bytes in flight on
all of them: first one on each connection, then eight. The result is the CPU time of the server's
processes per message, in µs. The rate is the number of answers per second while client and server
share the machine.

The cluster has one node, and two handlers: a callback for each message, and an `async def` with
recv and send.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import command, environments, load
from benchmarks.servers import Candidate, Server, channels, cluster, competitor
from workers.cli.argument_types import positive, seconds

PAYLOAD = b"12345 31 31 1 abcdef"
IN_FLIGHT = (1, 8)
WARM_UP_S = 0.5


def candidates(cache: Path) -> tuple[list[Candidate], dict[str, dict[str, str]]]:
    """Return all servers and the versions of their libraries. Installs missing libraries."""
    names = ("autobahn", "websockets", "picows", "channels")
    pythons = {name: environments.python_for(name, cache) for name in names}
    found = [
        cluster(1, name="cluster, callback", path="/echo/"),
        cluster(1, name="cluster, async def", path="/echo/async/"),
        competitor("picows, uvloop", pythons["picows"], "picows_echo"),
        competitor("websockets", pythons["websockets"], "websockets_echo"),
        competitor("websockets, uvloop", pythons["websockets"], "websockets_echo", "--uvloop"),
        competitor("Autobahn", pythons["autobahn"], "autobahn_echo"),
        channels("uvicorn", pythons["channels"], 1, "/echo/"),
        channels("Daphne", pythons["channels"], 1, "/echo/"),
    ]
    return found, {name: environments.versions(name, pythons[name]) for name in names}


def measure(
    candidate: Candidate, folder: Path, connections: int, seconds: float
) -> dict[str, float]:
    """Make one run of one server: CPU µs per message and messages per second, for each load."""
    found = {}
    with Server(candidate, folder) as server:
        sockets = load.connect(server.port, candidate.path, connections)
        try:
            load.check_echo(sockets[0], PAYLOAD)
            for in_flight in IN_FLIGHT:
                load.echo(sockets, PAYLOAD, in_flight, WARM_UP_S)
                before = server.cpu()
                messages = load.echo(sockets, PAYLOAD, in_flight, seconds)
                used = server.cpu() - before
                found[f"µs, {in_flight} in flight"] = used / messages * 1e6
                found[f"msg/s, {in_flight}"] = messages / seconds
        finally:
            load.close(sockets)
    return found


def parser() -> argparse.ArgumentParser:
    found = command.arguments("echo", __doc__)
    environments.add_option(found)
    add = found.add_argument
    add("--connections", type=positive, default=300, metavar="N", help="to each server (300)")
    add("--seconds", type=seconds, default=4.0, metavar="S", help="length of a run (4)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return command.compare(
        options,
        options.connections,
        lambda: candidates(options.cache),
        lambda candidate, folder: measure(candidate, folder, options.connections, options.seconds),
        ratio_of=[f"µs, {in_flight} in flight" for in_flight in IN_FLIGHT],
    )


if __name__ == "__main__":
    command.run(main)
