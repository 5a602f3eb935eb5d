"""The time of a barrier's release: from the last arrival until each of two parties knows it.

Two clients meet at a barrier repeatedly, one at each machine. The second one comes when the first
one waits already. It arrives when its handshake is complete; the time ends when both have received
the message of the release. The time includes the subscription of the second client, which goes to
the log before its arrival does.
"""

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.broadcast import redis
from benchmarks.machines.bus import delayed, machines, url_of
from benchmarks.measurements import Measurements, percentile
from benchmarks.servers import Failed, Server, cluster

MET = b"met"
ROUND_TRIPS = 50
WARM_UP = 10  # meetings
PAUSE_S = 0.1  # until the second client comes


@dataclass(frozen=True, slots=True)
class Case:
    """machines: how many; delay_ms: how long Redis takes to answer, beside its own time."""

    name: str
    machines: int
    delay_ms: float = 0.0


CASES = (
    Case("1 machine × 4 nodes", 1),
    Case("2 machines × 2 nodes", 2),
    Case("2 machines × 2 nodes, Redis 10 ms away", 2, 10.0),
)


def measure(case: Case, meetings: int, folder: Path) -> Measurements:
    """Make one run of one case."""
    with ExitStack() as stack:
        if case.machines == 1:
            server = stack.enter_context(Server(cluster(4), folder))
            return _meet([server, server], meetings, 0.0)
        store = stack.enter_context(redis(folder))
        url = url_of(store)
        if case.delay_ms:
            url = stack.enter_context(delayed(store, case.delay_ms))
        servers = stack.enter_context(machines(case.machines, 2, url, folder))
        return _meet(servers, meetings, round_trip_ms(int(url.rpartition(":")[2])))


def round_trip_ms(port: int) -> float:
    """Return the median time of a PING of Redis."""
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(ROUND_TRIPS):
            began = time.monotonic()
            connection.sendall(b"PING\r\n")
            if not connection.recv(100).startswith(b"+PONG"):
                raise Failed("Redis does not answer")
            times.append(time.monotonic() - began)
    return percentile(sorted(times), 50) * 1000


def _meet(servers: Sequence[Server], meetings: int, round_trip: float) -> Measurements:
    times = [_meeting(servers, number) for number in range(WARM_UP + meetings)][WARM_UP:]
    p50, p99 = (percentile(sorted(times), part) * 1000 for part in (50, 99))
    return {"release p50 ms": p50, "release p99 ms": p99, "round trip of Redis ms": round_trip}


def _meeting(servers: Sequence[Server], number: int) -> float:
    path = f"/meeting/benchmark-{number}/{len(servers)}/"
    sockets: list[socket.socket] = []
    try:
        for server in servers:
            time.sleep(PAUSE_S if sockets else 0)
            sockets += load.connect(server.port, path, 1, greeting=True)
        began = time.monotonic()
        for sock in sockets:
            _wait_met(sock)
        return time.monotonic() - began
    finally:
        load.close(sockets)


def _wait_met(sock: socket.socket) -> None:
    received = b""
    while True:
        load.wait_for(sock, 30)
        part = sock.recv(load.RECEIVE)
        frames, received = load.split_frames(received + part)
        if any(payload == MET for _, payload in frames):
            return
        if not part:
            raise Failed("the server closed a connection before the release")
