"""The newest frames of a topic."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.retained import RetainedFrames

TOPICS = st.sampled_from([b"a", b"b", b"c", b"d"])
DEPTHS = st.integers(1, 4)
FRAMES = st.binary(max_size=3)


class RetainedTests(SynchronousTestCase):
    """RetainedFrames."""

    def setUp(self) -> None:
        self.retained = RetainedFrames(max_topics=2)

    def assertKept(self, topic: bytes, offset: int, frames: list[bytes]) -> None:
        kept = self.retained.get(topic)
        assert kept is not None
        self.assertEqual((kept.offset, list(kept.frames)), (offset, frames))

    def test_nothing_is_kept_at_first(self) -> None:
        self.assertIsNone(self.retained.get(b"t"))
        self.assertEqual(self.retained.topics(), ())

    def test_the_newest_frames_are_kept(self) -> None:
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

    def test_room_for_no_topic_is_refused(self) -> None:
        self.assertRaises(ValueError, RetainedFrames, 0)

    def test_restoring_what_is_newer(self) -> None:
        self.retained.store(b"t", 2, b"1")
        self.assertTrue(self.retained.restore(b"t", 2, 7, [b"5", b"6", b"7"]))
        self.assertKept(b"t", 7, [b"6", b"7"])
        self.assertEqual(self.retained.store(b"t", 2, b"8"), 8)

    def test_restoring_what_is_known_is_ignored(self) -> None:
        self.retained.restore(b"t", 2, 7, [b"6", b"7"])
        self.assertFalse(self.retained.restore(b"t", 2, 7, [b"x", b"y"]))
        self.assertFalse(self.retained.restore(b"t", 2, 6, [b"x"]))
        self.assertKept(b"t", 7, [b"6", b"7"])

    def test_restoring_nothing_takes_no_room(self) -> None:
        self.assertFalse(self.retained.restore(b"t", 2, 0, []))
        self.assertEqual(self.retained.topics(), ())

    def test_the_topic_stored_to_longest_ago_makes_room(self) -> None:
        for topic in (b"a", b"b", b"a", b"c"):
            self.retained.store(topic, 1, b"x")
        self.assertEqual(self.retained.topics(), (b"a", b"c"))
        self.assertEqual(self.retained.evicted, 1)

    def test_a_topic_that_comes_back_goes_on_counting(self) -> None:
        """Whoever has seen its frame 3 would take a second frame 1 for an old one."""
        for topic in (b"a", b"a", b"a", b"b", b"c"):
            self.retained.store(topic, 1, b"x")
        self.assertIsNone(self.retained.get(b"a"))
        self.assertEqual(self.retained.floor, 3)
        self.assertEqual(self.retained.store(b"a", 1, b"new"), 4)

    def test_restoring_keeps_the_numbers_whatever_was_dropped(self) -> None:
        for topic in (b"a", b"a", b"a", b"b", b"c"):
            self.retained.store(topic, 1, b"x")
        self.assertTrue(self.retained.restore(b"d", 2, 2, [b"1", b"2"]))
        self.assertKept(b"d", 2, [b"1", b"2"])

    def test_a_forgotten_topic_starts_again(self) -> None:
        self.retained.store(b"a", 1, b"x")
        self.retained.forget(b"a")
        self.retained.forget(b"never there")
        self.assertIsNone(self.retained.get(b"a"))
        self.assertEqual(self.retained.store(b"a", 1, b"y"), 1)

    def test_against_a_model(self) -> None:
        run_state_machine_as_test(RetainedMachine)


class RetainedMachine(RuleBasedStateMachine):
    """RetainedFrames against whole histories."""

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
        self.kept[topic] = (depth, offset, frames[-depth:])

    @rule(topic=TOPICS, depth=DEPTHS, frame=FRAMES)
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

    @rule(topic=TOPICS, depth=DEPTHS, offset=st.integers(0, 9), frames=st.lists(FRAMES, max_size=5))
    def restore(self, topic: bytes, depth: int, offset: int, frames: list[bytes]) -> None:
        news = offset > self.kept.get(topic, (0, 0, []))[1]
        assert self.retained.restore(topic, depth, offset, frames) == news
        if news:
            self.keep(topic, depth, offset, frames)

    @rule(topic=TOPICS)
    def forget(self, topic: bytes) -> None:
        self.retained.forget(topic)
        self.kept.pop(topic, None)

    @invariant()
    def agrees(self) -> None:
        assert self.retained.topics() == tuple(self.kept)
        assert self.retained.evicted == self.evicted
        for topic, (depth, offset, frames) in self.kept.items():
            entry = self.retained.get(topic)
            assert entry is not None
            assert (entry.depth, entry.offset, list(entry.frames)) == (depth, offset, frames)
