"""What a channel layer costs, against channels_redis: `python -m benchmarks.channel_layer`.

    python -m benchmarks.channel_layer                  three rounds: 4 min
    python -m benchmarks.channel_layer --only cluster --rounds 1

Two server processes have half of the receivers each; a receiver is a loop that awaits `receive`.
One process sends messages to their group, twenty a second, then messages to one channel of the
other process. The CPU time is that of all processes: nodes, broker and supervisor of the cluster,
or the workers of uvicorn and Redis.

channels_redis has two layers: `core` is the documented default, `pubsub` its alternative.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import command, environments, load
from benchmarks.broadcast import with_redis
from benchmarks.measurements import Measurements
from benchmarks.servers import Candidate, Failed, Server, cluster, uvicorn
from workers.cli.argument_types import positive

PROCESSES = 2
EVERY_S = 0.05  # seconds between two messages to the group
WARM_UP = 3  # messages to the group
TO_ONE = 2000  # messages to one channel
ANSWER_S = 120.0
QUIET_S = 1.0  # without a message, after which those that are missing are lost
ATTEMPTS = 100  # connections until each process has one


class Process:
    """A connection to one server process, which does what it is asked."""

    def __init__(self, port: int) -> None:
        (self.socket,) = load.connect(port, "/", 1, greeting=True)
        self._received = b""
        self._frames: list[tuple[int, bytes]] = []
        self.number = self._answer()

    def ask(self, *words: object) -> object:
        """Ask, and wait for the answer."""
        load.send_all(self.socket, load.client_frame(json.dumps(words).encode()))
        return self._answer()

    def _answer(self) -> object:
        while True:
            load.wait_for(self.socket, ANSWER_S)
            part = self.socket.recv(load.RECEIVE)
            if not part:
                raise Failed("the server closed a connection")
            frames, self._received = load.split_frames(self._received + part)
            for opcode, payload in frames:
                if opcode == load.PING:
                    load.send_all(self.socket, load.client_frame(payload, load.PONG))
                elif opcode == load.TEXT:
                    return json.loads(payload)


def processes(port: int) -> list[Process]:
    """Connect to each of the server's processes."""
    found: dict[object, Process] = {}
    for _ in range(ATTEMPTS):
        process = Process(port)
        if process.number in found:
            process.socket.close()
        found.setdefault(process.number, process)
        if len(found) == PROCESSES:
            return list(found.values())
    raise Failed(f"{ATTEMPTS} connections reached {len(found)} of {PROCESSES} processes")


def wait_received(asked: Sequence[Process], wanted: int) -> int:
    """Wait until so many messages were received, or no more come; returns how many."""
    before, since = -1, time.monotonic()
    while True:
        received = sum(int(str(process.ask("count"))) for process in asked)
        if received != before:
            before, since = received, time.monotonic()
        if received >= wanted or time.monotonic() - since > QUIET_S:
            return received
        time.sleep(0.05)


def measured(
    servers: Sequence[Server], asked: Sequence[Process], wanted: int, run: Callable[[], object]
) -> tuple[float, int]:
    """CPU seconds of a run with all its deliveries, and how many there were."""
    before = wait_received(asked, 0)
    began = sum(server.cpu() for server in servers)
    run()
    received = wait_received(asked, before + wanted) - before
    return sum(server.cpu() for server in servers) - began, received


def measure(candidate: Candidate, folder: Path, receivers: int, messages: int) -> Measurements:
    """Make one run of one server, with a Redis server if it needs one."""
    with (
        with_redis(candidate, folder) as (candidate, stores),
        Server(candidate, folder) as server,
    ):
        asked = processes(server.port)
        try:
            return _measure([server, *stores], asked, receivers, messages)
        except (Failed, OSError) as error:
            raise Failed(f"{error}\n{server.output()[-2000:]}") from error
        finally:
            load.close([process.socket for process in asked])


def _measure(
    servers: Sequence[Server], asked: Sequence[Process], receivers: int, messages: int
) -> Measurements:
    sender, other = asked
    for process in asked:
        process.ask("receive", receivers // PROCESSES)
    sender.ask("group", WARM_UP, EVERY_S)
    wait_received(asked, WARM_UP * receivers)
    wanted = receivers * messages
    to_group, delivered = measured(
        servers, asked, wanted, lambda: sender.ask("group", messages, EVERY_S)
    )
    channel = other.ask("channel")
    to_one, arrived = measured(servers, asked, TO_ONE, lambda: sender.ask("send", channel, TO_ONE))
    return {
        "µs CPU a delivery, group": to_group / max(1, delivered) * 1e6,
        "lost": float(wanted - delivered),
        "µs CPU a message, one channel": to_one / max(1, arrived) * 1e6,
        "lost of these": float(TO_ONE - arrived),
    }


def candidates(options: argparse.Namespace) -> tuple[list[Candidate], command.Versions]:
    """Return the cluster and both layers of channels_redis."""
    found = [cluster(PROCESSES, "--settings", "benchmarks.layer_site")]
    if options.only and options.only.lower() in found[0].name:
        return found, {}
    python = environments.python_for("channels", options.cache)
    for layer in ("core", "pubsub"):
        environment = {"CHANNELS_LAYER": layer, "CHANNELS_REDIS": "yes"}
        name = f"channels_redis ({layer}), {PROCESSES} workers of uvicorn"
        found.append(uvicorn(name, python, PROCESSES, "layer_site", "/", environment))
    return found, {"channels": environments.versions("channels", python)}


def parser() -> argparse.ArgumentParser:
    found = command.arguments("channel_layer", __doc__)
    add = found.add_argument
    add("--receivers", type=positive, default=1000, metavar="N", help="in the group (1000)")
    add("--messages", type=positive, default=200, metavar="N", help="to the group (200)")
    environments.add_option(found)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return command.compare(
        options,
        100,
        lambda: candidates(options),
        lambda candidate, folder: measure(candidate, folder, options.receivers, options.messages),
        ("µs CPU a delivery, group", "µs CPU a message, one channel"),
    )


if __name__ == "__main__":
    command.run(main)
