"""The rules, the neighbours of a cell, and the oracle."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from workers.life.rules import Grid, lives_on, neighbours, next_generation


def cell_by_cell(grid: Grid, wrap: bool) -> Grid:
    """Return the next generation, computed cell by cell."""
    alive = set(grid.living())
    size = grid.size
    return Grid.of(
        size,
        [
            (row, col)
            for row in range(size)
            for col in range(size)
            if lives_on(
                (row, col) in alive,
                sum(
                    weight
                    for neighbour, weight in neighbours(row, col, size, wrap).items()
                    if neighbour in alive
                ),
            )
        ],
    )


class RuleTests(SynchronousTestCase):
    def test_two_or_three_neighbours(self) -> None:
        self.assertEqual([n for n in range(9) if lives_on(False, n)], [3])
        self.assertEqual([n for n in range(9) if lives_on(True, n)], [2, 3])


class NeighbourTests(SynchronousTestCase):
    def test_eight_in_the_middle(self) -> None:
        around = neighbours(1, 1, 3, wrap=False)
        self.assertEqual(set(around.values()), {1})
        self.assertEqual(len(around), 8)
        self.assertNotIn((1, 1), around)

    def test_three_in_a_corner_without_wrap(self) -> None:
        self.assertEqual(set(neighbours(0, 0, 9, wrap=False)), {(0, 1), (1, 0), (1, 1)})

    def test_a_torus_wraps(self) -> None:
        self.assertIn((8, 8), neighbours(0, 0, 9, wrap=True))

    def test_narrow_tori_count_neighbours_several_times(self) -> None:
        self.assertEqual(neighbours(0, 0, 1, wrap=True), {(0, 0): 8})
        self.assertEqual(neighbours(0, 0, 2, wrap=True), {(0, 1): 2, (1, 0): 2, (1, 1): 4})
        self.assertEqual(neighbours(0, 0, 1, wrap=False), {})

    @given(st.integers(1, 12), st.data())
    def test_a_torus_always_counts_eight(self, size: int, data: st.DataObject) -> None:
        row, col = (data.draw(st.integers(0, size - 1)) for _ in "rc")
        self.assertEqual(sum(neighbours(row, col, size, wrap=True).values()), 8)


class GridTests(SynchronousTestCase):
    def test_states_are_in_reading_order(self) -> None:
        grid = Grid.of(3, [(0, 1), (2, 0)])
        self.assertEqual(grid.states(), bytes([0, 1, 0, 0, 0, 0, 1, 0, 0]))
        self.assertEqual(grid.living(), [(0, 1), (2, 0)])
        self.assertTrue(grid.alive(2, 0))
        self.assertFalse(grid.alive(0, 2))

    def test_cells_outside_the_grid_are_refused(self) -> None:
        self.assertRaises(ValueError, Grid.of, 3, [(0, 3)])


class OracleTests(SynchronousTestCase):
    @given(st.integers(1, 9), st.booleans(), st.integers(min_value=0))
    def test_equals_the_rules(self, size: int, wrap: bool, bits: int) -> None:
        grid = Grid(size, bits % (1 << (size * size)))
        self.assertEqual(next_generation(grid, wrap), cell_by_cell(grid, wrap))
