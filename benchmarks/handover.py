"""CPU time of a request whose session another node has: `python -m benchmarks.handover`.

    python -m benchmarks.handover                        three rounds of 5 s each: 1.5 min
    python -m benchmarks.handover --only passed --rounds 1 --seconds 2

Clients send requests with session ids of Engine.IO to a cluster of two nodes, on connections that
stay open. The candidates:

owner    each connection sends requests of one session, which its node has
passed   each connection sends requests of sessions of both nodes in turn, so that every request is
         preceded by a handover: the worst case, which only a proxy causes. A client passes once
piped    each connection sends requests of one session of the other node, and its bytes are piped,
         as under TLS

The result is the CPU time of all processes of the server for a request, in microseconds. The
difference between two rows is the cost of a handover, or of a forwarded request.
"""

import argparse
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import command, load
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, cluster
from workers.cli.argument_types import positive

OWNER, PASSED, PIPED = "owner", "passed", "piped"

SESSION = "x" * 14
"""What follows the token in the session ids of the clients."""

WARM_UP_S = 1.0
TIMEOUT_S = 30.0


class Client:
    """One connection. It sends a request when the answer to the last one is complete."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tokens: Sequence[str] = [""]
        self.sent = 0
        self._received = b""

    @property
    def expected(self) -> str:
        """The token of the process that must answer the last request."""
        return self.tokens[(self.sent - 1) % len(self.tokens)]

    def send(self) -> None:
        """Send the next request."""
        token = self.tokens[self.sent % len(self.tokens)]
        sid = f"&sid={token}{SESSION}" if token else ""
        self.sent += 1
        self.socket.send(
            f"GET /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\n"
            "Host: 127.0.0.1\r\n\r\n".encode()
        )

    def receive(self) -> str:
        """Read; returns the body of the answer if it is complete, else an empty text."""
        data = self.socket.recv(load.RECEIVE)
        if not data:
            raise Failed("the server has closed a connection")
        self._received += data
        header, _, body = self._received.partition(b"\r\n\r\n")
        if len(body) < 6:
            return ""
        if not header.startswith(b"HTTP/1.1 200 "):
            raise Failed(f"an answer is not 200: {header[:80]!r}")
        self._received = b""
        return body.decode()

    def ask(self) -> str:
        """Send a request, and wait for the answer."""
        self.send()
        while not (answer := self.receive()):
            pass
        return answer


def clients_of(kind: str, port: int, count: int) -> list[Client]:
    """Open the connections of a candidate."""
    clients = [Client(port) for _ in range(count)]
    owners = [client.ask() for client in clients]
    while len(tokens := set(owners)) < 2:  # by chance all are at one node
        other = Client(port)
        owners.append(other.ask())
        other.socket.close()
    for client, owner in zip(clients, owners, strict=False):
        (another,) = tokens - {owner}
        client.tokens = {OWNER: [owner], PASSED: [another, owner], PIPED: [another]}[kind]
        client.sent = 0
    return clients


def poll(clients: Sequence[Client], seconds: float) -> int:
    """Send requests for a time; returns the number of answers."""
    answers, end = 0, time.perf_counter() + seconds
    by_descriptor = {client.socket.fileno(): client for client in clients}
    with select.epoll() as ready:
        for client in clients:
            ready.register(client.socket.fileno(), select.EPOLLIN)
            client.send()
        open_requests = len(clients)
        while open_requests:
            events = ready.poll(TIMEOUT_S, load.EVENTS)
            if not events:
                raise Failed(f"no answer for {TIMEOUT_S:.0f} s")
            for descriptor, _ in events:
                client = by_descriptor[descriptor]
                answer = client.receive()
                if not answer:
                    continue
                if answer != client.expected:
                    raise Failed(f"{answer} has answered a request of {client.expected}")
                answers += 1
                if time.perf_counter() < end:
                    client.send()
                else:
                    open_requests -= 1
    return answers


def measure(candidate: Candidate, folder: Path, options: argparse.Namespace) -> Measurements:
    """Make one run."""
    with Server(candidate, folder) as server:
        clients = clients_of(candidate.name, server.port, options.connections)
        try:
            poll(clients, WARM_UP_S)
            before, start = server.cpu(), time.perf_counter()
            answers = poll(clients, options.seconds)
            used, took = server.cpu() - before, time.perf_counter() - start
        finally:
            for client in clients:
                client.socket.close()
    return {"CPU µs": used / answers * 1e6, "requests/s": answers / took}


def parser() -> argparse.ArgumentParser:
    found = command.arguments("handover", __doc__)
    add = found.add_argument
    add("--seconds", type=positive, default=5, metavar="S", help="of load (5)")
    add("--connections", type=positive, default=16, metavar="N", help="clients (16)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    site = ("--settings", "benchmarks.handover_site")

    def candidates() -> list[Candidate]:
        pipes = {"HANDOVER_PIPES": "1"}
        return [
            cluster(2, *site, name=OWNER),
            cluster(2, *site, name=PASSED),
            cluster(2, *site, name=PIPED, environment=pipes),
        ]

    return command.compare(
        options,
        options.connections,
        lambda: (candidates(), {}),
        lambda candidate, folder: measure(candidate, folder, options),
        ratio_of=["CPU µs"],
    )


if __name__ == "__main__":
    command.run(main)
