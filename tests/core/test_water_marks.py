"""The fill level of a queue."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.water_marks import HIGH_WATER, LOW_WATER, WaterMarks

SIZES = st.integers(0, 1000)


class WaterMarksTests(SynchronousTestCase):
    """WaterMarks: full above ``high``, free again at ``low``."""

    def test_the_defaults_are_marks(self) -> None:
        marks = WaterMarks(HIGH_WATER, LOW_WATER)
        self.assertEqual((marks.level, marks.full), (0, False))

    def test_marks_in_the_wrong_order_are_refused(self) -> None:
        self.assertRaises(ValueError, WaterMarks, 1, 2)
        self.assertRaises(ValueError, WaterMarks, 1, -1)

    def test_filling_and_freeing_are_reported_once(self) -> None:
        marks = WaterMarks(high=10, low=4)
        self.assertEqual([marks.add(5), marks.add(5), marks.add(1), marks.add(9)], [0, 0, 1, 0])
        self.assertTrue(marks.full)
        self.assertEqual([marks.remove(15), marks.remove(1), marks.remove(1)], [0, 1, 0])
        self.assertEqual((marks.full, marks.level), (False, 3))

    def test_removing_more_than_the_level_empties_the_queue(self) -> None:
        marks = WaterMarks(high=10, low=4)
        marks.add(11)
        self.assertTrue(marks.remove(100))
        self.assertEqual(marks.level, 0)

    @given(SIZES, SIZES, st.lists(st.tuples(st.booleans(), SIZES), max_size=60))
    def test_the_level_is_reported_with_hysteresis(
        self, one: int, other: int, changes: list[tuple[bool, int]]
    ) -> None:
        low, high = sorted((one, other))
        marks = WaterMarks(high, low)
        level, full = 0, False
        for adding, amount in changes:
            if adding:
                level += amount
                reported = marks.add(amount)
                self.assertEqual(reported, not full and level > high)
                full = full or reported
            else:
                level = max(0, level - amount)
                reported = marks.remove(amount)
                self.assertEqual(reported, full and level <= low)
                full = full and not reported
            self.assertEqual((marks.level, marks.full), (level, full))
            if level > high:
                self.assertTrue(marks.full)
            if level <= low and not adding:
                self.assertFalse(marks.full)
