"""Garbage from the bus: the broker and the nodes drop it, count it, and continue to serve.

The messages are well-formed with senseless content, damaged, or arbitrary bytes. ``_received`` is
what a ZmqSocket calls: an exception there would be logged with a traceback, and may leave a
half-changed state behind.
"""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.broker.broker import Broker
from cluster.core import wire
from cluster.core.wire.batches import encode_acknowledgement, encode_batch
from cluster.core.wire.fields import LIMIT, encode_fields
from cluster.core.wire.topic_messages import MAX_RESTORED
from cluster.pubsub.pubsub import PubSub
from cluster.pubsub.zmq_bus import ZmqBus
from tests.core.wire.test_messages import BY_CLASS, PLAUSIBLE
from tests.fakes import RecordingConnection

NODES = st.sampled_from(["a", "b", "c", "here"])
TOPICS = st.sampled_from([b"t", b"u", b"", b"new\nline"])
NUMBERS = st.sampled_from([0, 1, 2, 3, 7, LIMIT - 1, 2**64 - 1])
TOKENS = st.lists(NUMBERS, max_size=3).map(tuple)
FRAMES = st.lists(st.sampled_from([b"", b"\x81\2hi", b"\xff"]), max_size=3).map(tuple)
TOPIC_LISTS = st.lists(TOPICS, max_size=3).map(tuple)
MEMBERSHIPS = st.lists(st.tuples(TOPICS, st.sampled_from(["", "ada"])), max_size=3).map(tuple)


def retained(cls: Any) -> st.SearchStrategy[wire.Message]:
    return st.builds(
        lambda topic, depth, offset, frames, epochs, sources, number, full: cls(
            topic, depth, max(offset, len(frames)), frames, epochs, (), sources, number, full
        ),
        TOPICS,
        st.integers(0, 3),
        st.sampled_from([0, 1, 2, 3, 9, MAX_RESTORED, 2**64 - 1]),
        FRAMES,
        st.sampled_from(["", "9f3a", "9f3ax1 9f3a:2", "b a:1 0:20"]),
        st.sampled_from(["", "a:7", "b:1 here:2"]),
        NUMBERS,
        st.booleans(),
    )


# Few names, topics and numbers, so that the messages have to do with each other.
RELATED: st.SearchStrategy[wire.Message] = st.one_of(
    st.builds(wire.Hello),
    st.builds(wire.Goodbye),
    st.builds(wire.Welcome, st.sampled_from(["1", "2"]), st.lists(NODES, max_size=3).map(tuple)),
    st.builds(wire.UnknownNode),
    st.builds(wire.Joined, NODES),
    st.builds(wire.Left, NODES, st.booleans()),
    st.builds(wire.Congested, NODES),
    st.builds(wire.Cleared, NODES),
    st.builds(wire.NodeSubscriptions, NODES, TOPIC_LISTS, TOPIC_LISTS),
    st.builds(wire.Arrive, st.just("game"), NUMBERS, TOKENS, st.booleans()),
    st.builds(wire.Withdraw, st.just("game"), TOKENS),
    st.builds(wire.Refuse, st.just("game"), TOKENS),
    st.builds(wire.Release, st.just("game"), TOKENS),
    st.builds(wire.Retain, TOPICS, NUMBERS, st.just(b"\x81\2hi"), NUMBERS, NUMBERS),
    st.builds(wire.Acknowledged, NUMBERS),
    st.builds(wire.Query, TOPICS),
    retained(wire.Restore),
    retained(wire.Retained),
    st.builds(wire.PresenceUpdate, NODES, st.booleans(), MEMBERSHIPS, MEMBERSHIPS),
)
ANY = st.one_of(*BY_CLASS.values())
CONTROL = (
    RELATED.map(wire.encode) | RELATED.map(wire.encode) | ANY.map(wire.encode)
    | PLAUSIBLE | st.binary()
)  # fmt: skip
BATCHES = (
    st.builds(
        lambda number, topics, first, acknowledged, lost: encode_batch(
            number, [part for t in topics for part in (t, b"x")], first, acknowledged, lost
        ),
        st.integers(1, 5),
        TOPIC_LISTS,
        st.sampled_from([1, 2, 9]),
        st.sampled_from([0, 1, 2, 2**64 - 1]),
        TOPIC_LISTS,
    )
    | st.builds(encode_acknowledgement, NUMBERS, st.booleans())
    | st.lists(st.binary(max_size=9), max_size=4).map(
        lambda items: bytes(28) + encode_fields(items)
    )
    | st.binary(max_size=60)
)
PARTS = (
    CONTROL.map(lambda message: [message])
    | CONTROL.map(lambda message: [message])
    | st.tuples(
        (NODES.map(str.encode) | st.binary(max_size=5)).map(lambda name: wire.BATCH + name), BATCHES
    ).map(list)
    | st.lists(st.binary(max_size=5), max_size=4)
)
SENDERS = NODES.map(str.encode) | st.sampled_from([b"\0\1\2\3\4", b"\xff", b""])


ONE_MORE = wire.Retain(b"t", 1, b"\x81\2hi")


def from_a(message: wire.Message) -> tuple[bytes, list[bytes]]:
    return b"a", [wire.encode(message)]


class _Link:
    """A ZmqSocket that takes everything."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []

    def send(self, parts: list[bytes]) -> bool:
        assert all(isinstance(part, bytes) for part in parts)
        self.sent.append(parts)
        return True


class BrokerTests(SynchronousTestCase):
    @example([from_a(wire.Restore(b"t", 1, 2**64 - 1, (), "9f")), from_a(ONE_MORE)])
    @example([from_a(wire.Restore(b"t", 1, MAX_RESTORED, (), "9f")), from_a(ONE_MORE)])
    @example([from_a(wire.Restore(b"t", 1, 1, (b"x",))), from_a(ONE_MORE)])
    @example([from_a(wire.Retain(b"t", 1, b"x", 2**64 - 1))])
    @given(st.lists(st.tuples(SENDERS, PARTS), max_size=25))
    def test_a_broker_survives_and_serves(self, received: list[tuple[bytes, list[bytes]]]) -> None:
        broker = Broker("ipc:///nowhere", Clock())
        link = _Link()
        broker._queues.link = link  # type: ignore[assignment]
        for name in (b"a", b"b"):
            broker._received([name, wire.encode(wire.Hello())])
            broker._received([name, wire.encode(wire.NodeSubscriptions("", (b"t", b"u")))])
        for sender, parts in received:
            broker._received([sender, *parts])
        for name in (b"x", b"y"):
            broker._received([name, wire.encode(wire.Hello())])
        broker._received([b"x", wire.encode(wire.NodeSubscriptions("x", (b"t",)))])
        broker._received([b"y", wire.encode(wire.Retain(b"t", 3, b"frame", 5, 1))])
        broker._received([b"y", wire.BATCH + b"x", b"a batch"])
        *_, publication, acknowledgement, batch = link.sent
        self.assertEqual(publication[0], b"x")
        message = wire.decode(publication[1])
        assert isinstance(message, wire.Retained)
        self.assertEqual(message.frames, (b"frame",))
        self.assertEqual(acknowledgement, [b"y", wire.encode(wire.Acknowledged(1))])
        self.assertEqual(batch, [b"x", wire.BATCH + b"y", b"a batch"])


class NodeTests(SynchronousTestCase):
    @given(st.lists(PARTS, max_size=25))
    def test_a_node_survives_and_publishes(self, received: list[list[bytes]]) -> None:
        clock = Clock()
        bus = ZmqBus("here", "ipc:///nowhere", clock)
        bus._link = _Link()  # type: ignore[assignment]
        pubsub = PubSub(bus, [], lambda: None, clock)
        bus._receiver = pubsub
        bus._awaiting_welcome = True
        connection = RecordingConnection()
        pubsub.subscribe(connection, b"t")
        bus._received([wire.encode(wire.Welcome("1", ("a",)))])
        pubsub.barriers.arrive("game", 2, lambda: None, lambda reason: None)
        pubsub.publish_retained(b"u", b"\x81\2hi", 1)
        for parts in received:
            bus._received(parts)
            pubsub.flush()
        before = len(connection.out)
        self.assertEqual(pubsub.publish(b"t", b"frame")[1], 1)
        self.assertEqual(connection.out[before:], [b"frame"])
        clock.advance(60)
        pubsub.flush()
