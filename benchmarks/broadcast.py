"""One publisher, a thousand subscribers: `python -m benchmarks.broadcast`.

    python -m benchmarks.broadcast                   1,000 subscribers, 100 and 5 messages a second
    python -m benchmarks.broadcast --only cluster --rates 100 --rounds 1

Each round restarts every server, with four processes, and connects the subscribers and, from
another process, a publisher. A message has 24 bytes: its number and the time at which it was sent.
The measurement begins when every subscriber has received a message. Then the publisher sends at the
given rate. The CPU time of all server processes, including broker and Redis, is measured from the
first message until the last one has arrived, or until none has arrived for three seconds. A message
that is missing by then was dropped, or its subscriber was disconnected, or it is still in a queue
of the server; a client cannot distinguish these cases. The latency of a message is the time from
the publisher's send to the subscriber's recv. Clients and server share the machine, so a server
that cannot keep up has a high latency: compare its CPU time per delivery at the lower rate.

"Sends alone" is no server: processes that call `send` for each subscriber, and do nothing else. It
shows how much of the cost is the kernel's.

Channels uses channels_redis with its documented default (`core`), and on uvicorn also with its
alternative (`pubsub`). Its redis-server (Debian's package of that name) runs on a free port.
"""

import argparse
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import command, environments, load, measurements
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, channels, cluster, competitor
from benchmarks.subscribers import PATH, PLAIN, Audience, Dialect, message, open_connections
from workers.cli.argument_types import positive, seconds

WARM_UP_WITHIN = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """The load: the number of subscribers, and the messages."""

    subscribers: int
    processes: int
    rate: float  # messages a second
    seconds: float
    burst: int = 1  # messages at once


def publish(sock: socket.socket, plan: Plan, dialect: Dialect = PLAIN) -> int:
    """Send numbered messages at a steady rate; returns their number."""
    count = max(1, round(plan.rate * plan.seconds))
    start = time.monotonic()
    for number in range(1, count + 1):
        before = (number - 1) // plan.burst * plan.burst  # messages of earlier bursts
        pause = start + before / plan.rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        load.send_all(sock, dialect.frame(message(number, time.monotonic())))
    return count


def broadcast(
    servers: Sequence[Server], others: Sequence[Server], plan: Plan, dialect: Dialect = PLAIN
) -> Measurements:
    """Make one run with an equal number of subscribers at each server; the publisher is at the
    first one. The CPU time is that of all `servers` and `others`."""
    with ExitStack() as stack:
        share, rest = divmod(plan.subscribers, len(servers))
        audiences = [
            stack.enter_context(
                Audience(server.port, share + (number < rest), plan.processes, dialect)
            )
            for number, server in enumerate(servers)
        ]
        for audience in audiences:
            audience.hear(60)
        (publisher,) = open_connections(servers[0].port, dialect, "publisher", 1)
        with publisher:
            deadline = time.monotonic() + WARM_UP_WITHIN
            while time.monotonic() < deadline and not all(each.ready() for each in audiences):
                load.send_all(publisher, dialect.frame(message(0, 0)))
                time.sleep(0.2)
            for audience in audiences:
                audience.hear(1)
            before = sum(each.cpu() for each in (*servers, *others))
            sent = publish(publisher, plan, dialect)
            for audience in audiences:
                audience.expect(sent)
            heard = [found for audience in audiences for found in audience.hear(300)]
            used = sum(each.cpu() for each in (*servers, *others)) - before
    latencies = sorted(latency for *_, part in heard for latency in part)
    received = sum(part for part, *_ in heard)
    return {
        "deliveries": received,
        "missing %": (1 - received / (sent * plan.subscribers)) * 100,
        "out of order": sum(disorder for _, disorder, _, _ in heard),
        "disconnected": sum(disconnected for _, _, disconnected, _ in heard),
        **{
            f"p{part} ms": measurements.percentile(latencies, part) * 1000
            for part in (50, 99, 99.9)
        },
        "µs CPU a delivery": used / received * 1e6 if received else float("nan"),
        "CPU s": used,
    }


@contextmanager
def redis(folder: Path) -> Iterator[Server]:
    """A redis-server without persistence, on a free port."""
    program = shutil.which("redis-server")
    if program is None:
        raise Failed(
            "no redis-server on PATH, which Channels needs for this; on Debian and Ubuntu:"
            " apt-get install redis-server. Without it: --only cluster"
        )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir"]
    words += [str(folder), "--appendonly", "no", "--daemonize", "no"]
    ready = r"(?s)port=(\d+).*Ready to accept connections"
    with Server(Candidate("redis", words, ready), folder) as server:
        yield server


@contextmanager
def with_redis(candidate: Candidate, folder: Path) -> Iterator[tuple[Candidate, list[Server]]]:
    """The candidate, and the redis-server that runs for it if its $CHANNELS_REDIS is set."""
    if "CHANNELS_REDIS" not in candidate.environment:
        yield candidate, []
        return
    with redis(folder) as store:
        url = {"CHANNELS_REDIS": f"redis://127.0.0.1:{store.port}"}
        yield replace(candidate, environment={**candidate.environment, **url}), [store]


def candidates(options: argparse.Namespace) -> tuple[list[Candidate], dict[str, dict[str, str]]]:
    """Return the cluster and Channels. $CHANNELS_REDIS is set when Redis is ready."""
    workers = ("--workers", str(options.nodes))
    found = [cluster(options.nodes), competitor("sends alone", sys.executable, "sends", *workers)]
    if options.only and any(options.only.lower() in each.name for each in found):
        return found, {}
    python = environments.python_for("channels", options.cache)
    core, daphne = (
        channels(name, python, options.nodes, PATH, redis="yes") for name in ("uvicorn", "Daphne")
    )
    pubsub = {**core.environment, "CHANNELS_LAYER": "pubsub"}
    found += [core, replace(core, name=f"{core.name} (pubsub)", environment=pubsub), daphne]
    return found, {"channels": environments.versions("channels", python)}


def measure(candidate: Candidate, folder: Path, plan: Plan) -> Measurements:
    """Make one run of one server, with a Redis server if it needs one."""
    with (
        with_redis(candidate, folder) as (candidate, stores),
        Server(candidate, folder) as server,
    ):
        try:
            return broadcast([server], stores, plan)
        except Failed as error:
            raise Failed(f"{error}\n{server.output()[-2000:]}") from error


def parser() -> argparse.ArgumentParser:
    found = command.arguments("broadcast", __doc__)
    environments.add_option(found)
    add = found.add_argument
    add(
        "--subscribers",
        type=positive,
        default=1_000,
        metavar="N",
        help="number of subscribers (1000)",
    )
    add(
        "--rates",
        type=_rates,
        default="100,5",
        metavar="RATE,…",
        help="messages a second, with commas (100,5)",
    )
    add("--seconds", type=seconds, default=3.0, metavar="S", help="of publishing (3)")
    add("--nodes", type=positive, default=4, metavar="N", help="processes of each server (4)")
    add("--processes", type=positive, default=1, metavar="N", help="of the subscribers (1)")
    return found


def _rates(text: str) -> str:
    for rate in text.split(","):
        seconds(rate)
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    rate_of: dict[str, float] = {}

    def at_rates() -> tuple[list[Candidate], command.Versions]:
        """Return each server once for each rate."""
        everybody, versions = candidates(options)
        found = []
        for rate in map(float, options.rates.split(",")):
            for candidate in everybody:
                found.append(replace(candidate, name=f"{candidate.name}, {rate:g}/s"))
                rate_of[found[-1].name] = rate
        return found, versions

    def measure_one(candidate: Candidate, folder: Path) -> Measurements:
        rate = rate_of[candidate.name]
        plan = Plan(options.subscribers, options.processes, rate, options.seconds)
        return measure(candidate, folder, plan)

    return command.compare(
        options, options.subscribers, at_rates, measure_one, ratio_of=["µs CPU a delivery"]
    )


if __name__ == "__main__":
    command.run(main)
