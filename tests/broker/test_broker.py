"""The broker and nodes over real sockets, and malformed messages to the broker."""

import os
import socket
import stat
from dataclasses import replace
from typing import Any

import zmq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.broker import queues
from cluster.broker.broker import Broker
from cluster.core import wire
from cluster.core.wire.batches import encode_batch
from cluster.net.bus_keys import BusKeys, make_keys
from cluster.pubsub import remote_nodes, zmq_bus
from tests.pubsub.links import LinkedNode, LinksTestCase, kill, reactor

ROUNDS = 30
TOPICS = 20


class ClusterTests(LinksTestCase):
    """Nodes around a broker."""

    async def test_all_nodes_know_all_subscriptions_before_a_release(self) -> None:
        """In each of many rounds, released nodes publish at once and reach all subscribers."""
        self.start_broker()
        nodes = await self.nodes("a", "b", "c")
        for game in range(ROUNDS):
            topics = [b"%d/%d" % (game, n) for n in range(TOPICS)]
            received = [node.subscribe(*topics) for node in nodes]
            receipts: list[tuple[int, int]] = []
            for node in nodes:
                node.pubsub.barriers.arrive(
                    f"game {game}", len(nodes), self.publisher(node, topics, receipts), self.fail
                )
            expected = len(nodes) * TOPICS
            await self.until(lambda all=received, n=expected: all_have(all, n))
            self.assertEqual(set(receipts), {(3, 1)})

    def publisher(self, node: LinkedNode, topics: list[bytes], receipts: list[Any]) -> Any:
        def publish() -> None:
            receipts.extend(node.pubsub.publish(topic, b"a frame") for topic in topics)

        return publish

    async def test_ten_thousand_publications_arrive_in_order(self) -> None:
        """Two publishers send at the same time; the publications of a turn are one batch."""
        broker = self.start_broker()
        a, b, c = await self.nodes("a", "b", "c")
        received = c.subscribe(b"t")
        await self.until(
            lambda: all(node.pubsub.remote_nodes.subscriptions.get(b"t") for node in (a, b))
        )
        batches = broker.stats()["batches_forwarded"]
        sent = 0

        def publish() -> None:
            nonlocal sent
            for _ in range(100):
                a.pubsub.publish(b"t", b"a %d" % sent)
                b.pubsub.publish(b"t", b"b %d" % sent)
                sent += 1
            if sent < 5_000:
                reactor.callLater(0, publish)

        publish()
        await self.until(lambda: len(received) == 10_000)
        for publisher in (b"a", b"b"):
            frames = [frame for frame in received if frame.startswith(publisher)]
            self.assertEqual(frames, [b"%s %d" % (publisher, n) for n in range(5_000)])
        self.assertLessEqual(broker.stats()["batches_forwarded"] - batches, 200)
        self.assertEqual(c.pubsub.batches.gaps, 0)

    async def test_another_broker_at_the_same_address(self) -> None:
        """Nodes reconnect and send their state again; publications meanwhile arrive once."""
        first = self.start_broker()
        a, b, c = await self.nodes("a", "b", "c")
        received = [node.subscribe(b"t") for node in (b, c)]
        kept = c.subscribe(b"kept")
        released: list[str] = []
        for name, node in (("a", a), ("b", b)):
            node.pubsub.barriers.arrive(
                "game", 3, lambda name=name: released.append(name), self.fail
            )
        a.pubsub.publish_retained(b"kept", b"before", 1)
        await self.until(
            lambda: (
                kept == [b"before"]
                and len(a.pubsub.remote_nodes.subscriptions.get(b"t") or ()) == 2
            )
        )
        a.pubsub.publish(b"t", b"1")
        await self.until(lambda: all_have(received, 1))
        self.stop_broker(first)
        a.pubsub.publish(b"t", b"2")  # the node has not noticed the loss yet
        await self.until(self.polled(lambda: not any(n.bus.is_up for n in (a, b, c))))
        for n in range(3, 6):
            a.pubsub.publish(b"t", b"%d" % n)
            await self.until(self.polled(lambda: not a.pubsub.batches.dirty))
        a.pubsub.publish_retained(b"kept", b"meanwhile", 1)
        late = b.subscribe(b"kept")
        self.assertGreater(a.pubsub.queued_bytes, 0)
        self.start_broker()
        c.pubsub.barriers.arrive("game", 3, lambda: released.append("c"), self.fail)
        await self.until(lambda: kept[-1:] == late[-1:] == [b"meanwhile"] and len(released) == 3)
        await self.until(lambda: all(frames[-1] == b"5" for frames in received))
        for frames, node in zip(received, (b, c), strict=True):
            self.assertEqual(frames, [b"1", b"2", b"3", b"4", b"5"])
            self.assertEqual(node.pubsub.batches.gaps, 0)
        self.assertEqual(kept, [b"before", b"meanwhile"])
        # The acknowledgement to a is sent on another link than the frames to b and c, so it may
        # arrive after them.
        await self.until(lambda: a.pubsub.queued_bytes == 0)
        self.assertEqual(a.pubsub.dropped, {})

    async def test_a_killed_node_loses_its_subscriptions_and_its_arrivals(self) -> None:
        broker = self.start_broker()
        a, b, c = await self.nodes("a", "b", "c")
        b.subscribe(b"t")
        released: list[str] = []
        for node, name in ((a, "a"), (c, "c")):
            node.pubsub.barriers.arrive("all", 0, lambda n=name: released.append(n), self.fail)
        await self.until(
            lambda: (
                b"t" in a.pubsub.remote_nodes.subscriptions
                and b"t" in c.pubsub.remote_nodes.subscriptions
            )
        )
        self.assertEqual(released, [])
        self.patch(remote_nodes, "AWAY_S", 0.0)
        kill(b.bus)
        await self.until(self.polled(lambda: sorted(released) == ["a", "c"]))
        await self.until(self.polled(lambda: a.pubsub.remote_nodes.names == ("c",)))
        self.assertEqual(a.pubsub.publish(b"t", b"x"), (0, 0))
        self.assertEqual(broker.stats()["nodes"], 2)


def all_have(lists: list[list[bytes]], count: int) -> bool:
    return all(len(frames) >= count for frames in lists)


class MalformedTests(LinksTestCase):
    """A process that violates the protocol does not affect the nodes."""

    async def answered(self, stranger: Any, message: wire.Message = wire.Hello()) -> None:  # noqa: B008
        """Wait until the broker has processed all that the stranger has sent."""
        before = len(stranger.answers)
        stranger.send(wire.encode(message))
        await self.until(lambda: len(stranger.answers) > before)

    async def test_malformed_messages_are_dropped_and_counted(self) -> None:
        broker = self.start_broker()
        (_, a_receiver), (_, b_receiver) = await self.buses("a", "b")
        stranger = self.start_stranger()
        malformed = [
            (b"",),  # no parts but the sender's
            (b"?",),
            (b"I\xff\xff\xff\xff",),
            (wire.encode(wire.Joined("x"))[:-1],),
            (b"one", b"two"),
            (b"one", b"two", b"three"),
            (b"",) * 20,
            (bytes(5_000_000),),
            *((os.urandom(n),) for n in range(1, 200, 20)),
        ]
        malformed = [parts for parts in malformed if parts[0][:1] not in (b"H", b"G")]
        for parts in malformed:
            stranger.send(*parts)
        await self.answered(stranger)
        dropped = broker.stats()["messages_dropped"]
        self.assertEqual(sum(dropped.values()), len(malformed))
        self.assertGreaterEqual(dropped["malformed"], 8)
        joined = wire.Joined("stranger")
        await self.until(lambda: a_receiver.events == b_receiver.events == [joined])

    async def test_a_name_that_is_not_utf8(self) -> None:
        broker = self.start_broker()
        stranger, other = self.start_stranger(b"\xff\xfe"), self.start_stranger(b"named")
        await self.answered(other)
        stranger.send(wire.encode(wire.Hello()))
        stranger.send(wire.BATCH + b"named", b"a batch")
        expected = {"malformed": 1, "unknown_sender": 1}
        await self.until(self.polled(lambda: broker.stats()["messages_dropped"] == expected))
        self.assertEqual(stranger.answers, [])
        self.assertEqual(broker.stats()["nodes"], 1)

    async def test_a_node_of_another_version_is_rejected(self) -> None:
        broker = self.start_broker()
        stranger = self.start_stranger()
        await self.answered(stranger, wire.Hello(wire.VERSION + 1))
        self.assertIsInstance(wire.decode(stranger.answers[0][0]), wire.Rejected)
        self.assertEqual(broker.stats()["nodes"], 0)

    async def test_a_process_that_has_not_sent_hello_is_asked_once(self) -> None:
        broker = self.start_broker()
        ((_, a_receiver),) = await self.buses("a")
        stranger = self.start_stranger()
        for _ in range(5):
            stranger.send(wire.BATCH + b"a", encode_batch(1, [b"t", b"x"]))
        stranger.send(wire.encode(wire.NodeSubscriptions("stranger", (b"t",))))
        stranger.send(wire.encode(wire.Hello()))
        await self.until(lambda: len(stranger.answers) == 2)
        first, second = (wire.decode(parts[0]) for parts in stranger.answers)
        self.assertEqual(first, wire.UnknownNode())
        self.assertIsInstance(second, wire.Welcome)
        self.assertEqual(broker.stats()["messages_dropped"], {"unknown_sender": 6})
        await self.until(lambda: a_receiver.events == [wire.Joined("stranger")])

    async def test_batches_to_unknown_nodes(self) -> None:
        broker = self.start_broker()
        (a, _), (_, b_receiver) = await self.buses("a", "b")
        for name in ("", "unknown", "ä" * 300):
            a.send_batch(name, b"a batch")
        a.send_batch("b", b"for b")
        await self.until(lambda: b_receiver.events == [("a", b"for b")])
        self.assertEqual(broker.stats()["messages_dropped"], {"node_gone": 3})
        self.assertEqual(broker.stats()["nodes"], 2)

    async def test_strangers_that_are_gone_are_forgotten(self) -> None:
        broker = self.start_broker()
        stranger = self.start_stranger()
        stranger.send(wire.encode(wire.Goodbye()))
        await self.until(lambda: len(stranger.answers) == 1)
        self.assertEqual(broker._asked, {b"stranger"})
        stranger.stop()
        forgotten = self.until(lambda: not broker._asked)
        self.patch(
            broker,
            "node_unreachable",
            lambda node: (Broker.node_unreachable(broker, node), self.changed()),
        )
        await forgotten


class KeyTests(LinksTestCase):
    """A broker on TCP: nodes with the right keys can connect, and no other process."""

    def setUp(self) -> None:
        super().setUp()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        make_keys(str(self.folder / "keys"))
        make_keys(str(self.folder / "others"))
        self.keys = BusKeys.load(str(self.folder / "keys"), "node")
        self.others = BusKeys.load(str(self.folder / "others"), "node")
        self.broker_keys = BusKeys.load(str(self.folder / "keys"), "broker")

    def test_tcp_without_keys_is_refused(self) -> None:
        self.assertRaises(ValueError, Broker, self.address, reactor)

    async def test_nodes_with_the_right_keys(self) -> None:
        broker = self.start_broker(self.broker_keys)
        a, _ = self.start_bus("a", self.keys)
        b, b_receiver = self.start_bus("b", self.keys)
        await self.until(lambda: a.is_up and b.is_up)
        a.send_batch("b", b"a batch")
        await self.until(lambda: ("a", b"a batch") in b_receiver.events)
        self.assertEqual(broker.stats()["connections_refused"], 0)

    async def test_other_keys_are_refused_and_no_other_node_notices(self) -> None:
        broker = self.start_broker(self.broker_keys)
        a, a_receiver = self.start_bus("a", self.keys)
        await self.until(lambda: a.is_up)
        refused = [
            self.start_bus("no-keys")[0],
            self.start_bus("another-key", replace(self.others, accepted=self.keys.accepted))[0],
            self.start_bus("another-broker", replace(self.keys, accepted=self.others.accepted))[0],
        ]
        stranger = self.start_stranger()
        stranger.send(wire.encode(wire.Hello()))
        garbage = socket.create_connection(self.address.removeprefix("tcp://").split(":"))
        self.addCleanup(garbage.close)
        garbage.sendall(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n" + bytes(64))
        self.patch(zmq_bus, "RECONNECT_MAX_MS", 50)
        await self.until(
            self.polled(
                lambda: (
                    broker.stats()["connections_refused"] >= 5
                    and all(bus._refusals for bus in refused)
                )
            )
        )
        self.assertFalse(any(bus.is_up for bus in refused))
        self.assertEqual(stranger.answers, [])
        self.assertEqual(broker.stats()["nodes"], 1)
        self.assertEqual([type(event) for event in a_receiver.events], [wire.Welcome])
        self.assertTrue(a.is_up)

    async def test_a_node_whose_key_is_accepted_later_joins(self) -> None:
        """The broker was started again with new keys, which the node has already."""
        self.patch(zmq_bus, "RECONNECT_MAX_MS", 50)
        strict = replace(self.broker_keys, accepted=self.others.public)
        first = self.start_broker(strict)
        a, _ = self.start_bus("a", self.keys)
        await self.until(self.polled(lambda: a._refusals > 0))
        self.stop_broker(first)
        self.start_broker(self.broker_keys)
        await self.until(lambda: a.is_up)


class LifeTests(LinksTestCase):
    async def test_only_its_own_user_can_connect(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        broker = self.start_broker()
        self.assertTrue(self.successResultOf(broker.ready) is None)
        mode = os.stat(self.folder / "broker.ipc").st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        self.assertEqual(os.umask(0), 0)  # the broker has restored the umask

    async def test_stats_count_batches_nodes_and_dropped_messages(self) -> None:
        broker = self.start_broker()
        (a, _), (_, b_receiver) = await self.buses("a", "b")
        a.send_batch("b", b"12345")
        await self.until(lambda: len(b_receiver.events) == 1)
        statistics = broker.stats()
        self.assertLess(statistics.pop("descriptors"), statistics.pop("descriptor_limit"))
        self.assertEqual(
            statistics,
            {
                "ready": True,
                "nodes": 2,
                "batches_forwarded": 1,
                "bytes_forwarded": 5,
                "queue_bytes": 0,
                "messages_dropped": {},
                "connections_refused": 0,
                "retained_evicted": 0,
                "history_file_bytes": 0,
                "history_file_errors": 0,
            },
        )
        self.stop_broker(broker)
        self.assertFalse(broker.stats()["ready"])

    async def test_stopping_cancels_the_timers(self) -> None:
        """Otherwise trial reports the calls that are left in the reactor."""
        broker = self.start_broker()
        broker._connection_lost()
        broker._queues._retry_timer = reactor.callLater(1, self.fail, "not stopped")

    def test_an_address_that_cannot_be_bound(self) -> None:
        broker = Broker(f"ipc://{self.folder}/no/such/folder", reactor)
        before = set(reactor.getReaders())
        broker.startService()
        self.failureResultOf(broker.ready, zmq.ZMQError)
        self.assertTrue(broker._context.closed)  # an open context blocks in garbage collection
        self.assertEqual(set(reactor.getReaders()), before)
        self.assertFalse(broker.stats()["ready"])
        broker.stopService()


class FakeLink:
    """A ROUTER; the nodes in ``gone`` are unreachable, those in ``full`` do not read."""

    def __init__(self) -> None:
        self.gone: set[bytes] = set()
        self.full: set[bytes] = set()
        self.sent: list[tuple[bytes, Any]] = []

    def send(self, parts: list[bytes]) -> bool:
        if parts[0] in self.gone:
            raise zmq.ZMQError(zmq.EHOSTUNREACH)
        if parts[0] in self.full:
            return False
        message = parts[-1] if len(parts) == 3 or not parts[-1] else wire.decode(parts[-1])
        self.sent.append((parts[0], message))
        return True


class UnreachableTests(SynchronousTestCase):
    """Nodes to which ZeroMQ refuses to send, at the most difficult moments."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.link = FakeLink()
        self.broker = Broker("ipc:///nowhere", self.clock)
        self.broker._queues.link = self.link  # type: ignore[assignment]
        for name in "abc":
            self.broker._received([name.encode(), wire.encode(wire.Hello())])
        self.link.sent.clear()

    def batch(self, size: int, sender: bytes = b"a", destination: bytes = b"b") -> None:
        self.broker._received([sender, wire.BATCH + destination, bytes(size)])

    def messages(self) -> list[tuple[bytes, Any]]:
        """The messages since the last call, without probes."""
        sent, self.link.sent = self.link.sent, []
        return [entry for entry in sent if entry[1] != b""]

    def test_a_lost_connection_is_probed_again(self) -> None:
        """ZeroMQ reports the loss before the node becomes unreachable."""
        self.broker._connection_lost()
        self.assertEqual(self.messages(), [])
        self.link.gone.add(b"b")
        self.clock.advance(queues.RETRY_S)
        left = wire.Left("b")
        self.assertEqual(sorted(self.messages()), [(b"a", left), (b"c", left)])
        self.broker._connection_lost()  # starts the probes again
        self.clock.pump([0.01, 0.1, 1.0, 10.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_node_that_becomes_unreachable_late_is_removed(self) -> None:
        """ZeroMQ's thread had to wait for a processor."""
        self.broker._connection_lost()
        self.clock.pump([0.01, 0.1, 1.0])
        self.link.gone.add(b"b")
        self.clock.advance(10.0)
        left = wire.Left("b")
        self.assertEqual(sorted(self.messages()), [(b"a", left), (b"c", left)])

    def test_a_batch_to_a_node_that_is_gone(self) -> None:
        self.link.gone.add(b"b")
        self.batch(10)
        left = wire.Left("b")
        self.assertEqual(self.messages(), [(b"a", left), (b"c", left)])
        self.assertEqual(self.broker.stats()["messages_dropped"], {"node_gone": 1})

    def test_several_nodes_are_removed_at_once(self) -> None:
        self.link.gone |= {b"b", b"c"}
        self.broker._connection_lost()
        self.assertEqual(sorted(message.node for _, message in self.messages()), ["b", "c"])
        self.assertEqual(self.broker.stats()["nodes"], 1)

    def test_a_node_that_is_gone_while_batches_wait_for_it(self) -> None:
        self.link.full.add(b"b")
        for _ in range(3):
            self.batch(10)
        self.link.gone.add(b"b")
        self.clock.advance(queues.RETRY_S)
        self.assertEqual([message for _, message in self.messages()], [wire.Left("b")] * 2)
        self.assertEqual(self.broker.stats()["messages_dropped"], {"node_gone": 3})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_order_is_kept_while_batches_wait(self) -> None:
        self.link.full.add(b"b")
        for size in (1, 2):
            self.batch(size)
        self.clock.advance(queues.RETRY_S)
        self.link.full.clear()
        self.batch(3)
        self.clock.advance(queues.RETRY_S)
        self.batch(4)
        self.assertEqual([len(batch) for _, batch in self.messages()], [1, 2, 3, 4])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_node_that_joins_learns_which_nodes_are_congested(self) -> None:
        self.patch(queues, "HIGH_WATER", 100)
        self.patch(queues, "LOW_WATER", 10)
        self.link.full |= {b"b", b"c"}
        self.batch(101)
        self.batch(50, destination=b"c")
        self.messages()
        self.broker._received([b"d", wire.encode(wire.Hello())])
        welcome, *rest = [message for node, message in self.messages() if node == b"d"]
        self.assertIsInstance(welcome, wire.Welcome)
        self.assertEqual(rest, [wire.Congested("b")])

    def test_a_hello_starts_with_an_empty_queue(self) -> None:
        """The queued messages were for the old link."""
        self.link.full.add(b"b")
        self.batch(5)
        self.link.full.clear()
        self.broker._received([b"b", wire.encode(wire.Hello())])
        self.clock.advance(queues.RETRY_S)
        to_b = [message for node, message in self.messages() if node == b"b"]
        self.assertEqual(len(to_b), 1)
        self.assertIsInstance(to_b[0], wire.Welcome)

    def test_a_node_disconnected_while_the_queues_are_sent(self) -> None:
        """When b has drained, c is sent Cleared and overflows; its last message must not be
        lost."""
        self.patch(queues, "HIGH_WATER", 100)
        self.patch(queues, "LOW_WATER", 10)
        self.patch(queues, "STALLED", 200)
        self.link.full |= {b"b", b"c"}
        self.batch(101)
        self.batch(195, destination=b"c")
        self.link.full.discard(b"b")
        self.clock.advance(queues.RETRY_S)
        self.assertIn((b"a", wire.Left("c")), self.messages())
        self.link.full.clear()
        self.clock.advance(queues.RETRY_S)
        self.assertEqual(self.messages(), [(b"c", wire.UnknownNode())])
        self.assertEqual(self.broker.stats()["queue_bytes"], 0)
