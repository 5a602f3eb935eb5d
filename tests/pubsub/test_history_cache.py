"""Which retained frames that the exchange sends are new to this node."""

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.broker_state.retained_topic import GAP, NO_HISTORY, History
from cluster.pubsub.history_cache import HistoryCache


def message(offset: int, *frames: bytes, epochs: str = "e", full: bool = True) -> wire.Retained:
    """A message about the topic t, which retains three frames."""
    return wire.Retained(b"t", 3, offset, frames, epochs, full=full)


class HistoryCacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000
        self.dropped: Counter[str] = Counter()
        self.cache = HistoryCache(lambda: self.now, self.dropped)
        self.gaps: list[bytes] = []
        self.cache.on_gap = self.gaps.append

    def history(self) -> History:
        return self.cache.history(b"t", None)

    def test_an_unknown_topic_has_no_history(self) -> None:
        self.assertIsNone(self.cache.get(b"t"))
        self.assertEqual(self.history(), NO_HISTORY)

    def test_only_unknown_frames_are_new(self) -> None:
        self.assertEqual(self.cache.receive(message(2, b"1", b"2")), [(b"1", 1), (b"2", 2)])
        self.assertEqual(self.cache.receive(message(2, b"1", b"2")), [])
        self.assertEqual(self.cache.receive(message(3, b"2", b"3")), [(b"3", 3)])
        self.assertEqual(self.history(), History(False, "e", 3, (b"1", b"2", b"3")))
        self.assertEqual(self.dropped, {})

    def test_new_frames_that_do_not_follow_are_ignored(self) -> None:
        """The exchange sent them before the answer to the present subscription, which has all."""
        self.assertIsNone(self.cache.receive(message(3, b"3", full=False)))
        self.assertEqual(self.history(), NO_HISTORY)
        self.assertEqual(len(self.cache.receive(message(3, b"1", b"2", b"3")) or ()), 3)

    def test_frames_that_are_not_retained_any_longer_are_counted(self) -> None:
        """The link was down for longer than they were retained; older known frames are dropped."""
        self.cache.receive(message(2, b"1", b"2"))
        self.cache.uncertain.add(b"t")
        self.assertEqual(self.cache.receive(message(7, b"6", b"7")), [(b"6", 6), (b"7", 7)])
        self.assertEqual((self.dropped, self.gaps), ({"history_gap": 3}, [b"t"]))
        self.assertEqual(self.history(), History(False, "e", 7, (b"6", b"7")))

    def test_subscribers_of_an_empty_topic_miss_what_is_not_retained_any_longer(self) -> None:
        self.cache.uncertain.add(b"t")
        self.assertEqual(self.cache.receive(message(7, b"6", b"7")), [(b"6", 6), (b"7", 7)])
        self.assertEqual((self.dropped, self.gaps), ({"history_gap": 5}, [b"t"]))

    def test_nothing_is_missing_if_the_first_message_after_a_failure_continues(self) -> None:
        self.cache.receive(message(2, b"1", b"2"))
        for offset in (2, 4):
            self.cache.uncertain.add(b"t")
            self.cache.receive(message(offset, b"%d" % (offset - 1), b"%d" % offset))
            self.assertEqual((self.dropped, self.gaps, self.cache.uncertain), ({}, [], set()))

    def test_a_topic_that_the_exchange_evicted_has_no_gap(self) -> None:
        """Its numbers continue above those of all evicted topics, and the link was not lost."""
        self.cache.receive(message(2, b"1", b"2"))
        self.assertEqual(self.cache.receive(message(90, b"3")), [(b"3", 90)])
        self.assertEqual((self.dropped, self.gaps), ({}, []))

    def test_a_topic_without_subscribers_is_certain(self) -> None:
        self.cache.uncertain.add(b"t")
        self.cache.forget(b"t")
        self.cache.receive(message(7, b"6", b"7"))
        self.assertEqual(self.gaps, [])

    def test_offsets_of_an_epoch_that_continues_the_known_one(self) -> None:
        """In epoch e, offset 3 is a frame of the previous broker; f gave this offset to another."""
        self.cache.receive(message(3, b"1", b"2", b"3"))
        new = self.cache.receive(message(4, b"2", b"other 3", b"4", epochs="f e:2"))
        self.assertEqual(new, [(b"other 3", 3), (b"4", 4)])
        self.assertEqual(self.history(), History(False, "f", 4, (b"other 3", b"4")))

    def test_an_unrelated_epoch_has_lower_offsets(self) -> None:
        self.cache.receive(message(9, b"9"))
        self.assertEqual(self.cache.receive(message(1, b"1", epochs="f")), [(b"1", 1)])
        self.assertEqual(self.history(), History(False, "f", 1, (b"1",)))
        self.cache.uncertain.add(b"t")
        self.assertEqual(self.cache.receive(message(1, b"one", epochs="g")), [(b"one", 1)])
        self.assertEqual((self.dropped, self.gaps), ({"history_gap": 1}, [b"t"]))

    def test_a_frame_that_its_publisher_sent_again_is_not_delivered_again(self) -> None:
        first = wire.Retained(b"t", 3, 1, (b"x",), "e", (), "a:1")
        again = wire.Retained(b"t", 3, 1, (b"x",), "f", (), "a:1")
        other = wire.Retained(b"t", 3, 2, (b"y",), "f", (), "a:2", full=False)
        received = [self.cache.receive(each) for each in (first, again, other)]
        self.assertEqual(received, [[(b"x", 1)], [], [(b"y", 2)]])

    def test_frames_that_were_sent_again_among_others_are_not_delivered_again(self) -> None:
        """The previous broker had sent them to this node only; the next one numbers them again."""
        self.cache.receive(message(3, b"1", b"2", b"3"))
        new = self.cache.receive(message(5, b"other", b"3", b"2", b"3", epochs="f e:1"))
        self.assertEqual(new, [(b"other", 2), (b"3", 5)])
        self.assertEqual(self.history(), History(False, "f", 5, (b"3", b"2", b"3")))

    def test_a_broker_that_knows_less_does_not_hide_that_a_frame_was_sent_again(self) -> None:
        for offset, frame in ((1, b"1"), (2, b"2")):
            source = f"a:{offset}"
            self.cache.receive(wire.Retained(b"t", 3, offset, (frame,), "e", (), source))
        state = wire.Retained(b"t", 3, 2, (b"1", b"x"), "f e:1", (), "a:1 b:1")
        again = wire.Retained(b"t", 3, 3, (b"2",), "f e:1", (), "a:2", full=False)
        received = [self.cache.receive(each) for each in (state, again)]
        self.assertEqual(received, [[(b"x", 2)], []])

    def test_a_gap_is_returned_to_those_who_were_subscribed(self) -> None:
        self.assertEqual(self.cache.receive(message(1, GAP)), [(GAP, 1)])
        self.assertEqual(self.cache.receive(message(2, b"2", full=False)), [(b"2", 2)])
        self.assertEqual(self.cache.receive(message(3, GAP, full=False)), [(GAP, 3)])
        self.cache.receive(message(4, b"4", full=False))
        self.assertFalse(self.cache.history(b"t", ("e", 2)).recovered)
        self.assertTrue(self.cache.history(b"t", ("e", 3)).recovered)
        self.assertEqual(self.dropped, {})

    def test_gaps_in_the_first_answer_concern_nobody(self) -> None:
        self.assertEqual(self.cache.receive(message(3, b"1", GAP, b"3")), [(b"1", 1), (b"3", 3)])
        self.cache.forget(b"t")
        self.cache.uncertain.add(b"t")  # an empty topic whose subscribers were cut off
        received = self.cache.receive(message(3, b"1", GAP, b"3"))
        self.assertEqual(received, [(b"1", 1), (GAP, 2), (b"3", 3)])

    def test_expired_frames_are_not_returned(self) -> None:
        self.cache.receive(wire.Retained(b"t", 3, 2, (b"1", b"2"), "e", (1500, 2000)))
        self.now = 1500
        self.assertEqual(self.history().frames, (b"2",))

    def test_restores_and_forget(self) -> None:
        self.cache.receive(wire.Retained(b"t", 3, 2, (b"1", b"2"), "e", (1500, 2000), "a:1"))
        self.cache.receive(wire.Retained(b"u", 1, 7, (b"7",), "e"))
        restores = [
            wire.Restore(b"t", 3, 2, (b"1", b"2"), "e", (1500, 2000), "a:1"),
            wire.Restore(b"u", 1, 7, (b"7",), "e"),
        ]
        self.assertEqual(list(self.cache.restores()), restores)
        self.cache.forget(b"t")
        self.assertEqual(list(self.cache.restores()), restores[1:])
