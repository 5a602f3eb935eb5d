"""One cell of the Game of Life as a client of the server: a state machine without I/O.

The cell and the server exchange text messages:

    < sub                 every cell is connected: subscribe to your neighbours
    > ROW COL             one for each distinct neighbour
    > sub                 the subscriptions are complete
    < run                 every cell has subscribed
    > STEP ROW COL STATE  this cell's state (1 alive, 0 dead) in generation STEP
    < STEP ROW COL STATE  a neighbour's state in generation STEP

A cell that knows all its neighbours' states of step N advances to step N+1. Its neighbours can be
one step ahead of it, but not two.

A cell that has lost its connection opens another one to resume. There it subscribes as at first,
and after `run` sends its last two states again, because its neighbours can be one step behind it.
The server sends it the last two states of its neighbours. Each cell ignores states that it knows.
"""

import enum
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from workers.life.rules import lives_on, neighbours

_UPDATE = re.compile(rb"(\d{1,10}) (\d{1,4}) (\d{1,4}) ([01])")


class UnexpectedMessage(Exception):
    """The server has sent a message that this cell must not receive; the text has the reason."""


@lru_cache(maxsize=1 << 16)
def parse_update(message: bytes) -> tuple[int, tuple[int, int], int]:
    """`STEP ROW COL STATE` -> (step, (row, col), state). Raises UnexpectedMessage.

    Cached, because a process with many cells receives every update up to eight times.
    """
    found = _UPDATE.fullmatch(message)
    if found is None:
        raise UnexpectedMessage(f"not an update of a cell: {message[:80]!r}")
    step, row, col, state = map(int, found.groups())
    return step, (row, col), state


class Phase(enum.Enum):
    """WAITING -sub-> SUBSCRIBED -run-> RUNNING -the last step-> FINISHED; any -lost-> WAITING."""

    WAITING = enum.auto()
    SUBSCRIBED = enum.auto()
    RUNNING = enum.auto()
    FINISHED = enum.auto()


@dataclass(slots=True)
class Course:
    """The state that the cells of one game share.

    horizon: the highest step that a cell may send now. To raise it, set it, then call `advance` of
    each cell. last: the step after which cells are finished; None: never. duplicates: how many
    states the cells have received more than once.
    """

    size: int
    wrap: bool = True
    horizon: float = float("inf")
    last: int | None = None
    duplicates: int = 0


class Cell:
    """One cell of the game, as a client of the server.

    Call `receive` with the server's messages, and send what it returns; call `lost` when the
    connection is lost, then `receive` with the messages of the next one. After an
    UnexpectedMessage do not use the cell any more.

    begun: the cell has sent a state.
    """

    __slots__ = (
        "_ahead",
        "_ahead_count",
        "_count",
        "_course",
        "_early",
        "_limit",
        "_missing",
        "_was_alive",
        "_weights",
        "alive",
        "begun",
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
        self.begun = False
        self._was_alive = alive  # in the step before
        self._early: list[bytes] = []  # states received before `run`
        self._course = course
        self._limit = float("inf") if course.last is None else course.last
        self._weights = neighbours(row, col, course.size, course.wrap)
        self._missing = self._weights.copy()  # neighbours whose state of `step` is unknown
        self._count = 0  # known living neighbours
        self._ahead = self._weights.copy()  # the same for `step` + 1
        self._ahead_count = 0

    @property
    def missing(self) -> int:
        """The number of neighbours whose state of the current step is unknown."""
        return len(self._missing)

    @property
    def alone(self) -> bool:
        """Whether the cell has no neighbours, so that no message will make it advance."""
        return not self._weights

    @property
    def ready(self) -> bool:
        """Whether the cell knows all its neighbours' states, and waits only for the horizon."""
        return self.phase is Phase.RUNNING and not self._missing

    def update(self) -> bytes:
        """This cell's message about its current step."""
        return b"%d %d %d %d" % (self.step, self.row, self.col, self.alive)

    def requests(self) -> list[bytes]:
        """Messages that ask for the newest states of the neighbours whose states are missing."""
        return [b"%d %d" % neighbour for neighbour in self._missing]

    def lost(self) -> None:
        """The connection is lost: the next messages are those of another one."""
        self.phase = Phase.WAITING
        self._early.clear()

    def receive(self, messages: Iterable[bytes]) -> list[bytes]:
        """Process the server's messages, in order; returns the cell's messages, in order."""
        if self.phase is not Phase.RUNNING:
            return self._receive_before_running(messages)
        # The hot path: eight messages per step for each cell. Local names; only `parse_update` is
        # called.
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
                self._ignore(message, its_step, neighbour)
        return [] if missing else self.advance()

    def advance(self) -> list[bytes]:
        """Advance as far as the neighbours' states and the horizon allow; returns the messages to
        send."""
        sent: list[bytes] = []
        while self.phase is Phase.RUNNING and not self._missing:
            if self.step >= self._limit:
                self.phase = Phase.FINISHED
            elif self.step >= self._course.horizon or (sent and not self._weights):
                break  # one step per call: a cell without neighbours would never stop
            else:
                self._was_alive = self.alive
                self.alive = lives_on(self.alive, self._count)
                self.step += 1
                self._missing, self._count = self._ahead, self._ahead_count
                self._ahead, self._ahead_count = self._weights.copy(), 0
                sent.append(self.update())
        return sent

    def _receive_before_running(self, messages: Iterable[bytes]) -> list[bytes]:
        """Process messages before the cell runs, and after it has finished."""
        sent: list[bytes] = []
        rest = iter(messages)
        for message in rest:
            if self.phase is Phase.WAITING and message == b"sub":
                sent.extend(b"%d %d" % neighbour for neighbour in self._weights)
                sent.append(b"sub")
                self.phase = Phase.SUBSCRIBED
            elif self.phase is Phase.SUBSCRIBED and message == b"run":
                sent.extend(self._run(rest))
            elif self.phase is Phase.FINISHED:
                step, neighbour, _ = parse_update(message)
                self._ignore(message, step, neighbour)
            elif self.phase is Phase.SUBSCRIBED:
                parse_update(message)
                self._early.append(message)
            else:
                raise UnexpectedMessage(
                    f"cell {self.row},{self.col} got {message[:80]!r} while it is "
                    f"{self.phase.name.lower()}"
                )
        return sent

    def _run(self, rest: Iterator[bytes]) -> list[bytes]:
        """The server has sent `run`: send the state, or the last two again, and continue."""
        sent: list[bytes] = []
        if self.begun and self.step:
            sent.append(b"%d %d %d %d" % (self.step - 1, self.row, self.col, self._was_alive))
        sent.append(self.update())
        self.begun = True
        self.phase = Phase.RUNNING
        early, self._early = self._early, []
        sent.extend(self.receive([*early, *rest]))
        return sent

    def _ignore(self, message: bytes, step: int, neighbour: tuple[int, int]) -> None:
        """Ignore a state that this cell knows. Raises UnexpectedMessage for any other one."""
        if neighbour not in self._weights:
            why = "which is not a neighbour"
        elif step > self.step + 1:
            why = f"while it is at step {self.step}"
        else:
            self._course.duplicates += 1
            return
        raise UnexpectedMessage(f"cell {self.row},{self.col} got {message!r}, {why}")
