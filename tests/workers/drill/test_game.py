"""The watcher of a drill compares the boards that the server sends."""

import struct

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.game import Watcher
from workers.life.patterns import random_start
from workers.life.rules import Grid, next_generation


def snapshot(grid: Grid, step: int) -> bytes:
    bits = bytearray((grid.size**2 + 7) // 8)
    for index, state in enumerate(grid.states()):
        bits[index >> 3] |= state << (index & 7)
    return struct.pack("<cHI", b"S", grid.size, step) + bytes(bits)


class WatcherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.watcher = Watcher(["ws://host/"], 6, seed=3)
        self.grids = [random_start(6, 3)]
        for _ in range(9):
            self.grids.append(next_generation(self.grids[-1], True))

    def test_boards_that_equal_the_oracle(self) -> None:
        self.watcher._board(snapshot(self.grids[2], 2))
        before, after = self.grids[2].states(), self.grids[3].states()
        codes = [i * 2 + state for i, state in enumerate(after) if state != before[i]]
        self.watcher._board(struct.pack(f"<cII{len(codes)}I", b"D", 3, len(codes), *codes))
        self.watcher._board(snapshot(self.grids[7], 7))  # steps may be skipped
        self.assertEqual((self.watcher.step, self.watcher.boards, self.watcher.wrong), (7, 3, ""))

    def test_a_board_that_differs(self) -> None:
        self.watcher._board(snapshot(self.grids[4], 5))
        self.assertEqual(self.watcher.wrong, "the board at step 5 differs from the oracle")

    def test_the_board_of_another_game_is_ignored(self) -> None:
        self.watcher._board(snapshot(random_start(5, 3), 4))
        self.assertEqual(self.watcher.step, -1)
