"""The newest frames of a topic."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.broker_state.retained_topic import (
    GAP,
    MAX_GAPS,
    MAX_PUBLISHERS,
    History,
    format_position,
    format_sources,
    parse_epochs,
    parse_position,
    parse_sources,
)
from cluster.core.broker_state.topic_history import RetainedFrames

TOPICS = st.sampled_from([b"a", b"b", b"c", b"d"])
DEPTHS = st.integers(1, 4)
FRAMES = st.binary(min_size=1, max_size=3)
FRAMES_AND_GAPS = st.lists(FRAMES | st.just(GAP), max_size=5)


class RetainedTests(SynchronousTestCase):
    """RetainedFrames."""

    def setUp(self) -> None:
        self.retained = RetainedFrames(max_topics=2)

    def assertKept(self, topic: bytes, offset: int, frames: list[bytes]) -> None:
        kept = self.retained.get(topic)
        assert kept is not None
        self.assertEqual((kept.offset, list(kept.frames)), (offset, frames))

    def test_a_new_table_is_empty(self) -> None:
        self.assertIsNone(self.retained.get(b"t"))
        self.assertEqual(self.retained.topics(), ())

    def test_the_newest_frames_are_retained(self) -> None:
        offsets = [self.retained.store(b"t", 2, frame) for frame in (b"1", b"2", b"3")]
        self.assertEqual(offsets, [1, 2, 3])
        self.assertKept(b"t", 3, [b"2", b"3"])

    def test_the_depth_may_change(self) -> None:
        for frame in (b"1", b"2", b"3"):
            self.retained.store(b"t", 3, frame)
        self.retained.store(b"t", 1, b"4")
        self.assertKept(b"t", 4, [b"4"])
        self.retained.store(b"t", 3, b"5")
        self.assertKept(b"t", 5, [b"4", b"5"])

    def test_a_depth_below_one_is_refused_and_changes_nothing(self) -> None:
        self.assertRaises(ValueError, self.retained.store, b"t", 0, b"1")
        self.assertRaises(ValueError, self.retained.restore, b"t", 0, 1, [b"1"])
        self.assertEqual(self.retained.topics(), ())

    def test_a_maximum_of_no_topics_is_refused(self) -> None:
        self.assertRaises(ValueError, RetainedFrames, 0)

    def test_restoring_newer_frames(self) -> None:
        self.retained.store(b"t", 2, b"1")
        self.assertTrue(self.retained.restore(b"t", 2, 7, [b"5", b"6", b"7"]))
        self.assertKept(b"t", 7, [b"6", b"7"])
        self.assertEqual(self.retained.store(b"t", 2, b"8"), 8)

    def test_restoring_known_frames_is_ignored(self) -> None:
        self.retained.restore(b"t", 2, 7, [b"6", b"7"])
        self.assertFalse(self.retained.restore(b"t", 2, 7, [b"x", b"y"]))
        self.assertFalse(self.retained.restore(b"t", 2, 6, [b"x"]))
        self.assertKept(b"t", 7, [b"6", b"7"])

    def test_restoring_no_frames_retains_no_topic(self) -> None:
        self.assertFalse(self.retained.restore(b"t", 2, 0, []))
        self.assertEqual(self.retained.topics(), ())

    def test_the_least_recently_published_topic_is_evicted(self) -> None:
        for topic in (b"a", b"b", b"a", b"c"):
            self.retained.store(topic, 1, b"x")
        self.assertEqual(self.retained.topics(), (b"a", b"c"))
        self.assertEqual(self.retained.evicted, 1)

    def test_topics_of_the_cluster_itself_are_evicted_last(self) -> None:
        retained = RetainedFrames(2)
        for topic in (b"c10k/revocations", b"a", b"b", b"c"):
            retained.store(topic, 1, b"x")
        self.assertEqual(retained.topics(), (b"c10k/revocations", b"c"))
        retained = RetainedFrames(3, max_bytes=2)
        for topic in (b"c10k/revocations", b"a", b"b"):
            retained.store(topic, 1, b"x")
        self.assertEqual(retained.topics(), (b"c10k/revocations", b"b"))
        retained.store(b"b", 1, b"xx")
        self.assertEqual((retained.topics(), retained.size), ((b"b",), 2))
        retained = RetainedFrames(1)
        retained.store(b"c10k/revocations", 1, b"x")
        retained.store(b"a", 1, b"x")
        self.assertEqual(retained.topics(), (b"a",))

    def test_topics_are_evicted_for_bytes_too(self) -> None:
        retained = RetainedFrames(max_bytes=10)
        for topic in (b"a", b"b", b"a"):
            retained.store(topic, 2, b"xxx")
        self.assertEqual((retained.size, retained.topics()), (9, (b"b", b"a")))
        retained.store(b"c", 2, b"xx")
        self.assertEqual((retained.size, retained.topics()), (8, (b"a", b"c")))
        self.assertEqual((retained.evicted, retained.floor), (1, 1))
        retained.restore(b"d", 2, 2, [b"xxx", b"yyy"])
        self.assertEqual((retained.size, retained.topics()), (8, (b"c", b"d")))
        retained.forget(b"d")
        self.assertEqual(retained.size, 2)

    def test_a_topic_above_the_maximum_size_retains_its_newest_frames(self) -> None:
        retained = RetainedFrames(max_bytes=10)
        for number in range(5):
            retained.store(b"a", 4, b"%04d" % number)
        kept = retained.get(b"a")
        assert kept is not None
        self.assertEqual((kept.offset, list(kept.frames)), (5, [b"0003", b"0004"]))
        self.assertEqual(len(kept.expires), 2)
        self.assertEqual(retained.store(b"a", 4, b"x" * 11), 6)
        self.assertEqual((list(kept.frames), retained.size), ([b"x" * 11], 11))
        self.assertEqual((retained.topics(), retained.evicted), ((b"a",), 0))

    def test_expired_frames_take_no_room(self) -> None:
        for _ in range(2):
            self.retained.store(b"a", 9, b"xxx", expires=5)
        self.assertEqual(self.retained.size, 6)
        self.retained.expire(5)
        self.assertEqual(self.retained.size, 0)

    def test_an_evicted_topic_continues_its_offsets(self) -> None:
        """A subscriber that has received frame 3 would ignore a second frame 1 as an old one."""
        for topic in (b"a", b"a", b"a", b"b", b"c"):
            self.retained.store(topic, 1, b"x")
        self.assertIsNone(self.retained.get(b"a"))
        self.assertEqual(self.retained.floor, 3)
        self.assertEqual(self.retained.store(b"a", 1, b"new"), 4)

    def test_restoring_keeps_the_offsets_even_below_those_of_evicted_topics(self) -> None:
        for topic in (b"a", b"a", b"a", b"b", b"c"):
            self.retained.store(topic, 1, b"x")
        self.assertTrue(self.retained.restore(b"d", 2, 2, [b"1", b"2"]))
        self.assertKept(b"d", 2, [b"1", b"2"])

    def test_a_forgotten_topic_starts_at_1_again(self) -> None:
        self.retained.store(b"a", 1, b"x")
        self.retained.forget(b"a")
        self.retained.forget(b"never there")
        self.assertIsNone(self.retained.get(b"a"))
        self.assertEqual(self.retained.store(b"a", 1, b"y"), 1)

    def test_offsets_have_an_epoch(self) -> None:
        retained = RetainedFrames(epoch="here")
        retained.store(b"t", 1, b"1")
        kept = retained.get(b"t")
        assert kept is not None
        self.assertEqual((kept.epoch, kept.epochs), ("here", "here"))

    def test_continuing_the_offsets_of_another_process_starts_an_epoch(self) -> None:
        """The other process may have given the offset 5 to a frame that is unknown here."""
        retained = RetainedFrames(epoch="here")
        retained.restore(b"t", 3, 4, [b"3", b"4"], "old older:3 oldest:1")
        kept = retained.get(b"t")
        assert kept is not None
        self.assertEqual(kept.epochs, "old older:3")
        retained.store(b"t", 3, b"5")
        retained.store(b"t", 3, b"6")
        self.assertEqual(kept.epochs, "herex1 older:3 old:4")
        self.assertEqual(kept.after("old", 4), [b"5", b"6"])
        self.assertIsNone(kept.after("old", 5))
        self.assertEqual(kept.after("older", 3), [b"4", b"5", b"6"])
        self.assertIsNone(kept.after("older", 4))
        self.assertEqual(kept.after("herex1", 5), [b"6"])
        retained.restore(b"t", 3, 9, [b"9"], "elsewhere")
        retained.store(b"t", 3, b"10")
        self.assertEqual(kept.epoch, "herex2")

    def after(self, epoch: str, offset: int) -> list[bytes] | None:
        kept = self.retained.get(b"t")
        assert kept is not None
        return kept.after(epoch, offset)

    def test_the_newest_number_of_each_publisher_is_remembered(self) -> None:
        self.retained.store(b"t", 1, b"x")
        kept = self.retained.get(b"t")
        assert kept is not None
        kept.record_publishers({"a": 1})
        kept.record_publishers({"b": 7, "a": 3})
        kept.record_publishers({"b": 6})
        self.assertEqual(kept.sources, "a:3 b:7")
        self.retained.restore(b"t", 1, 9, [b"y"], sources="c:2 a:4")
        self.assertEqual(kept.sources, "b:7 c:2 a:4")
        kept.record_publishers({str(number): 1 for number in range(MAX_PUBLISHERS - 1)})
        self.assertTrue(kept.sources.startswith("a:4 0:1 1:1 "), kept.sources)

    def test_frames_after_a_position(self) -> None:
        self.retained.restore(b"t", 3, 7, [b"5", b"6", b"7"], "e")
        found = {offset: self.after("e", offset) for offset in (3, 4, 6, 7, 8)}
        self.assertEqual(found, {3: None, 4: [b"5", b"6", b"7"], 6: [b"7"], 7: [], 8: None})
        self.assertIsNone(self.after("other", 6))

    def test_frames_expire_oldest_first(self) -> None:
        self.retained.store(b"t", 3, b"1", expires=100)
        self.retained.store(b"t", 3, b"2")
        self.retained.store(b"t", 3, b"3", expires=100)
        self.retained.expire(99)
        self.assertKept(b"t", 3, [b"1", b"2", b"3"])
        self.retained.expire(100)
        self.assertKept(b"t", 3, [b"2", b"3"])
        self.assertEqual(self.after("", 1), [b"2", b"3"])

    def test_expired_frames_are_neither_stored_nor_restored_nor_returned(self) -> None:
        self.retained.store(b"t", 3, b"1", expires=50, now=100)
        self.assertKept(b"t", 1, [])
        self.retained.restore(b"t", 3, 3, [b"2", b"3"], expires=[50, 150], now=100)
        self.assertKept(b"t", 3, [b"3"])
        kept = self.retained.get(b"t", 150)
        assert kept is not None
        self.assertEqual(list(kept.frames), [])

    def test_the_history_has_the_missed_frames_or_all_frames(self) -> None:
        self.retained.restore(b"t", 3, 7, [b"5", b"6", b"7"], "e")
        kept = self.retained.get(b"t")
        assert kept is not None
        everything = History(False, "e", 7, (b"5", b"6", b"7"))
        for since in (None, ("e", 3), ("e", 8), ("other", 6)):
            self.assertEqual(kept.history(since), everything)
        missed = kept.history(("e", 5))
        self.assertEqual(missed, History(True, "e", 7, (b"6", b"7")))
        self.assertEqual(list(missed.numbered()), [(b"6", 6), (b"7", 7)])

    def test_a_position_before_a_gap_is_not_recovered(self) -> None:
        for frame in (b"1", b"2", GAP, b"4"):
            self.retained.store(b"t", 3, frame)
        kept = self.retained.get(b"t")
        assert kept is not None
        everything = History(False, "", 4, (b"1", b"2", b"4"), (1, 2, 4))
        for since in (None, ("", 1), ("", 2)):
            self.assertEqual(kept.history(since), everything)
        self.assertEqual(list(everything.numbered()), [(b"1", 1), (b"2", 2), (b"4", 4)])
        self.assertEqual(kept.history(("", 3)), History(True, "", 4, (b"4",)))
        self.assertEqual(self.retained.store(b"t", 2, b"5"), 5)
        self.assertKept(b"t", 5, [b"4", b"5"])
        self.assertEqual(kept.gaps, 0)

    def test_a_gap_does_not_count_for_the_depth(self) -> None:
        self.retained.store(b"t", 1, b"state")
        for _ in range(3):
            self.retained.store(b"t", 1, GAP)
        kept = self.retained.get(b"t")
        assert kept is not None
        self.assertEqual(kept.history(None), History(False, "", 4, (b"state",), (1,)))
        self.assertEqual(kept.history(("", 4)), History(True, "", 4))

    def test_a_gap_without_a_frame_before_it_is_only_an_offset(self) -> None:
        self.assertEqual(self.retained.store(b"t", 2, GAP), 1)
        self.assertKept(b"t", 1, [])
        self.retained.restore(b"u", 2, 7, [GAP, b"6", GAP])
        self.assertKept(b"u", 7, [b"6", GAP])

    def test_the_gaps_of_a_topic_are_bounded(self) -> None:
        self.retained.store(b"t", 1, b"state")
        for _ in range(MAX_GAPS + 1):
            self.retained.store(b"t", 1, GAP)
        self.assertKept(b"t", MAX_GAPS + 2, [])
        self.assertEqual(self.retained.size, 0)

    def test_positions_of_newer_frames(self) -> None:
        self.retained.restore(b"t", 3, 7, [b"7"], "e")
        kept = self.retained.get(b"t")
        assert kept is not None
        positions = [None, ("e", 7), ("e", 8), ("other", 8)]
        self.assertEqual(
            [kept.is_behind(since) for since in positions], [False, False, True, False]
        )

    def test_against_a_model(self) -> None:
        run_state_machine_as_test(RetainedMachine)


class PositionTests(SynchronousTestCase):
    """Positions, epochs and sources as text."""

    def test_positions_are_formatted_and_parsed(self) -> None:
        self.assertEqual(format_position("9f3a", 12), "9f3a:12")
        self.assertEqual(parse_position("9f3a:12"), ("9f3a", 12))

    def test_epochs_are_formatted_and_parsed(self) -> None:
        self.assertEqual(parse_epochs("a"), ("a", {}))
        self.assertEqual(parse_epochs("c b:7 a:3"), ("c", {"b": 7, "a": 3}))
        self.assertRaises(ValueError, parse_epochs, "c b")

    def test_sources_are_formatted_and_parsed(self) -> None:
        for published in ({}, {"node0.1f": 3, "b": 0}):
            self.assertEqual(parse_sources(format_sources(published)), published)
        for text in (" ", "a", "a:", ":1", "a:1 ", "a:-1", "a:²", "a:1  b:1"):
            self.assertRaises(ValueError, parse_sources, text)

    def test_malformed_positions_are_refused(self) -> None:
        for text in ("", ":", "12", ":12", "a:", "a:-1", "a:1.5", "a b:1", "a:b:1", "a:²", "a:1\n"):
            with self.assertRaises(ValueError, msg=text):
                parse_position(text)


class RetainedMachine(RuleBasedStateMachine):
    """Compares RetainedFrames with complete histories."""

    MAX_TOPICS = 3

    def __init__(self) -> None:
        super().__init__()
        self.retained = RetainedFrames(self.MAX_TOPICS)
        self.kept: dict[bytes, tuple[int, int, list[bytes]]] = {}  # depth, offset, frames
        self.dropped: dict[bytes, int] = {}
        self.evicted = 0

    def keep(self, topic: bytes, depth: int, offset: int, frames: list[bytes]) -> None:
        if self.kept.pop(topic, None) is None and len(self.kept) == self.MAX_TOPICS:
            oldest = next(iter(self.kept))
            offset_then = self.kept.pop(oldest)[1]
            self.dropped[oldest] = max(self.dropped.get(oldest, 0), offset_then)
            self.evicted += 1
        while frames and (len(frames) - frames.count(GAP) > depth or frames[0] == GAP):
            frames = frames[1:]
        self.kept[topic] = (depth, offset, frames)

    @rule(topic=TOPICS, depth=DEPTHS, frame=FRAMES | st.just(GAP))
    def store(self, topic: bytes, depth: int, frame: bytes) -> None:
        offset = self.retained.store(topic, depth, frame)
        _, before, frames = self.kept.get(topic, (0, 0, []))
        if topic in self.kept:
            assert offset == before + 1
        elif self.retained.evicted:
            assert offset > self.dropped.get(topic, 0)
        else:
            assert offset == 1
        self.keep(topic, depth, offset, [*frames, frame])

    @rule(topic=TOPICS, depth=DEPTHS, offset=st.integers(0, 9), frames=FRAMES_AND_GAPS)
    def restore(self, topic: bytes, depth: int, offset: int, frames: list[bytes]) -> None:
        is_new = offset > self.kept.get(topic, (0, 0, []))[1]
        assert self.retained.restore(topic, depth, offset, frames) == is_new
        if is_new:
            self.keep(topic, depth, offset, frames)

    @rule(topic=TOPICS)
    def forget(self, topic: bytes) -> None:
        self.retained.forget(topic)
        self.kept.pop(topic, None)

    @invariant()
    def agrees(self) -> None:
        assert self.retained.size == sum(
            len(frame) for _, _, frames in self.kept.values() for frame in frames
        )
        assert self.retained.topics() == tuple(self.kept)
        assert self.retained.evicted == self.evicted
        for topic, (depth, offset, frames) in self.kept.items():
            entry = self.retained.get(topic)
            assert entry is not None
            assert (entry.depth, entry.offset, list(entry.frames)) == (depth, offset, frames)
