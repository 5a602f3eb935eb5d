"""Compares every cell of every generation with the oracle.

Each shard reports a generation when all its cells have reached it; the shards may be some steps
apart. A generation is compared when all shards have reported it. The cells compute their states
from messages that the server relays, so a corrupted message causes a wrong cell.
"""

from dataclasses import dataclass

from workers.life.rules import Grid, next_generation


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first wrong cell, in the order of generations, then rows, then columns."""

    step: int
    row: int
    col: int
    expected: bool
    got: bool

    def __str__(self) -> str:
        return (
            f"step {self.step}, cell {self.row},{self.col}: expected {self.expected:d} "
            f"({'alive' if self.expected else 'dead'}), got {self.got:d}"
        )


class Verification:
    """Call `add` with each report of a shard; the results are `generations` and `mismatch`.

    start: generation 0. shards: the number of reports for each generation; each has the living
    cells of one shard, as in Grid.bits.
    """

    def __init__(self, start: Grid, wrap: bool, shards: int) -> None:
        self.mismatch: Mismatch | None = None
        self.generations = 0  # complete generations that equal the oracle's
        self._expected = start
        self._wrap = wrap
        self._shards = shards
        self._reported: dict[int, tuple[int, int]] = {}  # step -> number of reports, bits so far

    def add(self, step: int, bits: int) -> None:
        """Add one shard's living cells of `step`."""
        shards, known = self._reported.get(step, (0, 0))
        self._reported[step] = shards + 1, known | bits
        while self.mismatch is None:
            shards, bits = self._reported.get(self.generations, (0, 0))
            if shards < self._shards:
                return
            del self._reported[self.generations]
            self._compare(bits)

    def _compare(self, bits: int) -> None:
        expected = self._expected
        wrong = expected.bits ^ bits
        if wrong:
            cell = (wrong & -wrong).bit_length() - 1
            row, col = divmod(cell, expected.size)
            self.mismatch = Mismatch(
                self.generations,
                row,
                col,
                expected=expected.alive(row, col),
                got=bool(bits >> cell & 1),
            )
            return
        self.generations += 1
        self._expected = next_generation(expected, self._wrap)
