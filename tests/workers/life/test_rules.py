"""The rules, the neighbourhoods, the oracle and a cell."""

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from workers.life.cell import Cell, Course, Phase, UnexpectedMessage, parse_update
from workers.life.rules import Grid, lives_on, neighbours, next_generation


def slowly(grid: Grid, wrap: bool) -> Grid:
    """The next generation, word for word by the rules."""
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
    def test_three_give_life_and_two_keep_it(self) -> None:
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

    def test_a_torus_goes_round(self) -> None:
        self.assertIn((8, 8), neighbours(0, 0, 9, wrap=True))

    def test_narrow_toruses_count_neighbours_several_times(self) -> None:
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

    def test_outside(self) -> None:
        self.assertRaises(ValueError, Grid.of, 3, [(0, 3)])


class OracleTests(SynchronousTestCase):
    @given(st.integers(1, 9), st.booleans(), st.integers(min_value=0))
    def test_equals_the_rules_word_for_word(self, size: int, wrap: bool, bits: int) -> None:
        grid = Grid(size, bits % (1 << (size * size)))
        self.assertEqual(next_generation(grid, wrap), slowly(grid, wrap))


class ParseTests(SynchronousTestCase):
    def test_an_update(self) -> None:
        self.assertEqual(parse_update(b"12 3 45 1"), (12, (3, 45), 1))

    def test_nonsense(self) -> None:
        for nonsense in (b"", b"1 2 3", b"1 2 3 2", b"1  2 3 1", b"-1 2 3 1", b"1 2 3 1\n", b"x"):
            self.assertRaises(UnexpectedMessage, parse_update, nonsense)


class CellTests(SynchronousTestCase):
    def running(self, course: Course, row: int = 0, col: int = 0, alive: bool = True) -> Cell:
        cell = Cell(course, row, col, alive)
        cell.receive([b"sub"])
        cell.receive([b"run"])
        return cell

    def test_says_whom_it_follows_and_then_its_state(self) -> None:
        cell = Cell(Course(2), 0, 0, alive=True)
        said = cell.receive([b"sub"])
        self.assertEqual(sorted(said[:-1]), [b"0 1", b"1 0", b"1 1"])
        self.assertEqual(said[-1], b"sub")
        self.assertEqual(cell.receive([b"run"]), [b"0 0 0 1"])

    def test_goes_on_when_it_knows_everything(self) -> None:
        cell = self.running(Course(2), alive=False)
        self.assertEqual(cell.receive([b"0 0 1 1", b"0 1 0 0"]), [])
        self.assertEqual(cell.missing, 1)
        # (0,1) counts twice, (1,1) four times: six living neighbours
        self.assertEqual(cell.receive([b"0 1 1 1"]), [b"1 0 0 0"])

    def test_hears_neighbours_that_are_a_step_ahead(self) -> None:
        cell = self.running(Course(2), alive=False)
        said = cell.receive([b"0 0 1 0", b"1 0 1 0", b"0 1 0 0", b"1 1 0 0", b"0 1 1 0"])
        self.assertEqual(said, [b"1 0 0 0"])
        self.assertEqual(cell.receive([b"1 1 1 0"]), [b"2 0 0 0"])

    def test_catches_up_two_steps_at_once(self) -> None:
        cell = self.running(Course(2), alive=False)
        ahead = [b"1 0 1 0", b"1 1 0 0", b"1 1 1 0"]
        now = [b"0 0 1 0", b"0 1 0 0", b"0 1 1 0"]
        self.assertEqual(cell.receive(ahead), [])
        self.assertEqual(cell.receive(now), [b"1 0 0 0", b"2 0 0 0"])

    def test_run_and_the_first_updates_in_one_chunk(self) -> None:
        cell = Cell(Course(1), 0, 0, alive=True)
        cell.receive([b"sub"])
        self.assertEqual(cell.receive([b"run", b"0 0 0 1"]), [b"0 0 0 1", b"1 0 0 0"])

    def test_waits_for_the_horizon(self) -> None:
        course = Course(1, horizon=0)
        cell = self.running(course)
        self.assertEqual(cell.receive([b"0 0 0 1"]), [])
        self.assertTrue(cell.ready)
        self.assertEqual(cell.go_on(), [])
        course.horizon = 1
        self.assertEqual(cell.go_on(), [b"1 0 0 0"])
        self.assertFalse(cell.ready)

    def test_finishes_when_it_knows_the_last_step(self) -> None:
        cell = self.running(Course(1, last=1))
        self.assertEqual(cell.receive([b"0 0 0 1"]), [b"1 0 0 0"])
        self.assertIs(cell.phase, Phase.RUNNING)
        self.assertEqual(cell.receive([b"1 0 0 0"]), [])
        self.assertIs(cell.phase, Phase.FINISHED)
        self.assertRaises(UnexpectedMessage, cell.receive, [b"2 0 0 0"])

    def test_without_neighbours_one_step_a_call(self) -> None:
        cell = Cell(Course(1, wrap=False), 0, 0, alive=True)
        self.assertEqual(cell.receive([b"sub"]), [b"sub"])
        self.assertEqual(cell.receive([b"run"]), [b"0 0 0 1", b"1 0 0 0"])
        self.assertEqual(cell.go_on(), [b"2 0 0 0"])
        self.assertTrue(cell.alone)

    def test_refuses_what_it_must_not_hear(self) -> None:
        course = Course(5)
        for wrong, why in (
            ([b"0 3 3 1"], "no neighbour"),
            ([b"0 0 1 1", b"0 0 1 1"], "second time"),
            ([b"1 0 1 1", b"1 0 1 1"], "second time"),
            ([b"2 0 1 1"], "at step 0"),
            ([b"run"], "no update"),
        ):
            error = self.assertRaises(UnexpectedMessage, self.running(course).receive, wrong)
            self.assertIn(why, str(error))
        self.assertRaises(UnexpectedMessage, Cell(course, 0, 0, True).receive, [b"run"])

    def test_a_game_of_cells_equals_the_oracle(self) -> None:
        dice = random.Random(7)
        for size, wrap in ((1, True), (2, True), (2, False), (3, True), (3, False), (7, True)):
            self.play(Grid(size, dice.getrandbits(size * size)), wrap, steps=6, dice=dice)

    def play(self, grid: Grid, wrap: bool, steps: int, dice: random.Random) -> None:
        """Relay between cells in random order, but in order from each to each."""
        size = grid.size
        course = Course(size, wrap, last=steps)
        cells = {
            (row, col): Cell(course, row, col, grid.alive(row, col))
            for row in range(size)
            for col in range(size)
        }
        followers: dict[bytes, list[tuple[int, int]]] = {}
        for place, cell in cells.items():
            for follow in cell.receive([b"sub"])[:-1]:
                followers.setdefault(follow, []).append(place)
        sent: dict[int, set[tuple[int, int]]] = {}
        queues: dict[tuple[bytes, tuple[int, int]], list[bytes]] = {}

        def relay(updates: list[bytes]) -> None:
            for update in updates:
                step, place, state = parse_update(update)
                if state:
                    sent.setdefault(step, set()).add(place)
                name = b"%d %d" % place
                for follower in followers.get(name, ()):
                    queues.setdefault((name, follower), []).append(update)

        for cell in cells.values():
            relay(cell.receive([b"run"]))
        while queues:
            link = dice.choice(sorted(queues))
            update = queues[link].pop(0)
            if not queues[link]:
                del queues[link]
            relay(cells[link[1]].receive([update]))
        while any(cell.ready for cell in cells.values()):  # without neighbours: nobody to hear
            for cell in cells.values():
                relay(cell.go_on())
        for cell in cells.values():
            self.assertIs(cell.phase, Phase.FINISHED)
        for step in range(steps + 1):
            self.assertEqual(Grid.of(size, sent.get(step, ())), grid)
            grid = next_generation(grid, wrap)
