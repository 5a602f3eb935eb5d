"""Built-in patterns behave as expected; files are read; a pattern must fit the grid."""

from twisted.trial.unittest import SynchronousTestCase

from workers.life.patterns import BUILT_IN, BadPattern, cells_on_grid, load, plain, plaintext, rle
from workers.life.rules import Grid, next_generation


def after(name: str, steps: int, size: int) -> tuple[Grid, Grid]:
    start = grid = Grid.of(size, cells_on_grid(BUILT_IN[name], size))
    for _ in range(steps):
        grid = next_generation(grid, wrap=True)
    return start, grid


def shifted(grid: Grid, down: int, right: int) -> Grid:
    size = grid.size
    return Grid.of(
        size, [((row + down) % size, (col + right) % size) for row, col in grid.living()]
    )


class BuiltInTests(SynchronousTestCase):
    def test_oscillators(self) -> None:
        for name, period in (
            ("blinker", 2),
            ("toad", 2),
            ("beacon", 2),
            ("pulsar", 3),
            ("pentadecathlon", 15),
        ):
            start, end = after(name, period, 24)
            self.assertEqual(end, start, name)
            self.assertNotEqual(after(name, 1, 24)[1], start, name)

    def test_ships_move(self) -> None:
        start, end = after("glider", 4, 20)
        self.assertEqual(end, shifted(start, 1, 1))
        for name in ("lwss", "mwss", "hwss"):
            start, end = after(name, 4, 20)
            self.assertIn(end, (shifted(start, 0, 2), shifted(start, 0, -2)), name)

    def test_the_gun_shoots_a_glider_every_thirty_steps(self) -> None:
        grid = Grid.of(80, cells_on_grid(BUILT_IN["gosper"], 80, centred=False))
        counts = []
        for step in range(121):
            if step % 30 == 0:
                counts.append(len(grid.living()))
            grid = next_generation(grid, wrap=False)
        self.assertEqual(counts, [36, 41, 46, 51, 56])

    def test_methuselahs(self) -> None:
        self.assertEqual(len(BUILT_IN["r-pentomino"].cells), 5)
        self.assertEqual(len(BUILT_IN["acorn"].cells), 7)
        _, end = after("r-pentomino", 100, 100)
        self.assertEqual(len(end.living()), 121)


class FormatTests(SynchronousTestCase):
    glider = frozenset({(0, 1), (1, 2), (2, 0), (2, 1), (2, 2)})

    def test_plain(self) -> None:
        self.assertEqual(plain("p", " x\n..#\n@@@\n\n").cells, self.glider)

    def test_cells(self) -> None:
        pattern = plaintext("p", "!Name: Glider\n!\n.O.\n..O\nOOO\n")
        self.assertEqual((pattern.rows, pattern.cols, pattern.cells), (3, 3, self.glider))
        self.assertRaises(BadPattern, plaintext, "p", "12\n")

    def test_rle(self) -> None:
        text = "#C This is a glider.\nx = 3, y = 3, rule = B3/S23\nbo$2b\no$3o!\nleft out"
        self.assertEqual(rle("p", text).cells, self.glider)
        gun = rle(
            "gun",
            "x = 36, y = 9, rule = B3/S23\n24bo$22bobo$12b2o6b2o12b2o$11bo3bo4b2o12b2o$2o8b\n"
            "o5bo3b2o$2o8bo3bob2o4bobo$10bo5bo7bo$11bo3bo$12b2o!",
        )
        self.assertEqual(gun.cells, BUILT_IN["gosper"].cells)

    def test_rle_keeps_a_dead_border(self) -> None:
        pattern = rle("p", "x = 5, y = 4\n$bo!")
        self.assertEqual((pattern.rows, pattern.cols, pattern.cells), (4, 5, {(1, 1)}))

    def test_invalid_rle_is_refused(self) -> None:
        for text in ("", "bo!", "x = 3, y = 3, rule = B36/S23\nbo!", "x = 1, y = 1\nz!"):
            self.assertRaises(BadPattern, rle, "p", text)
        self.assertRaises(BadPattern, rle, "p", "x = 1, y = 1\n99999999999o!")

    def test_files(self) -> None:
        for name, text in (
            ("g.cells", "!c\n.O.\n..O\nOOO"),
            ("g.rle", "x = 3, y = 3\nbo$2bo$3o!"),
            ("g.txt", "#C an rle by its looks\nx = 3, y = 3\nbo$2bo$3o!"),
            ("g", ".*.\n..*\n***"),
        ):
            path = self.mktemp() + name
            with open(path, "w") as file:
                file.write(text)
            self.assertEqual(load(path).cells, self.glider, name)

    def test_no_such_pattern(self) -> None:
        error = self.assertRaises(BadPattern, load, "gosperr")
        self.assertIn("gosper,", str(error))
        with open(path := self.mktemp(), "wb") as file:
            file.write(b"\xff\xff")
        self.assertRaises(BadPattern, load, path)


class PositionTests(SynchronousTestCase):
    def test_in_the_middle_or_the_corner(self) -> None:
        self.assertEqual(cells_on_grid(BUILT_IN["blinker"], 5), [(2, 1), (2, 2), (2, 3)])
        corner = cells_on_grid(BUILT_IN["blinker"], 5, centred=False)
        self.assertEqual(corner, [(0, 0), (0, 1), (0, 2)])

    def test_a_pattern_may_fit_exactly(self) -> None:
        self.assertEqual(len(list(cells_on_grid(BUILT_IN["gosper"], 36))), 36)

    def test_a_pattern_that_does_not_fit_is_refused(self) -> None:
        error = self.assertRaises(BadPattern, cells_on_grid, BUILT_IN["gosper"], 35)
        self.assertIn("36 columns", str(error))
        self.assertIn("35x35", str(error))
