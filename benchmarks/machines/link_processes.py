"""The processes of a link over two machines: a node and a broker with an uplink on each.

    python -m benchmarks.machines.link_processes broker A ADDRESS --redis URL
    python -m benchmarks.machines.link_processes publisher A ADDRESS
    python -m benchmarks.machines.link_processes receiver B ADDRESS

Each prints "ready", reads commands, one a line, and ends with its standard input:

    publish LOAD        publisher: send the publications of LOAD
    subscribe FROM TO   publisher: subscribe to so many topics of its own
    turns               broker: print the number of turns that it has written; 0 without a Redis

The receiver prints a line with the number of publications at the end of a load, and after `know
TOPIC` another one when it knows that the publisher's node wants this topic.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.link import Subscriber

TOPICS = [b"topic/%d" % n for n in range(1000)]
END = b"end"
OWN_TOPIC = b"user/%d"
ATTEMPT_S = 0.01


class Load(NamedTuple):
    """Publications: how many in all and in a batch, of how many bytes, and batches a second.

    A rate of 0 is as fast as the publisher's node can.
    """

    publications: int
    batch: int
    size: int = 32
    rate: float = 0.0


LOADS = {
    "1, alone": Load(2_000, 1, rate=500.0),
    "1": Load(30_000, 1),
    "10": Load(150_000, 10),
    "100": Load(400_000, 100),
    "10 of 1 KB": Load(60_000, 10, 1024),
}
"""By publications in a batch. The first one has nothing that could travel with it."""

SUBSCRIBED_A_TURN = 10


def frame(size: int) -> bytes:
    """Return a WebSocket frame of so many bytes in all."""
    if size < 128:
        return b"\x81" + bytes([size - 2]) + bytes(size - 2)
    return b"\x81\x7e" + (size - 4).to_bytes(2, "big") + bytes(size - 4)


def play(arguments: argparse.Namespace) -> None:
    """Run one of the processes until its standard input ends."""
    from cluster.cli.process_setup import install_asyncio_reactor

    install_asyncio_reactor()
    from twisted.internet import reactor, stdio
    from twisted.internet.protocol import connectionDone
    from twisted.protocols.basic import LineOnlyReceiver

    twisted_reactor: Any = reactor
    role = {"broker": _broker, "publisher": _publisher, "receiver": _receiver}[arguments.role]
    command = role(twisted_reactor, arguments)

    class Commands(LineOnlyReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:
            command(*line.decode().split(" ", 1))

        def connectionLost(self, reason: Any = connectionDone) -> None:
            twisted_reactor.stop()

    stdio.StandardIO(Commands())
    twisted_reactor.run()


def _say(what: object) -> None:
    print(what, flush=True)


def _broker(reactor: Any, arguments: argparse.Namespace) -> Callable[..., None]:
    if not arguments.redis:
        from cluster.broker.broker import Broker

        Broker(arguments.address, reactor).startService()
        _say("ready")
        return lambda name: _say(0)
    from cluster.broker.gateway_broker import make_gateway

    config = {
        "url": arguments.redis,
        "machine": arguments.machine,
        "site": "benchmark",
        "fingerprint": "benchmark",
        "owner": arguments.machine,
    }
    broker = make_gateway(arguments.address, reactor, config, "")
    broker.startService()

    def look() -> None:
        if broker.stats()["uplink"]["state"] == "joined":
            _say("ready")
        else:
            reactor.callLater(ATTEMPT_S, look)

    look()
    return lambda name: _say(broker.stats()["uplink_turns"])


def _node(reactor: Any, arguments: argparse.Namespace) -> tuple[Any, list[Any]]:
    from cluster.pubsub.pubsub import PubSub
    from cluster.pubsub.zmq_bus import ZmqBus

    dirty: list[Any] = []
    bus = ZmqBus(f"{arguments.role}@{arguments.machine}", arguments.address, reactor)
    pubsub = PubSub(bus, dirty, lambda: None, reactor)
    bus.start(pubsub)
    return pubsub, dirty


def _publisher(reactor: Any, arguments: argparse.Namespace) -> Callable[..., None]:
    pubsub, _ = _node(reactor, arguments)
    subscriber = Subscriber()

    def look() -> None:
        if pubsub.bus.is_up and pubsub.publish(TOPICS[-1], frame(32))[0]:
            _say("ready")
        else:
            reactor.callLater(ATTEMPT_S, look)

    def publish(load: Load, left: int) -> None:
        if pubsub.bus.queued_bytes == 0 and not pubsub.full:
            payload = frame(load.size)
            for n in range(load.batch):
                pubsub.publish(TOPICS[(left - n) % len(TOPICS)], payload)
            pubsub.flush()
            left -= load.batch
        if left > 0:
            reactor.callLater(1 / load.rate if load.rate else 0, publish, load, left)
        else:
            pubsub.publish(END, frame(32))
            pubsub.flush()

    def subscribe(number: int, last: int) -> None:
        for each in range(number, min(number + SUBSCRIBED_A_TURN, last)):
            pubsub.subscribe(subscriber, OWN_TOPIC % each)
        pubsub.flush()
        if number + SUBSCRIBED_A_TURN < last:
            reactor.callLater(0, subscribe, number + SUBSCRIBED_A_TURN, last)

    def command(name: str, words: str) -> None:
        if name == "publish":
            publish(LOADS[words], LOADS[words].publications)
        else:
            subscribe(*map(int, words.split()))

    look()
    return command


def _receiver(reactor: Any, arguments: argparse.Namespace) -> Callable[..., None]:
    pubsub, dirty = _node(reactor, arguments)
    received = 0
    for topic in TOPICS:
        pubsub.subscribe(Subscriber(), topic)

    def take() -> None:
        nonlocal received
        for subscriber in dirty:
            received += len(subscriber.out)
            subscriber.out.clear()
        dirty.clear()

    def end(frame: bytes) -> None:
        nonlocal received
        take()
        _say(received)
        received = 0

    pubsub.listen(END, end)
    take_batch = pubsub.bus_batch

    def bus_batch(origin: str, data: bytes) -> None:
        take_batch(origin, data)
        take()

    def know(name: str, topic: str) -> None:
        if pubsub.publish(topic.encode(), frame(32))[0]:
            _say("known")
        else:
            reactor.callLater(ATTEMPT_S, know, name, topic)

    pubsub.bus_batch = bus_batch
    pubsub.on_up = lambda: _say("ready")
    return know


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("role", choices=("broker", "publisher", "receiver"))
    add("machine")
    add("address")
    add("--redis", default="")
    play(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
