"""The rules of the Game of Life, the neighbourhood of a cell, and the oracle.

Pure functions of grids, without messages, connections or time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

SMALLEST = 1
LARGEST = 1000  # the server refuses more


def lives_on(alive: bool, neighbours: int) -> bool:
    """Whether a cell lives in the next generation. neighbours: how many of them are alive."""
    return neighbours == 3 or (alive and neighbours == 2)


def neighbours(row: int, col: int, size: int, wrap: bool) -> dict[tuple[int, int], int]:
    """Return the cells around (row, col) on a grid of size x size, with the weight of each.

    On a torus (`wrap`) with one or two rows, a cell has the same neighbour several times, or is its
    own neighbour; the weight is the number of times. Otherwise every weight is 1. Without `wrap`,
    cells at the edge have fewer neighbours.
    """
    weights: dict[tuple[int, int], int] = {}
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            if not down and not right:
                continue
            there = row + down, col + right
            if wrap:
                there = there[0] % size, there[1] % size
            elif not (0 <= there[0] < size and 0 <= there[1] < size):
                continue
            weights[there] = weights.get(there, 0) + 1
    return weights


@dataclass(frozen=True, slots=True)
class Grid:
    """One generation. Bit row * size + col of `bits` is 1 if that cell is alive."""

    size: int
    bits: int = 0

    @classmethod
    def of(cls, size: int, alive: Iterable[tuple[int, int]]) -> "Grid":
        bits = 0
        for row, col in alive:
            if not (0 <= row < size and 0 <= col < size):
                raise ValueError(f"cell {row},{col} is outside a grid of {size}x{size}")
            bits |= 1 << (row * size + col)
        return cls(size, bits)

    def alive(self, row: int, col: int) -> bool:
        return bool(self.bits >> (row * self.size + col) & 1)

    def states(self) -> bytes:
        """One byte, 0 or 1, for each cell, row by row."""
        cells = self.size * self.size
        return f"{self.bits:0{cells}b}".encode().translate(_FROM_DIGITS)[::-1]

    def living(self) -> list[tuple[int, int]]:
        return [divmod(cell, self.size) for cell, state in enumerate(self.states()) if state]


_FROM_DIGITS = bytes.maketrans(b"01", b"\x00\x01")


def next_generation(grid: Grid, wrap: bool) -> Grid:
    """The oracle: the next generation of the grid, computed without any message.

    It computes all cells at once. The grid is one integer, and the eight neighbours of all cells
    are this integer shifted in eight directions. Three further integers hold the three bits of each
    cell's sum of neighbours. A sum of eight overflows to zero; in both cases the cell is dead next.
    """
    size = grid.size
    cells = size * size
    everything = (1 << cells) - 1
    first_column = _first_column(size)
    last_column = first_column << (size - 1)

    def beside(bits: int) -> tuple[int, int]:
        from_left = (bits & ~last_column) << 1
        from_right = (bits & ~first_column) >> 1
        if wrap:
            from_left |= (bits & last_column) >> (size - 1)
            from_right |= (bits & first_column) << (size - 1)
        return from_left, from_right

    def above_and_below(bits: int) -> tuple[int, int]:
        from_above = (bits << size) & everything
        from_below = bits >> size
        if wrap:
            from_above |= bits >> (cells - size)
            from_below |= (bits << (cells - size)) & everything
        return from_above, from_below

    left, right = beside(grid.bits)
    around = [left, right]
    for row in (grid.bits, left, right):
        around.extend(above_and_below(row))
    ones = twos = fours = 0
    for bits in around:
        carry = ones & bits
        ones ^= bits
        fours ^= twos & carry
        twos ^= carry
    two_or_three = twos & ~fours
    return Grid(size, two_or_three & (ones | grid.bits))


@lru_cache(maxsize=8)
def _first_column(size: int) -> int:
    return sum(1 << (row * size) for row in range(size))
