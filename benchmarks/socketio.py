"""Servers of Socket.IO: `python -m benchmarks.socketio`.

    python -m benchmarks.socketio                    three rounds: 7 min
    python -m benchmarks.socketio --only cluster --rounds 1

The servers are this project, python-socketio on uvicorn, and the reference server on Node. All
clients are connected by WebSocket. A round has three parts:

Echo: one server process. Each client sends an event with 20 bytes of text, whose acknowledgement is
the text, one at a time on each connection, then eight.

Broadcast: several server processes, with Redis for python-socketio and the cluster adapter for the
reference server. One client publishes messages to a room of a thousand, as in
benchmarks.broadcast, first one at a time, then as many a second in bursts of ten.

Idle: the growth of the resident memory of one server process, divided by the number of its clients,
which are connected to the main namespace and in a room.

CPU time is that of all server processes, with broker, supervisor, Redis or Node's primary process.
The servers send no pings during a run.
"""

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import command, environments, load
from benchmarks.broadcast import Plan, broadcast, redis
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, cluster, node, uvicorn
from benchmarks.subscribers import SOCKET_IO, open_connections
from workers.cli.argument_types import positive, seconds

TEXT = b"12345 31 31 1 abcdef"
EVENT = b'427["echo","%s"]' % TEXT
ACKNOWLEDGEMENT = b'437["%s"]' % TEXT
IN_FLIGHT = (1, 8)
WARM_UP_S = 0.5
RATE = 20.0  # messages a second to the room
BURST = 10  # messages at once
DELIVERY = "µs CPU a delivery"
ROOM = f"room {DELIVERY}"
ROOM_IN_BURSTS = f"{ROOM}, {BURST} at once"
SETTLE_S = 1.0  # seconds until the memory of a server is measured
PINGS = {"SOCKETIO_PING_INTERVAL": "3600"}  # seconds


@dataclass(frozen=True, slots=True)
class Servers:
    """One server as a single process, and as several that need a Redis or not."""

    name: str
    one: Candidate
    several: Candidate
    needs_redis: bool = False


def ours(processes: int) -> Servers:
    """Return the cluster."""
    site = ("--settings", "benchmarks.socketio_site")
    one, several = (cluster(n, *site, environment=PINGS) for n in (1, processes))
    return Servers("cluster", one, several)


def python_socketio(processes: int, cache: Path) -> tuple[Servers, dict[str, str]]:
    """Return python-socketio on uvicorn, and the versions of its libraries."""
    python = environments.python_for("socketio", cache)
    name = "python-socketio"
    one, several = (
        uvicorn(f"{name}, {n}", python, n, "socketio_site", "", PINGS) for n in (1, processes)
    )
    versions = environments.versions("socketio", python)
    return Servers(name, one, several, needs_redis=True), versions


def reference(processes: int, cache: Path) -> tuple[Servers, dict[str, str]]:
    """Return the reference server, and the versions of Node and its packages."""
    modules = environments.node_modules_for("socketio_reference", cache)
    name = "Socket.IO on Node"
    one, several = (
        node(
            f"{name}, {n}",
            "socketio_reference",
            {**PINGS, "SOCKETIO_MODULES": str(modules), "WORKERS": str(n)},
        )
        for n in (1, processes)
    )
    versions = environments.node_versions("socketio_reference")
    return Servers(name, one, several), versions


def candidates(options: argparse.Namespace) -> tuple[list[Servers], command.Versions]:
    """Return all servers and the versions of their libraries. Installs missing libraries."""
    found, versions = [ours(options.nodes)], {}
    if options.only and options.only.lower() in found[0].name:
        return found, {}
    for name, make in (("socketio", python_socketio), ("socketio_reference", reference)):
        servers, versions[name] = make(options.nodes, options.cache)
        found.append(servers)
    return found, versions


def echo(server: Server, connections: int, seconds: float) -> Measurements:
    """Measure echoes of a server of one process."""
    found = {}
    sockets = open_connections(server.port, SOCKET_IO, "publisher", connections)
    try:
        load.check_echo(sockets[0], EVENT, ACKNOWLEDGEMENT)
        for in_flight in IN_FLIGHT:
            load.echo(sockets, EVENT, in_flight, WARM_UP_S, ACKNOWLEDGEMENT)
            before = server.cpu()
            count = load.echo(sockets, EVENT, in_flight, seconds, ACKNOWLEDGEMENT)
            found[f"echo µs CPU, {in_flight} in flight"] = (server.cpu() - before) / count * 1e6
    finally:
        load.close(sockets)
    return found


def idle(server: Server, clients: int) -> Measurements:
    """Measure the memory of clients of a server of one process."""
    time.sleep(SETTLE_S)
    empty = server.rss_kb()
    sockets = open_connections(server.port, SOCKET_IO, "subscriber", clients)
    try:
        time.sleep(SETTLE_S)
        return {"KB RSS an idle client": (server.rss_kb() - empty) / clients}
    finally:
        load.close(sockets)


def measure_broadcast(servers: Servers, folder: Path, clients: int, seconds: float) -> Measurements:
    """Measure a broadcast of a server of several processes."""
    with ExitStack() as stack:
        candidate, stores = servers.several, []
        if servers.needs_redis:
            stores.append(stack.enter_context(redis(folder)))
            environment = {"SOCKETIO_REDIS": f"redis://127.0.0.1:{stores[0].port}/0"}
            candidate = replace(candidate, environment={**candidate.environment, **environment})
        server = stack.enter_context(Server(candidate, folder))
        plan = Plan(clients, 1, RATE, seconds)
        try:
            found = broadcast([server], stores, plan, SOCKET_IO)
            in_bursts = broadcast([server], stores, replace(plan, burst=BURST), SOCKET_IO)
        except Failed as error:
            raise Failed(f"{error}\n{server.output()[-2000:]}") from error
    return {
        ROOM: found[DELIVERY],
        ROOM_IN_BURSTS: in_bursts[DELIVERY],
        "missing %": max(found["missing %"], in_bursts["missing %"]),
        "room p50 ms": found["p50 ms"],
        "room p99 ms": found["p99 ms"],
    }


def measure(servers: Servers, folder: Path, options: argparse.Namespace) -> Measurements:
    """Make one run of all parts with one server."""
    with Server(servers.one, folder) as server:
        found = echo(server, options.connections, options.seconds)
    found |= measure_broadcast(servers, folder, options.subscribers, options.seconds)
    with Server(servers.one, folder) as server:
        return found | idle(server, options.idle)


def parser() -> argparse.ArgumentParser:
    found = command.arguments("socketio", __doc__)
    environments.add_option(found)
    add = found.add_argument
    add("--connections", type=positive, default=300, metavar="N", help="that echo (300)")
    add("--subscribers", type=positive, default=1000, metavar="N", help="in the room (1000)")
    add("--idle", type=positive, default=5000, metavar="N", help="idle clients (5000)")
    add("--seconds", type=seconds, default=4.0, metavar="S", help="length of each run (4)")
    add("--nodes", type=positive, default=4, metavar="N", help="processes of a broadcast (4)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return command.compare(
        options,
        max(options.connections, options.subscribers, options.idle),
        lambda: candidates(options),
        lambda servers, folder: measure(servers, folder, options),
        ratio_of=[
            *(f"echo µs CPU, {in_flight} in flight" for in_flight in IN_FLIGHT),
            *(ROOM, ROOM_IN_BURSTS, "KB RSS an idle client"),
        ],
    )


if __name__ == "__main__":
    command.run(main)
