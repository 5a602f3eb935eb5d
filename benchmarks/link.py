"""CPU time of a publication to another node, in publisher, broker and receiver.

    python -m benchmarks.link [--runs 3] [--json]

A real broker and two nodes without clients run in one process each, connected by ipc. The publisher
sends batches of 1, 10 and 100 publications, as a node does at the end of an iteration of its event
loop (a busy node sends larger batches). A publication has 32 bytes and goes to one of 1,000 topics;
the receiver has a connection that subscribes to each. The command prints the CPU time of all
threads in µs per publication, as the median of the runs.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from benchmarks import command
from workers.cli.argument_types import positive

BATCHES = {1: 30_000, 10: 200_000, 100: 400_000}
"""Publications in a batch -> publications in a run."""

TOPICS = [b"topic/%d" % n for n in range(1000)]
FRAME = b"\x81\x1e" + bytes(30)
ROLES = ("publisher", "broker", "receiver")


class Subscriber:
    """A connection that discards everything."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.blocked = False

    def send_frame(self, frame: bytes) -> None:
        self.out.append(frame)

    def send_history(self, frames: Sequence[bytes]) -> None:
        """No topic of this has a history."""


def play(role: str, address: str, batch: int) -> None:
    """Run one of the processes: print "ready", start at "go", end with its standard input."""
    from twisted.internet import reactor, stdio
    from twisted.internet.protocol import Protocol, connectionDone

    twisted_reactor: Any = reactor
    go = {"publisher": _publish, "receiver": _receive, "broker": _forward}[role](
        twisted_reactor, address, batch
    )

    class Commands(Protocol):
        def dataReceived(self, data: bytes) -> None:
            go()

        def connectionLost(self, reason: Any = connectionDone) -> None:
            twisted_reactor.stop()

    stdio.StandardIO(Commands())
    twisted_reactor.run()


def _forward(reactor: Any, address: str, batch: int) -> Callable[[], None]:
    from cluster.broker.broker import Broker

    Broker(address, reactor).startService()
    print("ready", flush=True)
    return lambda: None


def _node(reactor: Any, name: str, address: str) -> tuple[Any, list[Any]]:
    from cluster.pubsub.pubsub import PubSub
    from cluster.pubsub.zmq_bus import ZmqBus

    dirty: list[Any] = []
    bus = ZmqBus(name, address, reactor)
    pubsub = PubSub(bus, dirty, lambda: None, reactor)
    bus.start(pubsub)
    return pubsub, dirty


def _publish(reactor: Any, address: str, batch: int) -> Callable[[], None]:
    pubsub, _ = _node(reactor, "publisher", address)
    left = BATCHES[batch]

    def look() -> None:
        if pubsub.bus.is_up and pubsub.publish(TOPICS[-1], FRAME)[0]:
            print("ready", flush=True)
        else:
            reactor.callLater(0.01, look)

    def publish() -> None:
        nonlocal left
        if pubsub.bus.queued_bytes == 0 and not pubsub.full:
            for n in range(batch):
                pubsub.publish(TOPICS[(left - n) % len(TOPICS)], FRAME)
            pubsub.flush()
            left -= batch
        if left:
            reactor.callLater(0, publish)
        else:
            pubsub.publish(b"end", FRAME)
            pubsub.flush()

    look()
    return publish


def _receive(reactor: Any, address: str, batch: int) -> Callable[[], None]:
    pubsub, dirty = _node(reactor, "receiver", address)
    subscribers = []
    received = 0
    for topic in TOPICS:
        subscriber = Subscriber()
        subscribers.append(subscriber)
        pubsub.subscribe(subscriber, topic)

    def take() -> None:
        nonlocal received
        for subscriber in dirty:
            received += len(subscriber.out)
            subscriber.out.clear()
        dirty.clear()

    def end(frame: bytes) -> None:
        take()
        print(received, flush=True)

    pubsub.listen(b"end", end)
    take_pack = pubsub.bus_batch

    def bus_batch(origin: str, data: bytes) -> None:
        take_pack(origin, data)
        take()

    pubsub.bus_batch = bus_batch
    pubsub.on_up = lambda: print("ready", flush=True)
    return lambda: None


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process, in nanosecond resolution."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def _process(role: str, address: str, batch: int) -> Iterator[tuple[int, IO[bytes], IO[bytes]]]:
    command = [sys.executable, "-m", "benchmarks.link", "--play", role, address, str(batch)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.pid, process.stdin, process.stdout
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


def measure(batch: int) -> dict[str, float]:
    """Make one run; returns the CPU time in µs per publication, by role."""
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="c10k-link-")
        stack.callback(shutil.rmtree, folder)
        address = f"ipc://{folder}/broker.ipc"
        pids, pipes = {}, {}
        for role in ("broker", "receiver", "publisher"):
            pids[role], *pipes[role] = stack.enter_context(_process(role, address, batch))
            if pipes[role][1].readline() != b"ready\n":
                raise RuntimeError(f"the {role} did not start")
        before = {role: cpu_seconds(pid) for role, pid in pids.items()}
        pipes["publisher"][0].write(b"go\n")
        pipes["publisher"][0].flush()
        received = int(pipes["receiver"][1].readline())
        if received < BATCHES[batch]:
            raise RuntimeError(f"{received} of {BATCHES[batch]} publications received")
        return {role: (cpu_seconds(pids[role]) - before[role]) / received * 1e6 for role in ROLES}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command.parser("link", __doc__)
    parser.add_argument(
        "--runs", type=positive, default=3, metavar="N", help="runs of each, interleaved (3)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--play", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.play:
        role, address, batch = options.play
        play(role, address, int(batch))
        return
    runs = [{batch: measure(batch) for batch in BATCHES} for _ in range(options.runs)]
    result = {
        batch: {
            role: round(statistics.median(run[batch][role] for run in runs), 2) for role in ROLES
        }
        for batch in BATCHES
    }
    if options.json:
        print(json.dumps({"unit": "µs CPU a publication", "batches": result}))
        return
    print(f"µs CPU a publication, median of {options.runs}")
    print("publications a batch" + "".join(f"{role:>12}" for role in ROLES))
    for batch, row in result.items():
        print(f"{batch:19}" + "".join(f"{value:12.2f}" for value in row.values()))


if __name__ == "__main__":
    main()
