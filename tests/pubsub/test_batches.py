"""Batches to and from other nodes: delivery, acknowledgements, losses."""

from typing import Any

from twisted.logger import formatEvent, globalLogPublisher

from cluster.core import wire
from cluster.core.acknowledged_batches import ALL_TOPICS
from cluster.core.exceptions import NotPublished
from cluster.core.wire.batches import decode_batch, encode_batch
from cluster.logs.rate_limit import BURST
from cluster.pubsub import batches
from cluster.pubsub import pubsub as module
from cluster.pubsub.batches import ACKNOWLEDGE_S
from tests.pubsub.node_case import PubSubTestCase


class ReceiveTests(PubSubTestCase):
    """Batches of other nodes."""

    def test_frames_go_to_subscribers_and_not_to_other_nodes(self) -> None:
        one, two = self.subscribed(b"t"), self.subscribed(b"t", b"u")
        self.flushed()
        before = self.scheduled
        self.batch(1, b"t", b"1", b"u", b"2", b"v", b"3")
        self.assertEqual((one.out, two.out), ([b"1"], [b"1", b"2"]))
        self.assertEqual(self.dirty, [one, two])
        self.assertEqual(self.scheduled, before + 1)
        self.assertEqual(self.flushed(), [])

    def test_early_batches_are_not_delivered_before_those_that_are_missing(self) -> None:
        connection = self.subscribed(b"t")
        for number in (1, 4, 2, 3, 4):
            self.batch(number, b"t", b"%d" % number)
        self.batch(1, b"t", b"9", origin="b")
        self.assertEqual(connection.out, [b"1", b"2", b"3", b"4", b"9"])
        self.assertEqual((self.pubsub.batches.gaps, self.pubsub.dropped), (0, {}))

    def test_repeated_batches_are_counted_and_not_delivered(self) -> None:
        connection = self.subscribed(b"t")
        for number in (1, 2, 1, 2, 3):
            self.batch(number, b"t", b"%d" % number)
        self.assertEqual(connection.out, [b"1", b"2", b"3"])
        self.assertEqual(self.pubsub.dropped, {"duplicate_batch": 2})

    def test_a_notice_of_lost_publications_is_counted(self) -> None:
        lost: list[Any] = []
        self.pubsub.batches.on_lost = lost.append
        for _ in range(2):
            self.pubsub.bus_batch("a", encode_batch(5, [], 5, 0, [ALL_TOPICS]))
        self.assertEqual((lost, self.pubsub.batches.gaps), ([[ALL_TOPICS]], 1))

    def test_malformed_batches_are_counted(self) -> None:
        connection = self.subscribed(b"t")
        for data in (b"", b"x" * 7, encode_batch(1, [b"t"]), encode_batch(0, [b"t", b"1"])):
            self.pubsub.bus_batch("a", data)
        self.batch(1, b"t", b"1", acknowledged=1)  # of a batch that was not sent
        self.batch(1, b"t", b"1")
        self.assertEqual(connection.out, [b"1"])
        self.assertEqual(self.pubsub.dropped, {"malformed": 5})

    def test_many_malformed_batches_do_not_fill_the_log(self) -> None:
        lines: list[str | None] = []
        observer: Any = lambda event: lines.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(10 * BURST):
            self.pubsub.bus_batch("a", b"")
        line = "dropped a batch of a: 0 bytes are too short for fields from byte 28 on"
        self.assertEqual(lines, [line] * BURST)

    def test_a_batch_may_come_before_its_node_has_joined(self) -> None:
        connection = self.subscribed(b"t")
        self.batch(1, b"t", b"1", origin="c")
        self.receive(wire.Joined("c"))
        self.batch(1, b"t", b"1", origin="c")
        self.assertEqual(connection.out, [b"1"])


class AcknowledgementTests(PubSubTestCase):
    """Acknowledgements, in both directions."""

    def sent(self) -> list[Any]:
        """Return the batches that were sent, decoded, each with its node."""
        return [(node, *decode_batch(data)) for node, data in self.bus.take()]

    def test_the_next_batch_carries_the_acknowledgement(self) -> None:
        self.batch(1, b"v", b"1")
        self.batch(2, b"v", b"2")
        self.pubsub.publish(b"u", b"3")
        self.pubsub.flush()
        self.clock.advance(ACKNOWLEDGE_S)
        self.assertEqual(self.sent(), [("a", 1, 1, 2, [], [b"u", b"3"])])

    def test_without_a_batch_the_acknowledgement_is_sent_after_a_while(self) -> None:
        for number in (1, 2, 3):
            self.batch(number, b"v", b"1")
        self.batch(1, b"v", b"1", origin="b")
        self.clock.advance(ACKNOWLEDGE_S)
        self.assertEqual(self.sent(), [("a", 0, 0, 3, [], []), ("b", 0, 0, 1, [], [])])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_bytes_are_acknowledged_at_once(self) -> None:
        self.patch(batches, "ACKNOWLEDGE_BYTES", 300)
        self.batch(1, b"v", bytes(100))
        self.batch(2, b"v", bytes(100))
        self.pubsub.flush()
        self.assertEqual(self.sent(), [])
        self.batch(3, b"v", bytes(100))
        self.pubsub.flush()
        self.clock.advance(ACKNOWLEDGE_S)
        self.assertEqual(self.sent(), [("a", 0, 0, 3, [], [])])

    def test_many_bytes_are_acknowledged_while_publications_are_dropped(self) -> None:
        # Two nodes that both wait for the other one's acknowledgement would wait indefinitely.
        self.patch(batches, "ACKNOWLEDGE_BYTES", 300)
        self.patch(batches, "LIMIT", 1_000)
        self.pubsub.publish(b"u", bytes(2_000))
        self.flushed()
        self.pubsub.publish(b"u", b"dropped")
        self.batch(1, b"v", bytes(400))
        self.pubsub.flush()
        self.assertEqual(self.sent(), [("a", 0, 0, 1, [], [])])
        self.assertEqual(self.pubsub.dropped, {"bus_queue_full": 1})
        self.batch(2, b"v", bytes(400))  # now only the notice of the loss waits
        self.pubsub.flush()
        self.assertEqual(self.sent(), [("a", 0, 0, 2, [], [])])

    def test_missing_batches_are_asked_for(self) -> None:
        self.batch(2, b"v", b"1")
        self.clock.advance(ACKNOWLEDGE_S)
        self.assertEqual(self.sent(), [("a", 0, 1, 0, [], [])])

    def test_batches_that_another_node_misses_are_sent_again(self) -> None:
        for frame in (b"1", b"2", b"3"):
            self.pubsub.publish(b"u", frame)
            self.flushed()
        self.acknowledge(1, resend=True)
        self.assertEqual(self.taken(), [("a", 2, [b"u", b"2"]), ("a", 3, [b"u", b"3"])])
        self.acknowledge(3, resend=True)
        self.assertEqual((self.taken(), self.pubsub.queued_bytes), ([], 0))

    def test_nothing_is_acknowledged_while_the_bus_is_down(self) -> None:
        self.batch(1, b"v", b"1")
        self.bus.down()
        self.clock.advance(ACKNOWLEDGE_S)
        self.acknowledge(0, resend=True)
        self.assertEqual(self.sent(), [])
        self.bus.up("second", "a", "b")
        self.bus.take()
        self.batch(1, b"v", b"1")  # its sender does not know that it arrived
        self.clock.advance(ACKNOWLEDGE_S)
        self.assertEqual(self.sent(), [("a", 0, 0, 1, [], [])])

    def test_stop(self) -> None:
        self.batch(1, b"v", b"1")
        self.pubsub.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LargeBatchTests(PubSubTestCase):
    """More in one turn than ZeroMQ accepts in one message."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(batches, "BATCH_BYTES", 1_000)
        self.patch(batches, "MAX_PUBLICATION", 5_000)
        self.patch(module, "MAX_PUBLICATION", 5_000)
        self.patch(module, "UNSENT_LIMIT", 900)

    def sizes(self) -> list[tuple[str, int, list[int]]]:
        """What a flush sends: node, number of the batch, bytes of its frames."""
        self.pubsub.flush()
        decoded = [(name, decode_batch(data)) for name, data in self.bus.take()]
        return [(name, b.number, [len(frame) for frame in b.items[1::2]]) for name, b in decoded]

    def test_the_rest_is_sent_in_the_next_turns(self) -> None:
        for size in (400, 500, 600, 3_000, 10):
            self.pubsub.publish(b"u", bytes(size))
        scheduled = self.scheduled
        self.assertEqual(self.sizes(), [("a", 1, [400, 500])])
        self.assertEqual(self.scheduled, scheduled + 1)
        self.pubsub.publish(b"u", bytes(20))
        self.assertEqual(self.sizes(), [("a", 2, [600])])
        self.assertEqual(self.sizes(), [("a", 3, [3_000])])
        self.assertEqual(self.sizes(), [("a", 4, [10, 20])])
        self.assertEqual(self.sizes(), [])

    def test_the_bus_comes_up_within_such_a_turn(self) -> None:
        self.bus.down()
        for size in (400, 500, 600):
            self.pubsub.publish(b"u", bytes(size))
        self.bus.up("first", "a", "b")
        sent = [decode_batch(each[1]) for each in self.bus.take() if isinstance(each, tuple)]
        self.assertEqual([[len(f) for f in batch.items[1::2]] for batch in sent], [[400, 500]])
        self.assertEqual(self.sizes(), [("a", 2, [600])])

    def test_a_publication_that_is_too_long_is_dropped_and_announced(self) -> None:
        for size in (10, 5_001, 20):
            self.pubsub.publish(b"u", bytes(size))
        self.pubsub.flush()
        ((_, data),) = self.bus.take()
        batch = decode_batch(data)
        self.assertEqual([len(frame) for frame in batch.items[1::2]], [10, 20])
        self.assertEqual(batch.lost, [b"u"])
        self.assertEqual(self.pubsub.dropped, {"too_large": 1})

    def test_a_retained_publication_that_is_too_long_is_refused(self) -> None:
        error = self.assertRaises(NotPublished, self.pubsub.publish_retained, b"u", bytes(5_001), 1)
        self.assertIn("the limit is 5,000", str(error))
        self.assertEqual(self.pubsub.dropped, {"too_large": 1})
