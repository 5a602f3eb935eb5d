"""A cell on its connection: hears its neighbours, says what it has become, takes the time."""

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from workers.connection.websocket import Connection
from workers.life.cell import Cell, Phase, UnexpectedMessage

if TYPE_CHECKING:
    from workers.life.shard import LifeShard


class CellClient:
    """A cell on its connection."""

    __slots__ = ("cell", "connection", "place", "sent_at", "shard")

    def __init__(self, shard: "LifeShard", cell: Cell, place: int) -> None:
        self.shard = shard  # is told what happens, and counts
        self.cell = cell
        self.place = place  # among the shard's cells
        self.connection: Connection | None = None
        self.sent_at = 0.0

    def received(self, messages: Sequence[bytes]) -> None:
        shard = self.shard
        shard.totals.received += len(messages)
        cell = self.cell
        before = cell.phase
        try:
            answers = cell.receive(messages)
        except UnexpectedMessage as error:
            shard.fail(str(error))
            return
        if before is Phase.RUNNING:
            if (answers or not cell.missing) and self.sent_at:
                shard.durations.append(perf_counter() - self.sent_at)
                self.sent_at = 0.0  # a cell that waits for its pace has this step behind it
            self.send_updates(answers)
        else:
            self._gathered(before, answers)

    def _gathered(self, before: Phase, answers: list[bytes]) -> None:
        """The same, before the game ran: answers are subscriptions first."""
        updates: list[bytes] = []
        shard = self.shard
        if self.cell.phase in (Phase.RUNNING, Phase.FINISHED):
            updates = answers[-1 - self.cell.step :]
            answers = answers[: -len(updates)]
        assert self.connection is not None
        for message in answers:
            self.connection.send(message)
        shard.totals.sent += len(answers)
        if before is Phase.WAITING:
            shard.cell_subscribed()
        if updates:
            shard.cell_runs()
            self.send_updates(updates)
            if self.cell.alone:
                self.go_on_alone()

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
                shard.reached(step, self.place, update[-1] & 1)
            shard.totals.sent += len(updates)
        if self.cell.phase is Phase.FINISHED:
            shard.cell_finished()

    def go_on(self) -> None:
        """The horizon was raised."""
        if self.cell.ready:
            self.send_updates(self.cell.go_on())

    def go_on_alone(self) -> None:
        """A cell without neighbours hears nothing that would make it go on."""
        self.go_on()
        if self.cell.phase is Phase.RUNNING and not self.shard.closing:
            self.shard.reactor.callLater(0, self.go_on_alone)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.shard.cell_client_closed(self, code, reason)
