"""Sequence numbers per origin."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.sequence_numbers import SequenceTracker, Verdict


class SequenceTests(SynchronousTestCase):
    """SequenceTracker."""

    def test_numbers_from_one_are_in_order(self) -> None:
        tracker = SequenceTracker()
        verdicts = [tracker.observe(number) for number in (1, 2, 3)]
        self.assertEqual(verdicts, [Verdict.IN_ORDER] * 3)
        self.assertEqual((tracker.last, tracker.missing), (3, 0))

    def test_a_gap_is_delivered_and_counted(self) -> None:
        tracker = SequenceTracker()
        tracker.observe(1)
        self.assertIs(tracker.observe(5), Verdict.GAP)
        self.assertIs(tracker.observe(6), Verdict.IN_ORDER)
        self.assertEqual((tracker.last, tracker.missing), (6, 3))

    def test_a_first_number_above_one_is_a_gap(self) -> None:
        tracker = SequenceTracker()
        self.assertIs(tracker.observe(2), Verdict.GAP)
        self.assertEqual(tracker.missing, 1)

    def test_an_old_number_is_a_duplicate(self) -> None:
        tracker = SequenceTracker()
        tracker.observe(1)
        tracker.observe(4)
        for number in (4, 1, 2):
            self.assertIs(tracker.observe(number), Verdict.DUPLICATE)
        self.assertEqual((tracker.last, tracker.missing), (4, 2))

    def test_numbers_below_one_are_refused_and_change_nothing(self) -> None:
        tracker = SequenceTracker()
        tracker.observe(1)
        for number in (0, -1):
            self.assertRaises(ValueError, tracker.observe, number)
        self.assertEqual((tracker.last, tracker.missing), (1, 0))

    def test_zero_is_refused_at_the_start_too(self) -> None:
        self.assertRaises(ValueError, SequenceTracker().observe, 0)

    @given(st.lists(st.integers(0, 3), max_size=60), st.data())
    def test_each_is_delivered_at_most_once_and_losses_are_counted(
        self, copies: list[int], data: st.DataObject
    ) -> None:
        """A FIFO link with losses (0 copies), and re-sending from an earlier number after a cut."""
        stream: list[int] = []
        for number, times in enumerate(copies, 1):
            stream += [number] * times
            if stream and data.draw(st.booleans()):
                again = data.draw(st.integers(1, stream[-1]))
                stream += sorted({n for n in stream if n >= again})
        tracker = SequenceTracker()
        delivered = [n for n in stream if tracker.observe(n) is not Verdict.DUPLICATE]
        self.assertEqual(delivered, sorted(set(stream)))
        self.assertEqual(tracker.last, max(stream, default=0))
        self.assertEqual(tracker.missing, tracker.last - len(delivered))
