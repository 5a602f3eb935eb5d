"""A cell on its connection: hears its neighbours, says what it has become, takes the time."""

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from workers.lane import Lane
from workers.life import Cell, Phase, UnexpectedMessage

if TYPE_CHECKING:
    from workers.share import Share


class Player:
    """A cell on its connection."""

    __slots__ = ("cell", "lane", "place", "sent_at", "share")

    def __init__(self, share: "Share", cell: Cell, place: int) -> None:
        self.share = share  # is told what happens, and counts
        self.cell = cell
        self.place = place  # among the share's cells
        self.lane: Lane | None = None
        self.sent_at = 0.0

    def received(self, messages: Sequence[bytes]) -> None:
        share = self.share
        share.totals.received += len(messages)
        cell = self.cell
        before = cell.phase
        try:
            answers = cell.receive(messages)
        except UnexpectedMessage as error:
            share.fail(str(error))
            return
        if before is Phase.RUNNING:
            if (answers or not cell.missing) and self.sent_at:
                share.durations.append(perf_counter() - self.sent_at)
                self.sent_at = 0.0  # a cell that waits for its pace has this step behind it
            self.send_updates(answers)
        else:
            self._gathered(before, answers)

    def _gathered(self, before: Phase, answers: list[bytes]) -> None:
        """The same, before the game ran: answers are subscriptions first."""
        updates: list[bytes] = []
        share = self.share
        if self.cell.phase in (Phase.RUNNING, Phase.FINISHED):
            updates = answers[-1 - self.cell.step :]
            answers = answers[: -len(updates)]
        assert self.lane is not None
        for message in answers:
            self.lane.send(message)
        share.totals.sent += len(answers)
        if before is Phase.WAITING:
            share.cell_subscribed()
        if updates:
            share.cell_runs()
            self.send_updates(updates)
            if self.cell.alone:
                self.go_on_alone()

    def send_updates(self, updates: list[bytes]) -> None:
        share = self.share
        if updates:
            self.sent_at = perf_counter()
            lane = self.lane
            assert lane is not None
            step = self.cell.step - len(updates)
            for update in updates:
                step += 1
                lane.send(update)
                share.reached(step, self.place, update[-1] & 1)
            share.totals.sent += len(updates)
        if self.cell.phase is Phase.FINISHED:
            share.cell_finished()

    def go_on(self) -> None:
        """The horizon was raised."""
        if self.cell.ready:
            self.send_updates(self.cell.go_on())

    def go_on_alone(self) -> None:
        """A cell without neighbours hears nothing that would make it go on."""
        self.go_on()
        if self.cell.phase is Phase.RUNNING and not self.share.closing:
            self.share.reactor.callLater(0, self.go_on_alone)

    def closed(self, code: int, reason: str, was_clean: bool) -> None:
        self.share.player_closed(self, code, reason)
