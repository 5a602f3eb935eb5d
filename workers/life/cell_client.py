"""One cell with its connection: passes messages between them, and measures the cell's steps."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from workers.connection.failure_reasons import why_closed
from workers.life.cell import Cell, Phase, UnexpectedMessage
from workers.processes.client import Client

FINAL = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010})
"""Close codes after which a cell does not resume: the game is over, or the cell's messages are
wrong."""


class CellClient(Client):
    """Connects a cell with its connection, and measures the cell's steps.

    shard: the LifeShard it belongs to. away: the connection is lost, and the cell does not run yet
    on another one. attempts: to reconnect since then. stuck: the last attempt was given up.
    """

    __slots__ = (
        "attempts",
        "away",
        "cell",
        "dialled_at",
        "finished",
        "position",
        "sent_at",
        "stuck",
        "subscribed",
    )

    def __init__(self, shard: Any, number: int, cell: Cell, position: int) -> None:
        super().__init__(shard, number)
        self.cell = cell
        self.position = position  # the index among the shard's cells
        self.sent_at = 0.0
        self.away = False
        self.attempts = 0
        self.dialled_at = 0.0
        self.subscribed = self.finished = self.stuck = False

    @property
    def resume_path(self) -> str:
        """The path of the WebSocket that resumes this cell."""
        plan = self.shard.life
        game = f"&game={plan.game}" if plan.game else ""
        return f"{plan.path}?resume={self.cell.row},{self.cell.col}{game}"

    def opened(self) -> None:
        if self.away:
            self.shard.handshake_done(self)

    def received(self, messages: Sequence[bytes]) -> None:
        # The hot path: runs for every chunk that a cell receives.
        shard = self.shard
        shard.received += len(messages)
        cell = self.cell
        before = cell.phase
        step, was_begun = cell.step, cell.begun
        try:
            answers = cell.receive(messages)
        except UnexpectedMessage as error:
            shard.fail(str(error))
            return
        if before is Phase.RUNNING:
            if (answers or not cell.missing) and self.sent_at:
                shard.durations.append(perf_counter() - self.sent_at)
                # The step has been measured, even if the cell waits for the horizon now.
                self.sent_at = 0.0
            self.send_updates(answers)
        else:
            self._received_before_running(answers, step if was_begun else -1)

    def _received_before_running(self, answers: list[bytes], step: int) -> None:
        """Send the answers of a cell that was not running: subscriptions, then updates.

        step: the last one whose state the cell has sent before; -1: none.
        """
        shard = self.shard
        cell = self.cell
        runs = cell.phase in (Phase.RUNNING, Phase.FINISHED)
        new = cell.step - step if runs else 0  # the states that are not sent again
        first = len(answers) - new
        assert self.connection is not None
        for message in answers[:first]:
            self.connection.send(message)
        shard.sent += first
        if not self.subscribed and cell.phase is not Phase.WAITING:
            self.subscribed = True
            shard.cell_subscribed()
        if not runs:
            return
        if self.away:
            shard.cell_resumed(self)
            self.sent_at = perf_counter()
        shard.cell_runs()
        self.send_updates(answers[first:])
        if cell.alone:
            self._advance_alone()

    def send_updates(self, updates: list[bytes]) -> None:
        shard = self.shard
        if updates:
            self.sent_at = perf_counter()
            connection = self.connection
            assert connection is not None
            step = self.cell.step - len(updates)
            for update in updates:
                step += 1
                connection.send(update)
                shard.reached(step, self.position, update[-1] & 1)
            shard.sent += len(updates)
        if self.cell.phase is Phase.FINISHED and not self.finished:
            self.finished = True
            shard.cell_finished()

    @property
    def is_waiting(self) -> bool:
        """Whether the cell waits for states of its neighbours, on a connection."""
        cell = self.cell
        return self.is_open and cell.phase is Phase.RUNNING and cell.missing > 0

    def advance(self) -> None:
        """The horizon was raised: send what the cell may send now."""
        if self.cell.ready and self.is_open:
            self.send_updates(self.cell.advance())

    def _advance_alone(self) -> None:
        """Advance repeatedly: a cell without neighbours receives no message that would start it."""
        self.advance()
        if self.is_open and self.cell.phase is Phase.RUNNING and not self.shard.closing:
            self.shard.reactor.callLater(0, self._advance_alone)

    def closed(self, code: int, reason: str) -> None:
        is_full = code == 1013 and self.cell.phase is Phase.WAITING and not self.away
        if code in FINAL or is_full or not self.shard.life.resume:
            self.shard.fail(_why_closed(code, reason, f"cell {self.cell.row},{self.cell.col}"))
        else:
            self.shard.cell_lost(self, why_closed(code, reason))


def _why_closed(code: int, reason: str, cell: str) -> str:
    """Return a one-line summary for the user."""
    text = f": {reason}" if reason else ""
    if code in (1000, 1008) and reason:
        return f"the server has ended the game{text} ({code})"
    if code == 1013:
        return f"the game is full{text} (1013)"
    if code == 1012:
        return f"the game was ended by a reset or a restart of the server{text} (1012)"
    if code == 1006:
        return f"the connection of {cell} was lost{text} (1006)"
    return f"the server closed the connection of {cell}: {code}{f' {reason}' if reason else ''}"
