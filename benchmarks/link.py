"""CPU time of a publication to another node, in publisher, broker and receiver.

    python -m benchmarks.link [--runs 3] [--json]

A real broker and two nodes without clients run in one process each, connected by ipc. The publisher
sends batches of 1, 10 and 100 publications, as a node does at the end of an iteration of its event
loop (a busy node sends larger batches). A publication has 32 bytes and goes to one of 1,000 topics;
the receiver has a connection that subscribes to each. The command prints the CPU time of all
threads in µs per publication, as the median of the runs.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import command, roles

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


def measure(batch: int) -> dict[str, float]:
    """Make one run; returns the CPU time in µs per publication, by role."""
    with roles.roles() as running:
        address = f"ipc://{running.folder}/broker.ipc"
        for role in ("broker", "receiver", "publisher"):
            start = [sys.executable, "-m", "benchmarks.link", "--play", role, address, str(batch)]
            running.start(role, start)
        return running.measure("publisher", "receiver", BATCHES[batch])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command.parser("link", __doc__)
    roles.main(parser, arguments, play, measure, ("batches", list(BATCHES)), ROLES)


if __name__ == "__main__":
    main()
