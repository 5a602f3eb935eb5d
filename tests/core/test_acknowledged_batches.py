"""Batches between two nodes: kept until acknowledged, delivered once."""

from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.core import acknowledged_batches as module
from cluster.core.acknowledged_batches import ALL_TOPICS, ReceivedBatches, SentBatches, Verdict
from cluster.core.wire.batches import decode_batch
from tests import profiles

assert profiles


class SentBatchesTests(SynchronousTestCase):
    """SentBatches."""

    def setUp(self) -> None:
        self.sent = SentBatches()

    def encode(self, *items: bytes, acknowledged: int = 0) -> tuple[int, int, int, list[bytes]]:
        return decode_batch(self.sent.encode(items, acknowledged))[:4]

    def test_batches_are_numbered_and_kept_until_they_are_acknowledged(self) -> None:
        self.assertEqual(self.encode(b"t", b"1", acknowledged=7), (1, 1, 7, []))
        size = self.sent.size
        self.assertEqual(self.encode(b"t", b"2"), (2, 1, 0, []))
        self.assertEqual(self.encode(b"t", b"3"), (3, 1, 0, []))
        self.assertEqual(self.sent.acknowledged(2), 2 * size)
        self.assertEqual((self.sent.size, self.sent.acknowledged_number), (size, 2))
        self.assertEqual([decode_batch(batch).number for batch in self.sent.kept], [3])
        self.assertEqual(self.encode(b"t", b"4"), (4, 3, 0, []))

    def test_old_acknowledgements_change_nothing(self) -> None:
        self.encode(b"t", b"1")
        self.encode(b"t", b"2")
        self.sent.acknowledged(1)
        for number in (0, 1):
            self.assertEqual(self.sent.acknowledged(number), 0)
        self.assertEqual(len(self.sent.kept), 1)

    def test_a_batch_that_was_not_sent_cannot_be_acknowledged(self) -> None:
        self.encode(b"t", b"1")
        self.assertRaises(ValueError, self.sent.acknowledged, 2)
        self.assertEqual(len(self.sent.kept), 1)

    def test_the_next_batch_announces_a_loss_once(self) -> None:
        self.sent.lose([b"t", b"u", b"t"])
        self.assertTrue(self.sent.has_lost)
        self.assertEqual(self.encode(b"v", b"1")[3], [b"t", b"u"])
        self.assertFalse(self.sent.has_lost)
        self.assertEqual(self.encode(b"v", b"2")[3], [])

    def test_too_many_topics_are_all_topics(self) -> None:
        self.patch(module, "MAX_LOST_TOPICS", 2)
        self.sent.lose([b"t", b"u", b"v"])
        self.sent.lose([b"w"])
        self.assertEqual(self.encode()[3], [ALL_TOPICS])

    def test_giving_up_drops_what_is_kept_and_continues_the_numbers(self) -> None:
        self.encode(b"t", b"1", b"t", b"2")
        self.encode(b"t", b"3")
        self.assertEqual(self.sent.give_up(), 3)
        self.assertEqual((self.sent.size, len(self.sent.kept)), (0, 0))
        self.assertEqual(self.encode(b"t", b"4"), (3, 3, 0, [ALL_TOPICS]))


class ReceivedBatchesTests(SynchronousTestCase):
    """ReceivedBatches."""

    def setUp(self) -> None:
        self.received = ReceivedBatches()

    def receive(self, *numbers: int, first: int = 1) -> list[Verdict]:
        return [self.received.receive(number, first, 10) for number in numbers]

    def test_each_is_delivered_once_and_in_order(self) -> None:
        deliver, repeated, early = Verdict.DELIVER, Verdict.REPEATED, Verdict.EARLY
        self.assertEqual(
            self.receive(1, 2, 1, 2, 4, 3, 4),
            [deliver] * 2 + [repeated] * 2 + [early] + [deliver] * 2,
        )

    def test_batches_that_the_sender_gave_up_are_not_waited_for(self) -> None:
        self.receive(1)
        self.assertEqual(self.receive(6, first=5), [Verdict.EARLY])
        self.assertEqual(self.receive(5, 6, first=5), [Verdict.DELIVER] * 2)

    def test_a_batch_that_is_sent_now_carries_the_acknowledgement(self) -> None:
        self.receive(1, 2)
        self.assertEqual((self.received.due, self.received.size), (True, 20))
        self.assertEqual(self.received.acknowledge(), 2)
        self.assertEqual((self.received.due, self.received.size), (False, 0))

    def test_a_repeated_batch_is_acknowledged_again(self) -> None:
        self.receive(1)
        self.received.acknowledge()
        self.receive(1)
        self.assertTrue(self.received.due)

    def test_a_bare_acknowledgement_asks_for_missing_batches(self) -> None:
        self.receive(1, 3)
        self.assertEqual(self.received.acknowledge(), 1)
        self.assertTrue(self.received.due)
        self.assertEqual(decode_batch(self.received.encode_acknowledgement())[:3], (0, 1, 1))
        self.assertFalse(self.received.due)
        self.receive(2)
        self.assertEqual(decode_batch(self.received.encode_acknowledgement())[:3], (0, 0, 2))


class LinkMachine(RuleBasedStateMachine):
    """Two nodes and a FIFO link in each direction, which loses and repeats messages, and breaks.

    A break loses what is on the way, and each side sends again all that is not acknowledged. What a
    broken connection had carried may still arrive (``late``), before the first new message.
    Either side may be replaced by another process, and give the other one up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent = [SentBatches(), SentBatches()]
        self.received = [ReceivedBatches(), ReceivedBatches()]
        self.links: list[deque[bytes]] = [deque(), deque()]  # from each side to the other
        self.published: list[list[bytes]] = [[], []]
        self.delivered: list[list[bytes]] = [[], []]  # from each side, at the other
        self.announced = [True, True]

    side = st.integers(0, 1)

    @rule(side=side, count=st.integers(0, 3), send=st.booleans())
    def publish(self, side: int, count: int, send: bool) -> None:
        frames = [b"%d" % (len(self.published[side]) + n) for n in range(count)]
        self.published[side] += frames
        items = [item for frame in frames for item in (b"t", frame)]
        batch = self.sent[side].encode(items, self.received[side].acknowledge() if send else 0)
        if send:
            self.links[side].append(batch)

    @rule(side=side, count=st.integers(1, 9))
    def carry(self, side: int, count: int) -> None:
        link = self.links[side]
        for _ in range(min(count, len(link))):
            self.arrives(side, link.popleft())

    @rule(side=side, at=st.integers(0, 9), times=st.sampled_from([0, 2]))
    def lose_or_repeat(self, side: int, at: int, times: int) -> None:
        link = self.links[side]
        if at < len(link):
            batch = link[at]
            del link[at]
            for _ in range(times):
                link.insert(at, batch)

    @rule(late=st.integers(0, 3))
    def break_link(self, late: int) -> None:
        for side, link in enumerate(self.links):
            kept = list(link)[:late]
            link.clear()
            link.extend(kept)
            link.extend(self.sent[side].kept)

    @rule(side=side)
    def acknowledge(self, side: int) -> None:
        if self.received[side].due:
            self.links[side].append(self.received[side].encode_acknowledgement())

    @rule(side=side)
    def drop(self, side: int) -> None:
        """Drop a publication, because too much waits."""
        self.sent[side].lose([b"t"])
        self.announced[side] = False

    @rule(side=side)
    def give_up(self, side: int) -> None:
        self.links[side].clear()
        self.sent[side].give_up()
        self.published[side] = self.delivered[side][:]
        self.announced[side] = False

    @rule(side=side)
    def restart(self, side: int) -> None:
        """Another process, with another name, replaces one."""
        for each in (side, 1 - side):
            self.links[each].clear()
            self.sent[each], self.received[each] = SentBatches(), ReceivedBatches()
            self.published[each], self.delivered[each] = [], []
            self.announced[each] = True

    def arrives(self, side: int, data: bytes) -> None:
        other = 1 - side
        number, first, acknowledged, lost, items = decode_batch(data)
        self.sent[other].acknowledged(acknowledged)
        if not number:
            if first:
                self.links[other].extend(self.sent[other].kept)
        elif self.received[other].receive(number, first, len(data)) is Verdict.DELIVER:
            self.announced[side] |= bool(lost)
            self.delivered[side] += items[1::2]
        assert self.published[side][: len(self.delivered[side])] == self.delivered[side]

    def settle(self) -> None:
        for side in (0, 1):
            self.publish(side, 1, True)  # the first batch after a loss shows it
        for _ in range(3):
            while any(self.links):
                self.carry(0, 1000)
                self.carry(1, 1000)
            for side in (0, 1):
                self.acknowledge(side)
        while any(self.links):
            self.carry(0, 1000)
            self.carry(1, 1000)
        assert self.delivered == self.published
        assert all(self.announced)
        for sent in self.sent:
            assert (sent.size, len(sent.kept), sent.has_lost) == (0, 0, False)

    @rule()
    def everything_arrives(self) -> None:
        self.settle()

    def teardown(self) -> None:
        self.settle()


class LinkTests(SynchronousTestCase):
    """Both sides together."""

    def test_all_is_delivered_once_in_order_or_its_loss_announced(self) -> None:
        run_state_machine_as_test(LinkMachine)
