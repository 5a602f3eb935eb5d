"""All clients disconnect and reconnect at once: `python -m benchmarks.storm`.

    python -m benchmarks.storm                       10,000 clients, 4 nodes, three rounds
    python -m benchmarks.storm --connections 1000 --rounds 1

A storm drops all connections at the same moment, without a closing handshake, and every client
reconnects at once. A client has reconnected when its handshake is complete and the server has
echoed a message. The result is the time from the drop until the last client has reconnected. A few
bystanders stay connected and send a message ten times a second. The server must not close their
connections, and the command prints their longest wait for an answer. The pids of all server
processes must be the same before and after, and the server must not have printed an error.
"""

import argparse
import multiprocessing
import re
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import command, load
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, cluster
from workers.cli.argument_types import positive

PATH = "/echo/async/"
PAYLOAD = b"back"
BYSTANDERS = 20
PAUSE_S = 0.1  # seconds between two messages of a bystander
TROUBLE = re.compile(r"Traceback|Unhandled|\[critical\]|\[error\]", re.IGNORECASE)


def stand_by(port: int, said: Connection) -> None:
    """In a separate process, send messages until a stop arrives, then report the longest wait."""
    load.in_child()
    sockets = load.connect(port, PATH, BYSTANDERS)
    worst = 0.0
    said.send("standing by")
    try:
        while not said.poll(PAUSE_S):
            start = time.perf_counter()
            for sock in sockets:
                sock.send(load.client_frame(PAYLOAD))
            for sock in sockets:
                load.wait_for(sock, 30)
                if not sock.recv(load.RECEIVE):
                    raise Failed("the server closed the connection")
            worst = max(worst, time.perf_counter() - start)
        said.send(worst)
    except (OSError, Failed) as error:
        said.send(f"a bystander: {error}")


def bystanders(port: int) -> tuple[Any, Connection]:
    """Start the bystanders; returns when they are connected."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=stand_by, args=(port, theirs), daemon=True
    )
    process.start()
    if not ours.poll(30):
        raise Failed("the bystanders could not connect")
    ours.recv()
    return process, ours


def storm(server: Server, connections: int) -> Measurements:
    """Make one storm on a running server."""
    sockets = load.connect(server.port, PATH, connections)
    try:
        pids = server.pids()
        process, talk = bystanders(server.port)
        used, start = server.cpu(), time.perf_counter()
        load.close(sockets)
        sockets = load.connect(server.port, PATH, connections, at_once=connections)
        open_again = time.perf_counter() - start
        if load.echo(sockets, PAYLOAD, 1, 0) != connections:
            raise Failed("not every client that is back has been answered")
        back = time.perf_counter() - start
        used = server.cpu() - used
        if not talk.poll():  # otherwise the bystanders have ended with an error
            talk.send("stop")
        worst = talk.recv() if talk.poll(40) else "the bystanders do not answer"
        process.join(1)
        if not isinstance(worst, float):
            raise Failed(worst)
        if server.pids() != pids:
            raise Failed(f"processes have died: {pids} before, {server.pids()} after")
        trouble = TROUBLE.search(server.output())
        if trouble:
            raise Failed(f"the server printed {trouble[0]}:\n{server.output()[-4000:]}")
    finally:
        load.close(sockets)
    return {
        "seconds until all back": back,
        "until all open": open_again,
        "server CPU s": used,
        "bystanders' longest wait, ms": worst * 1000,
        "processes died": 0,
    }


def measure(candidate: Candidate, folder: Path, connections: int) -> Measurements:
    """Make one run on a new server."""
    with Server(candidate, folder) as server:
        return storm(server, connections)


def parser() -> argparse.ArgumentParser:
    found = command.arguments("storm", __doc__)
    add = found.add_argument
    add("--connections", type=positive, default=10_000, metavar="N", help="in the storm (10000)")
    add("--nodes", type=positive, default=4, metavar="N", help="of the cluster (4)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return command.compare(
        options,
        options.connections + BYSTANDERS,
        lambda: ([cluster(options.nodes)], {}),
        lambda candidate, folder: measure(candidate, folder, options.connections),
    )


if __name__ == "__main__":
    command.run(main)
