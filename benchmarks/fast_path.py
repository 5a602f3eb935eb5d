"""CPU time of one message: the fast path, the same without its epoll reader, and plain Autobahn.

    python -m benchmarks.fast_path [--connections 300] [--seconds 1.5] [--runs 3] [--json]

Each run starts a server process, opens the connections from this process, and keeps all of them
busy for some seconds. The variants take turns, so that other load on the machine affects all of
them. The command prints the server's CPU time per message, as the median of the runs:

echo-1   20 bytes, one message in flight on each connection
echo-8   eight in flight
relay    each message goes to eight other connections, as in the Game of Life; for each message
         delivered

and, with 2,000 idle connections, the CPU time per handshake in µs and the memory per connection in
KB.
"""

import argparse
import json
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import command
from workers.cli.argument_types import positive, seconds

IDLE = 2000
VARIANTS = ("fast-path", "without-epoll-reader", "plain")
RATIO = "plain/fast-path"
LOADS = ("echo-1", "echo-8", "relay")
NEIGHBOURS = 8
PAYLOAD = b"12345 31 31 1 abcdef"
FRAME = b"\x81" + bytes([0x80 | len(PAYLOAD)]) + bytes(4) + PAYLOAD
ANSWER = 2 + len(PAYLOAD)
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def serve(variant: str, load: str, reactor_name: str) -> None:
    """Run the server process: print the port, then echo or relay until standard input ends."""
    if reactor_name != "epoll":
        from twisted.internet import asyncioreactor

        loop = None
        if reactor_name == "uvloop":
            import uvloop

            loop = uvloop.new_event_loop()
        asyncioreactor.install(loop)
    from twisted.internet import reactor, stdio
    from twisted.internet.protocol import Protocol, connectionDone

    twisted_reactor: Any = reactor

    class Stop(Protocol):
        def connectionLost(self, reason: Any = connectionDone) -> None:
            twisted_reactor.stop()

    factory = _plain(load) if variant == "plain" else _fast_path(load, variant == "fast-path")
    port = twisted_reactor.listenTCP(0, factory, backlog=1000, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    stdio.StandardIO(Stop())
    twisted_reactor.run()


def _fast_path(load: str, with_epoll_reader: bool) -> Any:
    from twisted.internet import reactor

    from cluster.net.loop.end_of_turn import EndOfTurn
    from cluster.net.loop.epoll_reader import EpollReader
    from cluster.net.websocket.connection import ServerConnection
    from cluster.net.websocket.connection_factory import ConnectionFactory
    from cluster.net.websocket.frames import text_frame

    twisted_reactor: Any = reactor
    end_of_turn = EndOfTurn(twisted_reactor)
    epoll_reader = EpollReader(twisted_reactor, end_of_turn) if with_epoll_reader else None
    factory = ConnectionFactory(end_of_turn, epoll_reader)
    connections: list[ServerConnection] = []
    direct = end_of_turn.direct

    def opened(connection: ServerConnection) -> None:
        number = len(connections)
        connections.append(connection)
        neighbours: list[ServerConnection] = []

        def relay(payload: bytes, is_binary: bool) -> None:
            if not neighbours:
                neighbours.extend(
                    connections[(number + step) % len(connections)]
                    for step in range(1, NEIGHBOURS + 1)
                )
            frame = text_frame(payload)
            for neighbour in neighbours:
                out = neighbour.out
                if not out:
                    direct.append(neighbour)
                out.append(frame)
            end_of_turn.schedule()

        def echo(payload: bytes, is_binary: bool) -> None:
            connection.send_frame(text_frame(payload))

        connection.receive = relay if load == "relay" else echo

    factory.on_open = opened
    if epoll_reader is not None:
        epoll_reader.start()
    return factory


def _plain(load: str) -> Any:
    from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

    connections: list[Any] = []

    class Stock(WebSocketServerProtocol):
        tcpNoDelay = True  # plain Autobahn leaves Nagle's algorithm on, which is not measured here

        def onOpen(self) -> None:
            self.number = len(connections)
            connections.append(self)

        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            if load != "relay":
                self.sendMessage(payload, isBinary)
                return
            message = factory.prepareMessage(payload, isBinary)
            for step in range(1, NEIGHBOURS + 1):
                neighbour = connections[(self.number + step) % len(connections)]
                neighbour.sendPreparedMessage(message)

    factory: Any = WebSocketServerFactory()
    factory.protocol = Stock
    factory.setProtocolOptions(autoPingInterval=20, autoPingTimeout=30)
    return factory


def rss_kilobytes(pid: int) -> float:
    """Return the resident memory of a process, in KB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1024


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process with one thread, in nanosecond resolution."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def _server(variant: str, load: str, reactor: str) -> Iterator[tuple[int, int]]:
    """Start a server process; returns its pid and its port."""
    command = [sys.executable, "-m", "benchmarks.fast_path", "--serve", variant, load, reactor]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout is not None and server.stdin is not None
    with server.stdout:
        try:
            yield server.pid, int(server.stdout.readline())
        finally:
            server.stdin.close()
            server.wait(10)


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(REQUEST)
    connection.recv(4096)
    connection.setblocking(False)
    return connection


def measure(variant: str, load: str, connections: int, seconds: float, reactor: str) -> float:
    """Make one run; returns the CPU time in µs per delivered message."""
    with _server(variant, load, reactor) as (pid, port), ExitStack() as sockets:
        clients = [sockets.enter_context(_connect(port)) for _ in range(connections)]
        _drive(clients, load, 0.3)  # warm up
        before = cpu_seconds(pid)
        messages = _drive(clients, load, seconds)
        return (cpu_seconds(pid) - before) / messages * 1e6


def measure_idle(variant: str, reactor: str) -> tuple[float, float]:
    """Open idle connections; returns the CPU µs per handshake and the KB of RSS per connection."""
    with _server(variant, "echo-1", reactor) as (pid, port), ExitStack() as sockets:
        for _ in range(50):  # the first connections load modules, which must not be measured
            sockets.enter_context(_connect(port))
        memory, before = rss_kilobytes(pid), cpu_seconds(pid)
        for _ in range(IDLE):
            sockets.enter_context(_connect(port))
        used = cpu_seconds(pid) - before
        return used / IDLE * 1e6, (rss_kilobytes(pid) - memory) / IDLE


def _drive(sockets: list[socket.socket], load: str, seconds: float) -> int:
    """Send on each connection, and again after its answers; returns the number of deliveries."""
    burst = 8 if load == "echo-8" else 1
    answers = NEIGHBOURS if load == "relay" else burst
    output, expected = FRAME * burst, ANSWER * answers
    missing = {connection.fileno(): expected for connection in sockets}
    by_fd = {connection.fileno(): connection for connection in sockets}
    poll = selectors.EpollSelector()
    for connection in sockets:
        poll.register(connection, selectors.EVENT_READ)
        connection.send(output)
    end = time.perf_counter() + seconds
    caused, received = expected * len(sockets), 0
    while received < caused:
        is_running = time.perf_counter() < end
        for key, _ in poll.select():
            fd = key.fd
            size = len(by_fd[fd].recv(65536))
            if not size:
                raise ConnectionError("the server closed a connection")
            received += size
            missing[fd] -= size
            if missing[fd] <= 0 and is_running:
                missing[fd] += expected
                caused += expected
                by_fd[fd].send(output)
    poll.close()
    return received // ANSWER


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command.parser("fast_path", __doc__)
    add = parser.add_argument
    add("--connections", type=positive, default=300, metavar="N", help="of echo and relay (300)")
    add("--seconds", type=seconds, default=1.5, metavar="S", help="length of a run (1.5)")
    add("--runs", type=positive, default=3, metavar="N", help="runs of each, interleaved (3)")
    add("--reactor", choices=("epoll", "asyncio", "uvloop"), default="epoll", help="(epoll)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.serve:
        serve(*options.serve)
        return
    cost: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.runs):
        for load in LOADS:
            for variant in VARIANTS:
                micros = measure(
                    variant, load, options.connections, options.seconds, options.reactor
                )
                cost.setdefault((load, variant), []).append(micros)
        for variant in VARIANTS:
            handshake, memory = measure_idle(variant, options.reactor)
            cost.setdefault(("handshake", variant), []).append(handshake)
            cost.setdefault(("idle KB", variant), []).append(memory)
    result: dict[str, dict[str, float]] = {}
    for load in (*LOADS, "handshake", "idle KB"):
        row = {variant: statistics.median(cost[load, variant]) for variant in VARIANTS}
        row[RATIO] = row["plain"] / row["fast-path"]
        result[load] = {name: round(value, 2) for name, value in row.items()}
    if options.json:
        print(json.dumps({"unit": "µs CPU a message", "reactor": options.reactor, **result}))
        return
    print(f"server CPU, µs a message; {options.reactor}, median of {options.runs}")
    print(f"{'':10}" + "".join(f"{name:>22}" for name in (*VARIANTS, RATIO)))
    for load in result:
        print(f"{load:10}" + "".join(f"{value:22.2f}" for value in result[load].values()))


if __name__ == "__main__":
    main()
