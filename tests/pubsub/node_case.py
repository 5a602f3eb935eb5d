"""A node between two others, for the tests of its topics."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.wire.batches import decode_batch, encode_acknowledgement, encode_batch
from cluster.pubsub.pubsub import PubSub
from tests.fakes import RecordingBus, RecordingConnection


class PubSubTestCase(SynchronousTestCase):
    """A node called "here", up, with the nodes a and b, which have sent their subscriptions."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bus = RecordingBus()
        self.dirty: list[Any] = []
        self.scheduled = 0
        self.events: list[Any] = []
        self.pubsub = PubSub(self.bus, self.dirty, self.schedule, self.clock, self.clock.seconds)
        self.pubsub.remote_nodes.on_full = lambda full: self.events.append(
            "full" if full else "free"
        )
        self.pubsub.on_up = lambda: self.events.append("up")
        self.bus.start(self.pubsub)
        self.bus.up("first", "a", "b")
        self.receive(
            wire.NodeSubscriptions("a", (b"t", b"u")), wire.NodeSubscriptions("b", (b"t",))
        )
        self.bus.take()
        self.events.clear()

    def schedule(self) -> None:
        self.scheduled += 1

    def receive(self, *messages: wire.Message) -> None:
        for message in messages:
            self.pubsub.bus_message(message)

    def subscribed(self, *topics: bytes) -> RecordingConnection:
        connection = RecordingConnection()
        for topic in topics:
            self.pubsub.subscribe(connection, topic)
        return connection

    def flushed(self) -> list[Any]:
        """Return what a flush sends, with batches as (node, number, topics and frames)."""
        self.pubsub.flush()
        return self.taken()

    def taken(self) -> list[Any]:
        """Return what was sent, with batches as (node, number, topics and frames)."""
        sent: list[Any] = []
        for item in self.bus.take():
            if isinstance(item, tuple):
                batch = decode_batch(item[1])
                item = (item[0], batch.number, batch.items)
            sent.append(item)
        return sent

    def batch(
        self, number: int, *items: bytes, origin: str = "a", first: int = 1, acknowledged: int = 0
    ) -> None:
        """A batch of another node arrives."""
        self.pubsub.bus_batch(origin, encode_batch(number, items, first, acknowledged))

    def acknowledge(self, number: int, origin: str = "a", resend: bool = False) -> None:
        """Another node has acknowledged the batches up to a number."""
        self.pubsub.bus_batch(origin, encode_acknowledgement(number, resend))
