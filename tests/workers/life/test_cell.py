"""One cell, and many of them with messages in random order."""

import random

from twisted.trial.unittest import SynchronousTestCase

from workers.life.cell import Cell, Course, Phase, UnexpectedMessage, parse_update
from workers.life.rules import Grid, next_generation


class ParseTests(SynchronousTestCase):
    def test_an_update_is_parsed(self) -> None:
        self.assertEqual(parse_update(b"12 3 45 1"), (12, (3, 45), 1))

    def test_invalid_messages_raise(self) -> None:
        for invalid in (b"", b"1 2 3", b"1 2 3 2", b"1  2 3 1", b"-1 2 3 1", b"1 2 3 1\n", b"x"):
            self.assertRaises(UnexpectedMessage, parse_update, invalid)


class CellTests(SynchronousTestCase):
    def running(self, course: Course, row: int = 0, col: int = 0, alive: bool = True) -> Cell:
        cell = Cell(course, row, col, alive)
        cell.receive([b"sub"])
        cell.receive([b"run"])
        return cell

    def test_a_cell_subscribes_then_sends_its_state(self) -> None:
        cell = Cell(Course(2), 0, 0, alive=True)
        sent = cell.receive([b"sub"])
        self.assertEqual(sorted(sent[:-1]), [b"0 1", b"1 0", b"1 1"])
        self.assertEqual(sent[-1], b"sub")
        self.assertEqual(cell.receive([b"run"]), [b"0 0 0 1"])

    def test_a_cell_advances_when_it_knows_all_states(self) -> None:
        cell = self.running(Course(2), alive=False)
        self.assertEqual(cell.receive([b"0 0 1 1", b"0 1 0 0"]), [])
        self.assertEqual(cell.missing, 1)
        # (0,1) counts twice, (1,1) four times: six living neighbours
        self.assertEqual(cell.receive([b"0 1 1 1"]), [b"1 0 0 0"])

    def test_neighbours_that_are_a_step_ahead(self) -> None:
        cell = self.running(Course(2), alive=False)
        sent = cell.receive([b"0 0 1 0", b"1 0 1 0", b"0 1 0 0", b"1 1 0 0", b"0 1 1 0"])
        self.assertEqual(sent, [b"1 0 0 0"])
        self.assertEqual(cell.receive([b"1 1 1 0"]), [b"2 0 0 0"])

    def test_a_cell_may_advance_two_steps_at_once(self) -> None:
        cell = self.running(Course(2), alive=False)
        ahead = [b"1 0 1 0", b"1 1 0 0", b"1 1 1 0"]
        now = [b"0 0 1 0", b"0 1 0 0", b"0 1 1 0"]
        self.assertEqual(cell.receive(ahead), [])
        self.assertEqual(cell.receive(now), [b"1 0 0 0", b"2 0 0 0"])

    def test_run_and_the_first_updates_may_arrive_in_one_chunk(self) -> None:
        cell = Cell(Course(1), 0, 0, alive=True)
        cell.receive([b"sub"])
        self.assertEqual(cell.receive([b"run", b"0 0 0 1"]), [b"0 0 0 1", b"1 0 0 0"])

    def test_a_cell_waits_for_the_horizon(self) -> None:
        course = Course(1, horizon=0)
        cell = self.running(course)
        self.assertEqual(cell.receive([b"0 0 0 1"]), [])
        self.assertTrue(cell.ready)
        self.assertEqual(cell.advance(), [])
        course.horizon = 1
        self.assertEqual(cell.advance(), [b"1 0 0 0"])
        self.assertFalse(cell.ready)

    def test_a_cell_finishes_when_it_knows_the_last_step(self) -> None:
        cell = self.running(Course(1, last=1))
        self.assertEqual(cell.receive([b"0 0 0 1"]), [b"1 0 0 0"])
        self.assertIs(cell.phase, Phase.RUNNING)
        self.assertEqual(cell.receive([b"1 0 0 0"]), [])
        self.assertIs(cell.phase, Phase.FINISHED)
        self.assertRaises(UnexpectedMessage, cell.receive, [b"3 0 0 0"])
        self.assertEqual(cell.receive([b"1 0 0 0"]), [])

    def test_a_cell_without_neighbours_advances_one_step_per_call(self) -> None:
        cell = Cell(Course(1, wrap=False), 0, 0, alive=True)
        self.assertEqual(cell.receive([b"sub"]), [b"sub"])
        self.assertEqual(cell.receive([b"run"]), [b"0 0 0 1", b"1 0 0 0"])
        self.assertEqual(cell.advance(), [b"2 0 0 0"])
        self.assertTrue(cell.alone)

    def test_unexpected_messages_raise(self) -> None:
        course = Course(5)
        for wrong, why in (
            ([b"0 3 3 1"], "not a neighbour"),
            ([b"2 0 1 1"], "at step 0"),
            ([b"run"], "not an update"),
        ):
            error = self.assertRaises(UnexpectedMessage, self.running(course).receive, wrong)
            self.assertIn(why, str(error))
        self.assertRaises(UnexpectedMessage, Cell(course, 0, 0, True).receive, [b"run"])

    def test_states_that_are_known_are_ignored_and_counted(self) -> None:
        course = Course(2)
        cell = self.running(course, alive=False)
        self.assertEqual(cell.receive([b"0 0 1 1", b"0 0 1 1", b"1 0 1 0", b"1 0 1 0"]), [])
        self.assertEqual(cell.receive([b"0 1 0 0", b"0 1 1 0", b"0 0 1 1"]), [b"1 0 0 0"])
        self.assertEqual((course.duplicates, cell.missing), (3, 2))

    def resume(self, cell: Cell, *early: bytes) -> list[bytes]:
        """Reconnect a cell; returns the states that it sends again."""
        cell.lost()
        self.assertEqual(cell.receive([b"sub"])[-1], b"sub")
        self.assertEqual(cell.receive(early), [])
        return cell.receive([b"run"])

    def test_a_cell_that_resumes_sends_its_last_two_states_again(self) -> None:
        cell = self.running(Course(2), alive=True)
        self.assertEqual(self.resume(cell), [b"0 0 0 1"])
        self.assertEqual(cell.receive([b"0 0 1 0", b"0 1 0 0", b"0 1 1 0"]), [b"1 0 0 0"])
        self.assertEqual(self.resume(cell), [b"0 0 0 1", b"1 0 0 0"])
        self.assertIs(cell.phase, Phase.RUNNING)

    def test_a_cell_that_resumes_may_receive_states_before_run(self) -> None:
        cell = self.running(Course(2), alive=True)
        sent = self.resume(cell, b"0 0 1 0", b"0 1 0 0", b"0 1 1 0")
        self.assertEqual(sent, [b"0 0 0 1", b"1 0 0 0"])

    def test_a_finished_cell_resumes_for_its_neighbours(self) -> None:
        cell = self.running(Course(1, last=0))
        self.assertEqual(cell.receive([b"0 0 0 1"]), [])
        self.assertIs(cell.phase, Phase.FINISHED)
        self.assertEqual(self.resume(cell), [b"0 0 0 1"])
        self.assertIs(cell.phase, Phase.FINISHED)

    def test_a_cell_may_lose_its_connection_before_it_runs(self) -> None:
        cell = Cell(Course(1), 0, 0, alive=True)
        for received in ([], [b"sub"], [b"sub"]):
            cell.receive(received)
            cell.lost()
        self.assertEqual(self.resume(cell, b"0 0 0 1"), [b"0 0 0 1", b"1 0 0 0"])

    def test_a_cell_asks_for_the_states_that_it_misses(self) -> None:
        cell = self.running(Course(2))
        cell.receive([b"0 0 1 0"])
        self.assertEqual(sorted(cell.requests()), [b"1 0", b"1 1"])

    def test_a_game_of_cells_equals_the_oracle(self) -> None:
        dice = random.Random(7)
        for size, wrap in ((1, True), (2, True), (2, False), (3, True), (3, False), (7, True)):
            self.play(Grid(size, dice.getrandbits(size * size)), wrap, steps=6, dice=dice)

    def play(self, grid: Grid, wrap: bool, steps: int, dice: random.Random) -> None:
        """Relay messages in random order, but in order between any two cells."""
        size = grid.size
        course = Course(size, wrap, last=steps)
        cells = {
            (row, col): Cell(course, row, col, grid.alive(row, col))
            for row in range(size)
            for col in range(size)
        }
        subscribers: dict[bytes, list[tuple[int, int]]] = {}
        for position, cell in cells.items():
            for message in cell.receive([b"sub"])[:-1]:
                subscribers.setdefault(message, []).append(position)
        sent: dict[int, set[tuple[int, int]]] = {}
        queues: dict[tuple[bytes, tuple[int, int]], list[bytes]] = {}

        def relay(updates: list[bytes]) -> None:
            for update in updates:
                step, position, state = parse_update(update)
                if state:
                    sent.setdefault(step, set()).add(position)
                name = b"%d %d" % position
                for subscriber in subscribers.get(name, ()):
                    queues.setdefault((name, subscriber), []).append(update)

        for cell in cells.values():
            relay(cell.receive([b"run"]))
        while queues:
            link = dice.choice(sorted(queues))
            update = queues[link].pop(0)
            if not queues[link]:
                del queues[link]
            relay(cells[link[1]].receive([update]))
        while any(cell.ready for cell in cells.values()):  # cells without neighbours
            for cell in cells.values():
                relay(cell.advance())
        for cell in cells.values():
            self.assertIs(cell.phase, Phase.FINISHED)
        for step in range(steps + 1):
            self.assertEqual(Grid.of(size, sent.get(step, ())), grid)
            grid = next_generation(grid, wrap)
