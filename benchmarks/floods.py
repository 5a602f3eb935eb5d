"""What other clients notice of clients that flood a node: `python -m benchmarks.floods`.

    python -m benchmarks.floods                      all floods, three rounds: 5 minutes
    python -m benchmarks.floods --only pings --rounds 1 --seconds 3

Each flood runs against a new cluster of one node with the settings of the demo site. Its clients
connect, send everything that they have at once, and read nothing. A bystander in a process of its
own repeatedly sends a message to /echo/ and waits for the answer, from before the flood until
`--seconds` after its begin. The results:

longest wait   of the bystander for one answer, in milliseconds
growth         of the resident memory of the server's processes, in MB: the maximum during the flood
died           processes that were replaced; more than 0 fails the run
"""

import argparse
import multiprocessing
import select
import socket
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import command, load
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, cluster
from workers.cli.argument_types import seconds

KB, MB = 1 << 10, 1 << 20
GROUP = 100
"""Connections from one address; each group has another one."""

PAUSE_S = 0.002
"""Seconds between two messages of the bystander, and between two looks at the node's memory."""

DEFLATE = "permessage-deflate"


@dataclass(frozen=True, slots=True)
class Flood:
    """What `connections` clients send to `path`, each of them `output()` once.

    They open WebSockets first, with these `extensions`, unless `is_http`.
    """

    path: str
    connections: int
    output: Callable[[], bytes]
    extensions: str = ""
    is_http: bool = False


def repeated(frame: bytes, size: int) -> bytes:
    """Return copies of a frame, `size` bytes or a little less together."""
    return frame * (size // len(frame))


def pings(size: int = 64 * KB) -> bytes:
    """Return empty pings."""
    return repeated(load.client_frame(b"", load.PING), size)


def invalid() -> bytes:
    """Return a text frame with the reserved bit RSV1, followed by pings."""
    first, *rest = load.client_frame(b"x")
    return bytes([first | 0x40, *rest]) + pings()


def small_messages() -> bytes:
    """Return messages of one byte."""
    return repeated(load.client_frame(b"x"), 65 * KB)


def bombs(size: int = 64 * KB) -> bytes:
    """Return compressed messages, each of 1 MiB of zeros in about 1 KiB (RFC 7692)."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(bytes(MB - 1)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    payload = packed[:-4]
    frame = b"\xc2\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload
    return repeated(frame, size)


def requests() -> bytes:
    """Return pipelined requests (RFC 9112, section 9.3.2)."""
    return repeated(b"GET /test/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 64 * KB)


def handshake() -> bytes:
    """Return an opening request."""
    return load.upgrade_request(80, "/echo/").replace(b"127.0.0.1:80", b"127.0.0.1")


FLOODS = {
    "an invalid frame, then pings": Flood("/echo/", 1000, invalid),
    "one-byte messages": Flood("/echo/", 1000, small_messages),
    "one-byte messages, async def": Flood("/echo/async/", 1000, small_messages),
    "one-byte messages, broadcast": Flood("/broadcast/flood/", 200, small_messages),
    "pings": Flood("/echo/", 1000, pings),
    "deflate bombs": Flood("/echo/", 24, bombs, DEFLATE),
    "deflate bombs, broadcast": Flood("/broadcast/flood/", 520, partial(bombs, 4 * KB), DEFLATE),
    "pipelined requests": Flood("/", 400, requests, is_http=True),
    "handshakes": Flood("/", 1000, handshake, is_http=True),
}


def stand_by(port: int, said: Connection) -> None:
    """In a process of its own: echo messages until a stop arrives, then report the longest wait."""
    load.in_child()
    (sock,) = load.connect(port, "/echo/", 1)
    longest = 0.0
    said.send("standing by")
    try:
        while not said.poll(PAUSE_S):
            start = time.perf_counter()
            load.check_echo(sock, b"bystander")
            longest = max(longest, time.perf_counter() - start)
        said.send(longest)
    except (OSError, Failed) as error:
        said.send(f"the bystander: {error}")


def flood(server: Server, attack: Flood, duration: float) -> Measurements:
    """Flood a running server."""
    ours, theirs = multiprocessing.Pipe()
    bystander = multiprocessing.get_context("fork").Process(
        target=stand_by, args=(server.port, theirs), daemon=True
    )
    bystander.start()
    if not ours.poll(30):
        raise Failed("the bystander could not connect")
    ours.recv()
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < attack.connections:
            count = min(GROUP, attack.connections - len(sockets))
            if attack.is_http:
                sockets += load.connect_only(server.port, count)
            else:
                sockets += load.connect(
                    server.port, attack.path, count, extensions=attack.extensions
                )
        pids = server.pids()
        before = most = server.rss_kb()
        start = time.perf_counter()
        unsent = {sock.fileno(): (sock, memoryview(attack.output())) for sock in sockets}
        with select.epoll() as poll:
            for fd in unsent:
                poll.register(fd, select.EPOLLOUT)
            while time.perf_counter() - start < duration and not ours.poll(0):
                for fd, _ in poll.poll(PAUSE_S, load.EVENTS):
                    sock, rest = unsent[fd]
                    try:
                        unsent[fd] = sock, rest[sock.send(rest) :]
                    except BlockingIOError:
                        continue
                    except OSError:  # disconnected by the server
                        unsent[fd] = sock, memoryview(b"")
                    if not unsent[fd][1]:
                        poll.unregister(fd)
                most = max(most, server.rss_kb())
        if not ours.poll():
            ours.send("stop")
        longest = ours.recv() if ours.poll(60) else "the bystander has waited for 60 s"
        died = set(pids) - set(server.pids())
    finally:
        load.close(sockets)
        bystander.join(1)
        bystander.kill()
    if died:
        raise Failed(f"{len(died)} of {len(pids)} processes died:\n{server.output()[-4000:]}")
    if not isinstance(longest, float):
        raise Failed(f"{longest}\n{server.output()[-4000:]}")
    return {
        "longest wait, ms": longest * 1000,
        "growth, MB": (most - before) / KB,
        "died": 0,
    }


def candidates() -> tuple[list[Candidate], dict[str, Any]]:
    """Return a cluster of one node for each flood."""
    return [cluster(1, name=name) for name in FLOODS], {}


def measure(candidate: Candidate, folder: Path, duration: float) -> Measurements:
    """Make one run on a new server."""
    with Server(candidate, folder) as server:
        return flood(server, FLOODS[candidate.name], duration)


def parser() -> argparse.ArgumentParser:
    found = command.arguments("floods", __doc__)
    found.add_argument(
        "--seconds", type=seconds, default=8.0, metavar="S", help="length of a flood (8)"
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return command.compare(
        options,
        max(attack.connections for attack in FLOODS.values()),
        candidates,
        lambda candidate, folder: measure(candidate, folder, options.seconds),
    )


if __name__ == "__main__":
    command.run(main)
