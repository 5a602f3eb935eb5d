"""The latency of WebSockets while slow views run: `python -m benchmarks.slow_views`.

    python -m benchmarks.slow_views                  200 views of 2 s, three rounds: 4 min
    python -m benchmarks.slow_views --only computing --rounds 1

Each round restarts one node and opens some WebSockets, which in turn send messages, 500 per second
together. The node echoes them. The command measures the latency of the echoes: first without other
load, then from the simultaneous requests of all views to the last response. A message is sent when
it is due, even if earlier ones have not been answered, and its latency is measured from that time.
Requests beyond the threads and the queue are answered 503; the slowest of these answers is printed,
too.

Most slow views wait for a database or for another server. For comparison, some views compute in
Python and hold the interpreter lock, which the reactor needs, too.
"""

import argparse
import heapq
import multiprocessing
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import command, load, measurements
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, cluster
from workers.cli.argument_types import positive

PATH = "/echo/"
PAYLOAD = b"12345 31 31 1 abcdef"
FRAME = load.client_frame(PAYLOAD)
SOCKETS = 50
EVERY_S = 0.1  # seconds between two messages of a socket
QUIET_S = 3.0
TIMEOUT_S = 120.0

VIEWS = {
    # Name -> the requested view, and the threads for it.
    "waiting, 10 threads": ("/waiting/", 10),
    "waiting, 200 threads": ("/waiting/", 200),
    "computing, 10 threads": ("/computing/", 10),
}


class Echoes:
    """WebSockets that send in turn at a fixed rate; ``latencies`` in seconds."""

    def __init__(self, sockets: Sequence[socket.socket], poll: select.epoll) -> None:
        self.latencies: list[float] = []
        self._sockets = {sock.fileno(): sock for sock in sockets}
        # fd -> when each message that is under way was due
        self._asked: dict[int, deque[float]] = {fd: deque() for fd in self._sockets}
        self._poll = poll
        start = time.perf_counter()
        self._due = [
            (start + number * EVERY_S / len(sockets), sock.fileno())
            for number, sock in enumerate(sockets)
        ]
        heapq.heapify(self._due)
        for fd in self._sockets:
            poll.register(fd, select.EPOLLIN)

    def until(self, condition: Callable[[], bool]) -> list[float]:
        """Continue until the condition is true; returns the sorted latencies of that time."""
        self.latencies = []
        while not condition():
            for fd, _ in self._poll.poll(self.send(), load.EVENTS):
                self.take(fd)
        return sorted(self.latencies)

    def send(self) -> float:
        """Send the messages that are due; returns the seconds until the next one is due."""
        while (wait := self._due[0][0] - time.perf_counter()) <= 0:
            due, fd = heapq.heappop(self._due)
            self._asked[fd].append(due)
            self._sockets[fd].send(FRAME)
            heapq.heappush(self._due, (due + EVERY_S, fd))
        return wait

    def take(self, fd: int) -> None:
        """Read an answer or a ping."""
        sock = self._sockets[fd]
        frames, rest = load.split_frames(sock.recv(load.RECEIVE))
        for opcode, payload in frames:
            if opcode == load.PING:
                sock.send(load.client_frame(payload, load.PONG))
            elif (opcode, payload) == (load.TEXT, PAYLOAD):
                self.latencies.append(time.perf_counter() - self._asked[fd].popleft())
            else:
                raise Failed(f"the echo is not what was sent: {payload!r}")
        if rest or not frames:
            raise Failed("the server closed the connection, or sent half a frame")


Answered = dict[int, list[float]]
"""Status -> the seconds until each answer that had it."""


def ask(port: int, path: str, count: int, said: Connection) -> None:
    """In a separate process, make all requests at once; send Answered, or the error."""
    load.in_child()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    answered: Answered = {}
    start = time.perf_counter()
    try:
        sockets = {}
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
            sock.send(request.encode())
            sockets[sock.fileno()] = sock
        with select.epoll() as poll:
            for fd in sockets:
                poll.register(fd, select.EPOLLIN)
            while sockets:
                events = poll.poll(TIMEOUT_S, load.EVENTS)
                if not events:
                    raise Failed(f"no view was answered for {TIMEOUT_S:.0f} s")
                for fd, _ in events:
                    sock = sockets.pop(fd)
                    status = int(
                        sock.recv(load.RECEIVE).split()[1]
                    )  # the first line has the status
                    answered.setdefault(status, []).append(time.perf_counter() - start)
                    sock.close()
        said.send(answered)
    except (OSError, Failed) as error:
        said.send(f"the views: {error}")


def measure(candidate: Candidate, folder: Path, views: int) -> Measurements:
    """Make one run: measure the views, and the echoes before and during them."""
    with Server(candidate, folder) as server, select.epoll() as poll:
        sockets = load.connect(server.port, PATH, SOCKETS)
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(
            target=ask, args=(server.port, candidate.path, views, theirs), daemon=True
        )
        try:
            echoes = Echoes(sockets, poll)
            end = time.perf_counter() + QUIET_S
            quiet = echoes.until(lambda: time.perf_counter() > end)
            process.start()
            meanwhile = echoes.until(ours.poll)
            answered: Answered | str = ours.recv()
            process.join(1)
        finally:
            load.close(sockets)
    if isinstance(answered, str):
        raise Failed(answered)
    served, refused = answered.pop(200, []), answered.pop(503, [])
    if answered:
        raise Failed(f"views were answered {sorted(answered)}")
    return {
        "echo p50 ms": measurements.percentile(meanwhile, 50) * 1000,
        "echo p99 ms": measurements.percentile(meanwhile, 99) * 1000,
        "echo max ms": meanwhile[-1] * 1000,
        "p99 ms without views": measurements.percentile(quiet, 99) * 1000,
        "served": float(len(served)),
        "refused": float(len(refused)),
        "slowest refusal ms": max(refused, default=0.0) * 1000,
        "seconds": max(served),
    }


def candidates() -> list[Candidate]:
    """Return one node, once for each kind of view."""
    return [
        cluster(
            1, "--settings", "benchmarks.slow_site", name=name, path=path,
            environment={"SLOW_SITE_THREADS": str(threads)},
        )
        for name, (path, threads) in VIEWS.items()
    ]  # fmt: skip


def parser() -> argparse.ArgumentParser:
    found = command.arguments("slow_views", __doc__)
    found.add_argument(
        "--views", type=positive, default=200, metavar="N", help="asked for at once (200)"
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return command.compare(
        options,
        options.views + SOCKETS,
        lambda: (candidates(), {}),
        lambda candidate, folder: measure(candidate, folder, options.views),
    )


if __name__ == "__main__":
    command.run(main)
