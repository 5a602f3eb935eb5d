"""What it costs a node to replay a long history: `python -m benchmarks.replay`.

    python -m benchmarks.replay                      50 clients, 1,000 messages of 64 KiB: 2 minutes
    python -m benchmarks.replay --only stream --rounds 1

Each way runs against a new cluster of one node, which retains all messages. All clients connect at
once, read nothing for `--seconds`, and then everything. A bystander in a process of its own
repeatedly sends a message to /echo/ and waits for the answer. The results:

growth         of the peak of the node's resident memory, in MB, over that with the history itself
longest wait   of the bystander for one answer, in milliseconds
"""

import argparse
import multiprocessing
import re
import selectors
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

from benchmarks import command, load
from benchmarks.floods import stand_by
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, cluster
from workers.cli.argument_types import positive, seconds

SIZE = 64 << 10
"""Bytes of a message."""

QUIET_S = 5.0
"""Seconds without any output after which a client has received everything."""

GET = "GET /feed/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
WAYS = {
    "event stream": GET + "Accept: text/event-stream\r\n\r\n",
    "long polling": GET + "Prefer: wait=0\r\n\r\n",
    "feed over WebSocket": "/feed/",
    "handler, subscribe": "/subscribed/",
    "handler, replay function": "/replayed/",
}


def node_of(server: Server) -> int:
    """Return the process ID of the only node."""
    found = re.search(r"node0 ready \(process (\d+)\)", server.output())
    if found is None:
        raise Failed(f"no node in the log:\n{server.output()}")
    return int(found[1])


def peak_mb(pid: int) -> float:
    """Return the highest resident memory so far, in MB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def request(way: str) -> bytes:
    """Return what a client sends."""
    text = WAYS[way]
    if text.startswith("GET"):
        return text.encode()
    upgrade = load.upgrade_request(80, text).replace(b"127.0.0.1:80", b"127.0.0.1")
    return upgrade[:-2] + b"Sec-WebSocket-Protocol: c10k.v1\r\n\r\n"


def read_all(clients: Sequence[socket.socket]) -> float:
    """Read until nothing comes any more; returns the bytes that each client received, in MB."""
    received = 0
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        while ready := selector.select(QUIET_S):
            for key, _ in ready:
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                data = sock.recv(1 << 20)
                received += len(data)
                if not data:
                    selector.unregister(sock)
    return received / len(clients) / (1 << 20)


def measure(candidate: Candidate, folder: Path, options: argparse.Namespace) -> Measurements:
    """Open the clients of one way."""
    with Server(candidate, folder) as server:
        for _ in range(10):
            url = f"http://127.0.0.1:{server.port}/fill/{options.messages // 10}/{SIZE}/"
            urlopen(url).read()
        pid = node_of(server)
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        bystander = context.Process(target=stand_by, args=(server.port, theirs))
        bystander.start()
        ours.recv()
        before = peak_mb(pid)
        clients = []
        try:
            for _ in range(options.clients):
                clients.append(socket.create_connection(("127.0.0.1", server.port)))
                clients[-1].sendall(request(candidate.name))
            time.sleep(options.seconds)
            unread = peak_mb(pid)
            received = read_all(clients)
            growth = peak_mb(pid) - before
        finally:
            for client in clients:
                client.close()
            ours.send("stop")
            longest = ours.recv() if ours.poll(60) else "the bystander has waited for 60 s"
            bystander.join(1)
            bystander.kill()
    if not isinstance(longest, float):
        raise Failed(f"{longest}\n{server.output()[-4000:]}")
    return {
        "growth unread MB": unread - before,
        "growth MB": growth,
        "longest wait ms": longest * 1000,
        "received MB": received,
    }


def parser() -> argparse.ArgumentParser:
    found = command.arguments("replay", __doc__)
    add = found.add_argument
    add("--clients", type=positive, default=50, metavar="N", help="of each way (50)")
    add("--messages", type=positive, default=1000, metavar="N", help="in the history (1000)")
    add("--seconds", type=seconds, default=3.0, metavar="S", help="without reading (3)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    site = ("--settings", "benchmarks.replay_site", "--admin", "tcp:0")
    return command.compare(
        options,
        1000,
        lambda: ([cluster(1, *site, name=way) for way in WAYS], {}),
        lambda candidate, folder: measure(candidate, folder, options),
    )


if __name__ == "__main__":
    command.run(main)
