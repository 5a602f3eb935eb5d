"""Hostile clients of Socket.IO, beside two that only echo: `python -m benchmarks.socketio_fuzz`.

    python -m benchmarks.socketio_fuzz                            two minutes
    python -m benchmarks.socketio_fuzz --minutes 10 --seed 7      ten minutes, other clients

A cluster of two nodes serves a small site (socketio_fuzz_site). Hostile clients have sessions with
random faults over both transports (socketio_sessions). Bystanders in processes of their own echo
an event, one over WebSocket and one over polling. The first quarter is the warm-up. After it, and
at the end, the hostile clients rest until their sessions have ended. The run fails, with exit
status 1, if

- the log has a traceback, or a line of level error or critical;
- a process was replaced;
- the memory of the nodes has grown since the warm-up by more than `--growth`;
- there are more descriptors, or sessions, than after the warm-up;
- a bystander was disconnected, or has waited longer than `--longest` for an answer.
"""

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import random
import re
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks import command, load, socketio_fuzz_site
from benchmarks.servers import Failed, Server, cluster
from benchmarks.socketio_sessions import PATH, SID, HostileClient, frame
from cluster.socketio.engine.registry import FAREWELL_S
from workers.cli.argument_types import natural, positive, seconds

NODES = 2
PAUSE_S = 0.02
"""Seconds between two echoes of a bystander."""

REST_S = FAREWELL_S + 5
"""Seconds until an abandoned session has ended, and nobody waits for its last packets."""

SPARE_DESCRIPTORS = 8
"""Descriptors that nodes may open later than in the warm-up, such as those between them."""

_SESSIONS = re.compile(r"^c10k_socketio_clients\{.*\} (\d+)", re.MULTILINE)

_FAULT = re.compile(r"Traceback \(most recent call last\)|\[[^\]]*\b(?:error|critical)\]")


@dataclass(frozen=True, slots=True)
class State:
    """What the server holds while the hostile clients rest."""

    rss_kb: float
    descriptors: int
    sessions: int
    pids: frozenset[int]


def state_of(server: Server) -> State:
    """Return what the server holds now."""
    descriptors = 0
    pids = server.pids()
    for pid in pids:
        try:
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
        except FileNotFoundError:
            continue
    with urlopen(f"{server.admin_url}metrics", timeout=30) as answer:
        open_sessions = _SESSIONS.findall(answer.read().decode())
    return State(server.rss_kb(), descriptors, sum(map(int, open_sessions)), frozenset(pids))


def faults(log: str) -> list[str]:
    """Return the lines of a log that a client must not be able to cause."""
    return [line for line in log.splitlines() if _FAULT.search(line)]


def failures(
    before: State,
    after: State,
    log: str,
    waits: Mapping[str, Sequence[float] | str],
    growth_mb: float,
    longest_ms: float,
) -> list[str]:
    """Return what is wrong, each in a line of its own.

    before, after: the server after the warm-up, and at the end.
    waits: bystander -> the milliseconds of its echoes, or why it could not echo.
    """
    found = [f"in the log: {line}" for line in faults(log)[:20]]
    if before.pids - after.pids:
        found.append(f"{len(before.pids - after.pids)} processes died")
    grown = (after.rss_kb - before.rss_kb) / 1024
    if grown > growth_mb:
        found.append(f"the memory has grown by {grown:.1f} MB, more than {growth_mb:g} MB")
    more = after.descriptors - before.descriptors
    if more > SPARE_DESCRIPTORS:
        found.append(f"{more} more descriptors are open than after the warm-up")
    if after.sessions > before.sessions:
        found.append(f"{after.sessions - before.sessions} more sessions than after the warm-up")
    for name, measured in waits.items():
        if isinstance(measured, str):
            found.append(f"the bystander over {name}: {measured}")
        elif max(measured) > longest_ms:
            found.append(f"the bystander over {name} has waited for {max(measured):.0f} ms")
    return found


# Bystanders.


class OverWebSocket:
    """A client that echoes over WebSocket."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), 30)
        self._sock.sendall(load.upgrade_request(port, f"{PATH}?EIO=4&transport=websocket"))
        self._received = b""
        self._read_until(b'"sid"')
        self._sock.sendall(frame(b"40", 1))
        self._read_until(b"40{")

    def _read_until(self, part: bytes) -> None:
        while part not in self._received:
            received = self._sock.recv(65536)
            if not received:
                raise Failed("disconnected")
            if b"\x81\x012" in received:  # a ping
                self._sock.sendall(frame(b"3", 1))
            self._received += received
        self._received = self._received.partition(part)[2]

    def echo(self, number: int) -> None:
        """Send an event, and wait for its acknowledgement."""
        self._sock.sendall(frame(f'42{number}["echo","x"]'.encode(), 1))
        self._read_until(f'43{number}["x"]'.encode())


class OverPolling:
    """A client that echoes over polling, with one connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sock = socket.create_connection(("127.0.0.1", port), 30)
        self._sid = ""
        self._sid = SID.findall(self._request("GET"))[0].decode()
        self._request("POST", b"40")
        self._request("GET")

    def _request(self, method: str, body: bytes = b"") -> bytes:
        sid = f"&sid={self._sid}" if self._sid else ""
        head = f"{method} {PATH}?EIO=4&transport=polling{sid} HTTP/1.1\r\n"
        head += f"Host: 127.0.0.1:{self._port}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._sock.sendall(head.encode() + body)
        received = b""
        while True:
            received += self._sock.recv(65536)
            header, end, content = received.partition(b"\r\n\r\n")
            size = re.search(rb"(?i)content-length: *(\d+)", header)
            if not received or (end and not header.startswith(b"HTTP/1.1 200")):
                raise Failed(f"the answer was {received[:200]!r}")
            if end and size and len(content) >= int(size[1]):
                return content

    def echo(self, number: int) -> None:
        """Send an event, and poll for its acknowledgement."""
        self._request("POST", f'42{number}["echo","x"]'.encode())
        while True:
            received = self._request("GET")
            if b"2" in received.split(b"\x1e"):  # a ping
                self._request("POST", b"3")
            if f'43{number}["x"]'.encode() in received:
                return


BYSTANDERS = {"websocket": OverWebSocket, "polling": OverPolling}


def stand_by(name: str, port: int, said: Connection) -> None:
    """In a process of its own: echo until a stop arrives, then report all waits."""
    load.in_child()
    waits: list[float] = []
    try:
        bystander = BYSTANDERS[name](port)
        said.send("standing by")
        while not said.poll(PAUSE_S):
            start = time.perf_counter()
            bystander.echo(len(waits))
            waits.append((time.perf_counter() - start) * 1000)
        said.send(waits)
    except (OSError, Failed, IndexError) as error:
        said.send(str(error) or repr(error))


class Bystander:
    """A process that echoes, as a context manager."""

    def __init__(self, name: str, port: int) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(
            target=stand_by, args=(name, port, theirs), daemon=True
        )
        self._process.start()
        if not self._ours.poll(30) or (said := self._ours.recv()) != "standing by":
            self._process.kill()
            raise Failed(f"the bystander over {name} could not connect: {said}")

    def waits(self) -> Sequence[float] | str:
        """Stop, and return the milliseconds of its echoes; or why it could not echo."""
        if not self._ours.poll():
            self._ours.send("stop")
        if not self._ours.poll(60):
            return "no answer for 60 s"
        found: Sequence[float] | str = self._ours.recv()
        return found or "it has not echoed once"

    def __enter__(self) -> "Bystander":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.join()


# One run.


async def attack(port: int, duration: float, rng: random.Random, clients: int) -> Counter[str]:
    """Let hostile clients have sessions for some seconds."""
    seen: Counter[str] = Counter()
    end = time.monotonic() + duration

    async def attacker(number: int, own: random.Random) -> None:
        client = HostileClient(port, own, f"127.0.0.{2 + number % 200}", seen)
        while time.monotonic() < end:
            await client.session()

    await asyncio.gather(
        *(attacker(number, random.Random(rng.random())) for number in range(clients))
    )
    return seen


def fuzz(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    """Fuzz a running server; returns the report."""
    rng = random.Random(options.seed)
    duration = options.minutes * 60
    with ExitStack() as stack:
        bystanders = {
            name: stack.enter_context(Bystander(name, server.port)) for name in BYSTANDERS
        }
        seen = asyncio.run(attack(server.port, duration / 4, rng, options.clients))
        time.sleep(REST_S)
        before = state_of(server)
        seen += asyncio.run(attack(server.port, duration * 3 / 4, rng, options.clients))
        time.sleep(REST_S)
        after = state_of(server)
        waits = {name: bystander.waits() for name, bystander in bystanders.items()}
    found = failures(before, after, server.output(), waits, options.growth, options.longest)
    return {
        "seed": options.seed,
        "failures": found,
        "growth, MB": (after.rss_kb - before.rss_kb) / 1024,
        "descriptors": [before.descriptors, after.descriptors],
        "sessions": [before.sessions, after.sessions],
        "waits, ms": {
            name: latencies(each) for name, each in waits.items() if not isinstance(each, str)
        },
        "seen": dict(sorted(seen.items())),
    }


def latencies(waits: Sequence[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the maximum of all waits."""
    ordered = sorted(waits)
    return {
        "count": len(ordered),
        "p50": statistics.median(ordered),
        "p99": ordered[int(len(ordered) * 0.99)],
        "max": ordered[-1],
    }


def parser() -> argparse.ArgumentParser:
    found = command.parser("socketio_fuzz", __doc__)
    add = found.add_argument
    add("--minutes", type=seconds, default=2.0, metavar="M", help="length of the attack (2)")
    add("--seed", type=natural, default=1, metavar="N", help="which choices clients make (1)")
    add("--clients", type=positive, default=24, metavar="N", help="hostile clients (24)")
    add("--growth", type=seconds, default=16.0, metavar="MB", help="allowed growth (16)")
    add("--longest", type=seconds, default=250.0, metavar="MS", help="longest wait (250)")
    add("--json", action="store_true", help="print one JSON object")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns when a server disconnects
    load.allow_descriptors(20 * options.clients)
    candidate = cluster(
        NODES,
        *("--settings", socketio_fuzz_site.__name__, "--admin", "tcp:0"),
        name="cluster, Socket.IO fuzz",
    )
    with command.scratch_folder() as folder, Server(candidate, Path(folder)) as server:
        report = fuzz(server, options)
        log = server.output()
    if options.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name}: {value}")
    if faults(log):
        first = log.index(faults(log)[0])
        print(log[first : first + 20_000], file=sys.stderr)
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    command.run(main)
