"""Batches of other nodes: delivery, gaps and duplicates."""

from cluster.core.wire.fields import encode_batch
from cluster.pubsub import incoming_batches
from tests.pubsub.node_case import PubSubTestCase


class ReceiveTests(PubSubTestCase):
    """Batches of other nodes."""

    def batch(self, number: int, *items: bytes, origin: str = "a") -> None:
        self.pubsub.bus_batch(origin, encode_batch(number, items))

    def test_frames_go_to_subscribers_and_not_to_other_nodes(self) -> None:
        one, two = self.subscribed(b"t"), self.subscribed(b"t", b"u")
        self.flushed()
        before = self.scheduled
        self.batch(1, b"t", b"1", b"u", b"2", b"v", b"3")
        self.assertEqual((one.out, two.out), ([b"1"], [b"1", b"2"]))
        self.assertEqual(self.dirty, [one, two])
        self.assertEqual(self.scheduled, before + 1)
        self.assertEqual(self.flushed(), [])

    def test_gaps_are_counted_and_what_follows_is_delivered(self) -> None:
        connection = self.subscribed(b"t")
        self.batch(1, b"t", b"1")
        self.batch(4, b"t", b"4")
        self.batch(2, b"t", b"9", origin="b")
        self.batch(5, b"t", b"5")
        self.assertEqual(connection.out, [b"1", b"4", b"9", b"5"])
        self.assertEqual(self.pubsub.batches.gaps, 2)

    def test_duplicates_are_counted_and_not_delivered(self) -> None:
        connection = self.subscribed(b"t")
        for number in (1, 2, 1, 2, 3):
            self.batch(number, b"t", b"%d" % number)
        self.assertEqual(connection.out, [b"1", b"2", b"3"])
        self.assertEqual(self.pubsub.dropped, {"duplicate_batch": 2})
        self.assertEqual(self.pubsub.batches.gaps, 0)

    def test_malformed_batches_are_counted(self) -> None:
        connection = self.subscribed(b"t")
        for data in (b"", b"x" * 7, encode_batch(1, [b"t"]), encode_batch(0, [b"t", b"1"])):
            self.pubsub.bus_batch("a", data)
        self.batch(1, b"t", b"1")
        self.assertEqual(connection.out, [b"1"])
        self.assertEqual(self.pubsub.dropped, {"malformed": 4})

    def test_numbers_of_nodes_that_are_gone_are_forgotten_above_a_maximum(self) -> None:
        self.patch(incoming_batches, "MAX_ORIGINS", 2)
        self.batch(7, b"t", b"1", origin="old")
        for origin in ("a", "b"):
            self.batch(1, b"t", b"1", origin=origin)
        self.batch(1, b"t", b"1", origin="old")
        self.assertEqual(self.pubsub.batches.gaps, 1)
        self.assertEqual(self.pubsub.dropped, {})  # number 1 was not counted as a duplicate
