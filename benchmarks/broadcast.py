"""One sends, a thousand get: `python -m benchmarks.broadcast`.

    python -m benchmarks.broadcast                   1,000 subscribers, 100 and 5 messages a second
    python -m benchmarks.broadcast --only cluster --rates 100 --rounds 1

Each round starts every server anew with four processes, and connects the subscribers, and a
publisher in a process of its own, to it. Messages of 24 bytes carry their number and the time they
were sent at. Nothing counts until every subscriber has got one; then the publisher sends at the
given rate, and CPU time of all the server processes, broker and Redis included, is taken from the
first message until the last has arrived, or until nothing has for three seconds. What is missing
then was dropped, or was meant for a subscriber whom the server has hung up on, or would have come
yet from a server that far behind: from outside they look the same. Latency is from the publisher's
send to the subscriber's recv, of what did arrive. Clients and server share the machine: a server
that cannot keep up shows it there, and its CPU a delivery is better judged at the lower rate.

Channels uses channels_redis in its documented default (`core`), on uvicorn in its alternative
(`pubsub`) too, with a redis-server (Debian's package of that name) of its own on a free port.
"""

import argparse
import multiprocessing
import select
import shutil
import socket
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import environments, figures, load
from benchmarks.servers import Contender, Failed, Server, channels, cluster

PATH = "/broadcast/benchmark/"
NUMBER, CLOCK = slice(0, 8), slice(9, 24)
PAYLOAD = 24  # bytes
FRAME = 2 + PAYLOAD
WARM_UP_WITHIN = 30.0  # seconds
QUIET_S = 3.0  # without a delivery: what has not come by then is lost
FORK = multiprocessing.get_context("fork")


def message(number: int, now: float) -> bytes:
    """24 bytes: the number from 1 on (0: does not count), and the monotonic clock in seconds."""
    return b"%08d %015.6f" % (number, now)


class Subscribers:
    """Connections that record what arrives: how many, in which order, how late."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.received = 0
        self.disorder = 0
        self.hung_up = 0
        self.warm: set[int] = set()
        self.latencies = array("f")  # seconds
        self._by_fd = {sock.fileno(): sock for sock in sockets}
        self._newest = dict.fromkeys(self._by_fd, 0)
        self._left: dict[int, bytes] = {}

    def take(self, fd: int) -> bool:
        """Read what has come on one connection; False if the server has hung up."""
        try:
            received = self._by_fd[fd].recv(load.RECEIVE)
        except ConnectionError:
            received = b""
        now = time.monotonic()
        if not received:
            self.hung_up += 1
            return False
        if fd in self._left:
            received = self._left.pop(fd) + received
        if len(received) == FRAME and received[1] == PAYLOAD:  # what nearly always comes
            self.count(fd, received[2:], now)
            return True
        frames, rest = load.split_frames(received)
        if rest:
            self._left[fd] = rest
        for opcode, payload in frames:
            if opcode == load.PING:
                self._by_fd[fd].send(load.client_frame(payload, load.PONG))
            elif opcode == load.TEXT:
                self.count(fd, payload, now)
        return True  # a Close frame is followed by the end of the connection

    def count(self, fd: int, payload: bytes, now: float) -> None:
        """One delivery."""
        number = int(payload[NUMBER])
        if not number:
            self.warm.add(fd)
            return
        if number <= self._newest[fd]:
            self.disorder += 1
        self._newest[fd] = number
        self.received += 1
        self.latencies.append(now - float(payload[CLOCK]))

    def found(self) -> tuple[int, int, int, array]:
        """Deliveries, those out of order, connections hung up on, and latencies in seconds."""
        return self.received, self.disorder, self.hung_up, self.latencies


def subscribe(port: int, count: int, talk: Connection) -> None:
    """A process of subscribers: says "open", "warm", and after "measure N" what it has got."""
    load.in_child()
    try:
        sockets = load.connect(port, f"{PATH}?role=subscriber", count, at_once=20)
        subscribers = Subscribers(sockets)
        with select.epoll() as poll:
            for sock in sockets:
                poll.register(sock, select.EPOLLIN)
            poll.register(talk, select.EPOLLIN)
            talk.send("open")
            said_warm, expected, quiet_since = False, 0, float("inf")
            while True:
                events = poll.poll(0.5, load.EVENTS)
                for fd, _ in events:
                    if fd == talk.fileno():
                        expected = talk.recv() * count  # how many were sent: no more will come
                        quiet_since = time.monotonic()
                        poll.unregister(talk)
                    elif not subscribers.take(fd):
                        poll.unregister(fd)
                if not said_warm and len(subscribers.warm) == count:
                    talk.send("warm")
                    said_warm = True
                if expected:
                    if events:
                        quiet_since = time.monotonic()
                    quiet = time.monotonic() - quiet_since > QUIET_S
                    if quiet or subscribers.received >= expected:
                        break
        talk.send(subscribers.found())
    except (OSError, Failed) as error:
        talk.send(f"subscribers: {error}")


class Audience:
    """The processes of subscribers, as a context manager."""

    def __init__(self, port: int, count: int, processes: int) -> None:
        self._talks: list[Connection] = []
        self._processes: list[Any] = []
        for number in range(processes):
            share = count // processes + (number < count % processes)
            ours, theirs = FORK.Pipe()
            process = FORK.Process(target=subscribe, args=(port, share, theirs), daemon=True)
            process.start()
            theirs.close()
            self._talks.append(ours)
            self._processes.append(process)

    def __enter__(self) -> "Audience":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def ready(self) -> bool:
        """Whether each process has something to say."""
        return all(talk.poll() for talk in self._talks)

    def hear(self, seconds: float) -> list[Any]:
        """What each process says next; Failed if it is bad news or takes too long."""
        deadline = time.monotonic() + seconds
        said = []
        for talk in self._talks:
            if not talk.poll(max(0, deadline - time.monotonic())):
                raise Failed("the subscribers are not all there, or got nothing")
            said.append(talk.recv())
            if isinstance(said[-1], str) and said[-1] not in ("open", "warm"):
                raise Failed(said[-1])
        return said

    def expect(self, messages: int) -> None:
        """Tell that so many were sent, and no more will be."""
        for talk in self._talks:
            talk.send(messages)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent to whom."""

    subscribers: int
    processes: int
    rate: float  # messages a second
    seconds: float


def publish(sock: socket.socket, rate: float, seconds: float) -> int:
    """Send numbered messages at a steady rate; how many."""
    count = max(1, round(rate * seconds))
    start = time.monotonic()
    for number in range(1, count + 1):
        pause = start + (number - 1) / rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        load.send_all(sock, load.client_frame(message(number, time.monotonic())))
    return count


def broadcast(server: Server, others: Sequence[Server], plan: Plan) -> figures.Figures:
    """One run; the CPU of `others` counts as the server's."""
    with Audience(server.port, plan.subscribers, plan.processes) as audience:
        audience.hear(60)
        (publisher,) = load.connect(server.port, f"{PATH}?role=publisher", 1)
        with publisher:
            deadline = time.monotonic() + WARM_UP_WITHIN
            while not audience.ready() and time.monotonic() < deadline:
                load.send_all(publisher, load.client_frame(message(0, 0)))
                time.sleep(0.2)
            audience.hear(1)
            before = sum(each.cpu() for each in (server, *others))
            sent = publish(publisher, plan.rate, plan.seconds)
            audience.expect(sent)
            heard = audience.hear(300)
            used = sum(each.cpu() for each in (server, *others)) - before
    latencies = sorted(latency for *_, part in heard for latency in part)
    received = sum(part for part, *_ in heard)
    return {
        "deliveries": received,
        "missing %": (1 - received / (sent * plan.subscribers)) * 100,
        "out of order": sum(disorder for _, disorder, _, _ in heard),
        "hung up on": sum(hung_up for _, _, hung_up, _ in heard),
        **{f"p{part} ms": figures.percentile(latencies, part) * 1000 for part in (50, 99, 99.9)},
        "µs CPU a delivery": used / received * 1e6 if received else float("nan"),
        "CPU s": used,
    }


@contextmanager
def redis(folder: Path) -> Iterator[Server]:
    """A redis-server that keeps nothing, on a free port."""
    program = shutil.which("redis-server")
    if program is None:
        raise Failed(
            "no redis-server on PATH, which Channels needs for this; on Debian and Ubuntu:"
            " apt-get install redis-server. Without it: --only cluster"
        )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir"]
    command += [str(folder), "--appendonly", "no", "--daemonize", "no"]
    ready = r"(?s)port=(\d+).*Ready to accept connections"
    with Server(Contender("redis", command, ready), folder) as server:
        yield server


def contenders(options: argparse.Namespace) -> tuple[list[Contender], dict[str, dict[str, str]]]:
    """The cluster, and Channels by $CHANNELS_REDIS, which is filled in when Redis is up."""
    found = [cluster(options.nodes)]
    if options.only and options.only.lower() in found[0].name:
        return found, {}
    python = environments.python_for("channels", options.cache)
    for name in ("uvicorn", "Daphne"):
        found.append(channels(name, python, options.nodes, PATH, redis="yes"))
    core = found[1]
    pubsub = {**core.environment, "CHANNELS_LAYER": "pubsub"}
    found.insert(2, replace(core, name=f"{core.name} (pubsub)", environment=pubsub))
    return found, {"channels": environments.versions("channels", python)}


def measure(contender: Contender, folder: Path, plan: Plan) -> figures.Figures:
    """One run of one server, with a Redis if it wants one."""
    wants_redis = "CHANNELS_REDIS" in contender.environment
    with redis(folder) if wants_redis else nullcontext() as store:
        if store is not None:
            url = {"CHANNELS_REDIS": f"redis://127.0.0.1:{store.port}"}
            contender = replace(contender, environment={**contender.environment, **url})
        with Server(contender, folder) as server:
            try:
                return broadcast(server, [store] if store is not None else [], plan)
            except Failed as error:
                raise Failed(f"{error}\n{server.output()[-2000:]}") from error


def parser() -> argparse.ArgumentParser:
    found = figures.arguments("broadcast", __doc__)
    environments.add_option(found)
    found.add_argument("--subscribers", type=int, default=1_000, help="(1000)")
    found.add_argument("--rates", default="100,5", help="messages a second, with commas (100,5)")
    found.add_argument("--seconds", type=float, default=3.0, help="of publishing (3)")
    found.add_argument("--nodes", type=int, default=4, help="processes of each server (4)")
    found.add_argument("--processes", type=int, default=1, help="of the subscribers (1)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    load.allow_descriptors(options.subscribers)
    before = figures.machine()
    everybody, versions = contenders(options)
    rates = [float(rate) for rate in options.rates.split(",")]
    at_rates = [
        (replace(contender, name=f"{contender.name}, {rate:g}/s"), rate)
        for rate in rates
        for contender in figures.chosen(everybody, options.only)
    ]
    rate_of = {contender.name: rate for contender, rate in at_rates}
    with figures.scratch_folder() as folder:
        results = figures.measured(
            [contender for contender, _ in at_rates],
            options.rounds,
            lambda contender: measure(
                contender,
                folder,
                Plan(
                    options.subscribers,
                    options.processes,
                    rate_of[contender.name],
                    options.seconds,
                ),
            ),
        )
    found = figures.report(options, before, results, ["µs CPU a delivery"], versions)
    figures.print_report(found, options.json)
    return 0


if __name__ == "__main__":
    figures.run(main)
