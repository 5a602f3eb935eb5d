"""One cell of the Game of Life as a client of the server: a state machine without I/O.

The cell and the server exchange text messages:

    < sub                 every cell is connected: subscribe to your neighbours
    > ROW COL             one for each distinct neighbour
    > sub                 the subscriptions are complete
    < run                 every cell has subscribed
    > STEP ROW COL STATE  this cell's state (1 alive, 0 dead) in generation STEP
    < STEP ROW COL STATE  a neighbour's state in generation STEP

A cell that knows all its neighbours' states of step N goes on to N+1. Its neighbours may then be
one step ahead of it, never two.
"""

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from workers.life.rules import lives_on, neighbours

_UPDATE = re.compile(rb"(\d{1,10}) (\d{1,4}) (\d{1,4}) ([01])")


class UnexpectedMessage(Exception):
    """The server said something that this cell must never hear; the text says what and why."""


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
                break  # without neighbours the loop would not end: one step per call
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
