"""The server's side of one cell: checks and relays its worker's frames, and keeps the newest.

A frame is "step row column state". Those of a cell must be in the order of the steps.
"""

from typing import Protocol

from cluster import WebSocket, text_frame
from django_project.gameoflife.recent import Recent
from django_project.gameoflife.reports import Reports
from django_project.gameoflife.summary import Summary

POLICY_VIOLATION = 1008
SERVICE_RESTART = 1012

RESENT = 2
"""Frames that a worker sends again when it resumes: those of its last two steps. Its neighbours
are at most one step before or after it."""


class BadFrame(ValueError):
    """A client's message does not follow the protocol; the text for the client says how."""


def number(text: str | bytes, limit: int) -> int:
    """Decode a decimal number below ``limit``, in its shortest form. Raises BadFrame."""
    if (
        not text.isdigit()
        or not text.isascii()
        or len(text) > 10
        or (len(text) > 1 and int(text[:1]) == 0)
    ):
        raise BadFrame(f"not a number: {text[:20]!r}")
    value = int(text)
    if value >= limit:
        raise BadFrame(f"{value} is not below {limit}")
    return value


def position(words: list[str] | list[bytes], size: int) -> tuple[int, int]:
    """Decode the row and column of a cell. Raises BadFrame."""
    if len(words) != 2:
        raise BadFrame('expected "row column" of a neighbour, or "sub"')
    return number(words[0], size), number(words[1], size)


class CellsGame(Protocol):
    """What a cell uses of its game."""

    size: int
    claims: dict[int, "Cell"]
    recent: Recent
    reports: Reports
    summary: Summary
    subscribed: int

    def topic(self, row: int, column: int) -> bytes: ...

    def claim(self, cell: "Cell") -> None: ...

    def counts_changed(self) -> None: ...


class Cell:
    """One worker's cell, which is unknown until the first frame, or until ``resume``."""

    __slots__ = (
        "before",
        "code",
        "following",
        "game",
        "newest",
        "resent",
        "rest",
        "state",
        "step",
        "topic",
        "ws",
    )

    def __init__(self, ws: WebSocket, game: CellsGame) -> None:
        self.ws = ws
        self.game = game
        self.step = -1
        self.state = 0
        self.code = -1
        self.rest = (b"", b"")
        self.topic = b""
        self.following = False
        self.newest = self.before = b""  # the payloads of the last two frames
        self.resent = 0  # frames that are expected to be sent again

    @property
    def index(self) -> int:
        """The number of the cell on the board; -1 while it is unknown."""
        return self.code >> 1

    def resume(self, row: int, column: int) -> None:
        """The worker continues with this cell after it has lost its connection."""
        self._name(row, column)
        self.resent = RESENT

    def follows(self) -> None:
        """The worker has subscribed to its neighbours."""
        self.following = True
        if self.resent:
            # Not before: a connection may come from the queue of a killed node, and its client may
            # have gone to another one long ago.
            self.game.claim(self)
        self.game.subscribed += 1
        self.game.counts_changed()

    def message(self, payload: bytes, is_binary: bool) -> None:
        """Relay a frame. The hot path, called for every step of every cell, so it compares
        bytes."""
        label, _, rest = payload.partition(b" ")
        step = self.step + 1
        if step and rest in self.rest and label == b"%d" % step and not is_binary:
            state = 1 if rest == self.rest[1] else 0
        else:
            try:
                if payload.count(b" ") == 1 and not is_binary:
                    self._ask(payload)
                    return
                step, state = self._parse(payload, is_binary)
            except BadFrame as error:
                self.ws.close_now(POLICY_VIOLATION, str(error))
                return
        self.step = step
        self.before = self.newest
        self.newest = payload
        self.ws.publish_frame(self.topic, text_frame(payload))
        if self.resent:
            self.resent -= 1  # the node of its lost connection has reported this step
        else:
            game = self.game
            game.summary.report(step, self.code + state, state != self.state)
            game.reports.soon()
        self.state = state

    def recent(self) -> list[str]:
        """Return the last two frames, oldest first."""
        return [frame.decode() for frame in (self.before, self.newest) if frame]

    def replaced(self) -> None:
        """The worker has resumed on another connection, of any node: close this one."""
        self.ws.close_now(SERVICE_RESTART, "this cell has resumed on another connection")

    def leave(self) -> None:
        """Remove the worker, whose connection is closed."""
        if self.following:
            self.game.subscribed -= 1
        if self.game.claims.get(self.code) is self:
            del self.game.claims[self.code]

    def _ask(self, payload: bytes) -> None:
        """A worker that has waited for long names a neighbour whose newest frames it needs."""
        row, column = position(payload.split(b" "), self.game.size)
        self.game.recent.ask(self.ws, [row * self.game.size + column])

    def _parse(self, payload: bytes, is_binary: bool) -> tuple[int, int]:
        """Parse a whole frame: the first one, which names the cell, or an unexpected one."""
        parts = payload.split(b" ")
        if is_binary or len(parts) != 4:
            raise BadFrame('expected "step row column state"')
        size = self.game.size
        step, row, column, state = (
            number(part, limit) for part, limit in zip(parts, (1 << 31, size, size, 2), strict=True)
        )
        code = (row * size + column) * 2
        if self.code >= 0 and code != self.code:
            raise BadFrame(f"cell {row} {column} is not yours")
        if step != self.step + 1 and not self.resent == RESENT:
            raise BadFrame(f"expected step {self.step + 1}, not {step}")
        if self.game.claims.setdefault(code, self) is not self:
            raise BadFrame(f"cell {row} {column} is another worker's")
        self._name(row, column)
        return step, state

    def _name(self, row: int, column: int) -> None:
        """Set what depends on the cell's position."""
        self.code = (row * self.game.size + column) * 2
        self.topic = self.game.topic(row, column)
        self.rest = (b"%d %d 0" % (row, column), b"%d %d 1" % (row, column))
