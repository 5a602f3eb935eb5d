"""The Game of Life: rules, neighbourhoods, the oracle, and one cell that talks to its neighbours.

Everything that is about the game itself lives here; nothing here knows connections or time.

What a cell and the server say to each other (text messages):

    < sub                 every cell is connected: say whom you follow
    > ROW COL             one for each distinct neighbour
    > sub                 that was all
    < run                 every cell has said so
    > STEP ROW COL STATE  this cell's state (1 alive, 0 dead) in generation STEP
    < STEP ROW COL STATE  the same of a neighbour

A cell that knows all its neighbours' states of step N goes on to N+1. Its neighbours may then be
one step ahead of it, never two.
"""

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

SMALLEST = 1
LARGEST = 1000  # the server refuses more

_UPDATE = re.compile(rb"(\d{1,10}) (\d{1,4}) (\d{1,4}) ([01])")


class UnexpectedMessage(Exception):
    """The server said something that this cell must never hear; the text says what and why."""


def lives_on(alive: bool, neighbours: int) -> bool:
    """The rule: three neighbours give life, two keep it."""
    return neighbours == 3 or (alive and neighbours == 2)


def neighbours(row: int, col: int, size: int, wrap: bool) -> dict[tuple[int, int], int]:
    """The cells around (row, col) on a grid of size x size, and how often each counts.

    On a torus (`wrap`) one or two cells wide, a cell meets the same neighbour several times, or
    itself, and counts it as often. Elsewhere every weight is 1. Without `wrap`, what is beyond the
    edge is dead and no neighbour.
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
    """One generation: `bits` has bit row * size + col set where a cell is alive."""

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
    """The oracle: what `grid` becomes, computed without any message.

    All cells at once: the grid is one integer, the eight neighbours are that integer shifted, and
    adding the eight happens in three integers that hold the bits of every cell's sum. Eight looks
    like zero there; the rule treats both alike.
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


@lru_cache(maxsize=1 << 16)
def parse_update(message: bytes) -> tuple[int, tuple[int, int], int]:
    """`STEP ROW COL STATE` -> (step, (row, col), state).

    Remembered, because a process with many cells hears every update up to eight times: 0.1 us
    instead of 1.5.
    """
    found = _UPDATE.fullmatch(message)
    if found is None:
        raise UnexpectedMessage(f"this is no update of a cell: {message[:80]!r}")
    step, row, col, state = map(int, found.groups())
    return step, (row, col), state


class Phase(enum.Enum):
    """Where a cell is: WAITING -sub-> FOLLOWING -run-> RUNNING -the last step-> FINISHED."""

    WAITING = enum.auto()
    FOLLOWING = enum.auto()
    RUNNING = enum.auto()
    FINISHED = enum.auto()


@dataclass(slots=True)
class Course:
    """What all cells of one game share.

    horizon: the highest step that a cell may send now; raise it, then call `go_on` of each cell.
    last: the step after which cells are finished; None: never.
    """

    size: int
    wrap: bool = True
    horizon: float = float("inf")
    last: int | None = None


class Cell:
    """One cell of the game, as a client of the server.

    Feed it the server's messages (`receive`) and send what it returns. A message that does not
    fit raises UnexpectedMessage; the cell is then of no further use.
    """

    __slots__ = (
        "_ahead",
        "_ahead_count",
        "_count",
        "_course",
        "_limit",
        "_missing",
        "_weights",
        "alive",
        "col",
        "phase",
        "row",
        "step",
    )

    def __init__(self, course: Course, row: int, col: int, alive: bool) -> None:
        self.row = row
        self.col = col
        self.alive = alive
        self.step = 0
        self.phase = Phase.WAITING
        self._course = course
        self._limit = float("inf") if course.last is None else course.last
        self._weights = neighbours(row, col, course.size, course.wrap)
        self._missing = self._weights.copy()  # neighbours whose state of `step` is not known
        self._count = 0  # living neighbours known so far
        self._ahead = self._weights.copy()  # the same for `step` + 1
        self._ahead_count = 0

    @property
    def missing(self) -> int:
        """How many neighbours' states of the present step are not known yet."""
        return len(self._missing)

    @property
    def alone(self) -> bool:
        """Has no neighbours: nothing it hears will make it go on."""
        return not self._weights

    @property
    def ready(self) -> bool:
        """Knows all of its step, and waits for nothing but the horizon."""
        return self.phase is Phase.RUNNING and not self._missing

    def update(self) -> bytes:
        """This cell's own message about its step."""
        return b"%d %d %d %d" % (self.step, self.row, self.col, self.alive)

    def receive(self, messages: Iterable[bytes]) -> list[bytes]:
        """Take the server's messages, in order; return the cell's, in order."""
        if self.phase is not Phase.RUNNING:
            return self._gather(messages)
        # The hot loop: eight messages a step for each cell. Local names, no calls but the parser.
        step = self.step
        missing = self._missing
        for message in messages:
            its_step, neighbour, state = parse_update(message)
            if its_step == step:
                weight = missing.pop(neighbour, 0)
                if state:
                    self._count += weight
            elif its_step == step + 1:
                weight = self._ahead.pop(neighbour, 0)
                if state:
                    self._ahead_count += weight
            else:
                weight = 0
            if not weight:
                raise self._complaint(message, its_step, neighbour)
        return [] if missing else self.go_on()

    def go_on(self) -> list[bytes]:
        """Go from step to step as far as is known and allowed; return the messages to send."""
        sent: list[bytes] = []
        while self.phase is Phase.RUNNING and not self._missing:
            if self.step >= self._limit:
                self.phase = Phase.FINISHED
            elif self.step >= self._course.horizon or (sent and not self._weights):
                break  # without neighbours it would go on for ever: one step a call
            else:
                self.alive = lives_on(self.alive, self._count)
                self.step += 1
                self._missing, self._count = self._ahead, self._ahead_count
                self._ahead, self._ahead_count = self._weights.copy(), 0
                sent.append(self.update())
        return sent

    def _gather(self, messages: Iterable[bytes]) -> list[bytes]:
        """Before the game runs (and after it): one message is one event."""
        sent: list[bytes] = []
        left = iter(messages)
        for message in left:
            if self.phase is Phase.WAITING and message == b"sub":
                sent.extend(b"%d %d" % neighbour for neighbour in self._weights)
                sent.append(b"sub")
                self.phase = Phase.FOLLOWING
            elif self.phase is Phase.FOLLOWING and message == b"run":
                self.phase = Phase.RUNNING
                sent.append(self.update())
                sent.extend(self.receive(left))
            else:
                raise UnexpectedMessage(
                    f"cell {self.row},{self.col} got {message[:80]!r} while it is "
                    f"{self.phase.name.lower()}"
                )
        return sent

    def _complaint(
        self, message: bytes, step: int, neighbour: tuple[int, int]
    ) -> UnexpectedMessage:
        if neighbour not in self._weights:
            why = "which is no neighbour"
        elif step in (self.step, self.step + 1):
            why = "a second time"
        else:
            why = f"while it is at step {self.step}"
        return UnexpectedMessage(f"cell {self.row},{self.col} got {message!r}, {why}")
