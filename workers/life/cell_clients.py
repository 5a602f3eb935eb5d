"""Cell clients: the cells of the game with their connections, and the shard of them in one process.

Cell row * size + col is the run's client of that number. A shard emits, besides what every shard
does,

    subscribed  {}              all its cells have subscribed to their neighbours
    running     {}              the server has started the first of its cells
    generation  {"step": number, "bits": hexadecimal}
                                all its cells have reached this step; the bits are its living cells,
                                as in Grid.bits. Only with `verify`
    finished    {}              all its cells know their neighbours' states of the last step
    failed      {"why": text}   the first failure; then the shard waits to be closed

"ended" adds "sent" and "received", counts of messages; "latency", a histogram of step latencies;
"moved", how many connections had to come from another address because one had no port left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

from workers.connection.failure_reasons import hint
from workers.life.cell import Cell, Course, Phase, UnexpectedMessage
from workers.life.rules import Grid
from workers.processes.client import Client
from workers.processes.plan import Plan
from workers.processes.shard import Emit, Shard
from workers.reporting.latency import Latencies

FOLD_AT = 20_000  # durations that are collected before they are added to the histogram

_TO_DIGITS = bytes.maketrans(b"\x00\x01", b"01")


@dataclass(frozen=True, slots=True, kw_only=True)
class LifePlan(Plan):
    """A game. Create it with `of`; `clients` is the number of cells."""

    size: int  # rows, and columns
    bits: str  # generation 0: Grid.bits, hexadecimal
    wrap: bool = True
    last: int | None = None  # step after which the game ends; None: never
    rate: float = 0.0  # steps a second; 0: no limit
    verify: bool = False  # emit every generation

    @classmethod
    def of(cls, start: Grid, **fields: Any) -> "LifePlan":
        return cls(
            clients=start.size**2,
            size=start.size,
            bits=hex(start.bits),
            **{"path": "/worker/", **fields},
        )

    @property
    def start(self) -> Grid:
        return Grid(self.size, int(self.bits, 16))


class CellClient(Client):
    """Connects a cell with its connection, and measures the cell's steps."""

    __slots__ = ("cell", "position", "sent_at")

    shard: "LifeShard"

    def __init__(self, shard: "LifeShard", number: int, cell: Cell, position: int) -> None:
        super().__init__(shard, number)
        self.cell = cell
        self.position = position  # the index among the shard's cells
        self.sent_at = 0.0

    def received(self, messages: Sequence[bytes]) -> None:
        # The hot path: runs for every chunk that a cell receives.
        shard = self.shard
        shard.received += len(messages)
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
                # The step has been measured, even if the cell waits for the horizon now.
                self.sent_at = 0.0
            self.send_updates(answers)
        else:
            self._received_before_running(before, answers)

    def _received_before_running(self, before: Phase, answers: list[bytes]) -> None:
        """Send the answers of a cell that was not running: subscriptions, then updates."""
        updates: list[bytes] = []
        shard = self.shard
        if self.cell.phase in (Phase.RUNNING, Phase.FINISHED):
            updates = answers[-1 - self.cell.step :]
            answers = answers[: -len(updates)]
        assert self.connection is not None
        for message in answers:
            self.connection.send(message)
        shard.sent += len(answers)
        if before is Phase.WAITING:
            shard.cell_subscribed()
        if updates:
            shard.cell_runs()
            self.send_updates(updates)
            if self.cell.alone:
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
        if self.cell.phase is Phase.FINISHED:
            shard.cell_finished()

    def advance(self) -> None:
        """The horizon was raised: send what the cell may send now."""
        if self.cell.ready and self.connection is not None:
            self.send_updates(self.cell.advance())

    def _advance_alone(self) -> None:
        """Advance repeatedly: a cell without neighbours receives no message that would start it."""
        self.advance()
        if self.cell.phase is Phase.RUNNING and not self.shard.closing:
            self.shard.reactor.callLater(0, self._advance_alone)

    def closed(self, code: int, reason: str) -> None:
        self.shard.fail(_why_closed(code, reason, f"cell {self.cell.row},{self.cell.col}"))


class LifeShard(Shard):
    """The cells of one process."""

    plan_type = LifePlan
    tallied = (*Shard.tallied, "subscribed", "step")  # step: the one that all cells have reached

    def __init__(self, reactor: Any, plan: LifePlan, number: int, emit: Emit) -> None:
        self.sent = self.received = 0  # messages
        self.durations: list[float] = []
        self._life = plan
        self._latency = Latencies()
        self._states_of_start = plan.start.states()
        horizon = 0 if plan.rate else float("inf")
        self._course = Course(plan.size, plan.wrap, horizon, plan.last)
        self._finished = 0
        self._running = self._failed = False
        self._began = 0.0
        self._counts: dict[int, int] = {}  # step -> how many cells have reached it
        self._states: dict[int, bytearray] = {}  # step -> their states, by position
        super().__init__(reactor, plan, number, emit)

    def client(self, number: int) -> CellClient:
        row, col = divmod(number, self._life.size)
        cell = Cell(self._course, row, col, bool(self._states_of_start[number]))
        return CellClient(self, number, cell, number // self._life.shards)

    def not_opened(self, client: Client, reason: str) -> None:
        url = self._dialer.target(client.number).url
        self.fail(f"cannot connect to {url}: {reason}{hint(reason)}")

    def fail(self, reason: str) -> None:
        """Emit the first failure, which ends the game and causes the later ones."""
        if not self._failed and not self.closing:
            self._failed = True
            self._ramp.stop()
            self.emit("failed", {"why": reason})

    def cell_subscribed(self) -> None:
        self.tally["subscribed"] += 1
        if self.tally["subscribed"] == len(self._clients):
            self.emit("subscribed", {})

    # Running

    def cell_runs(self) -> None:
        if self._running:
            return
        self._running = True
        self._began = monotonic()
        self.emit("running", {})
        if self._life.rate:
            self._raise_horizon()

    def _raise_horizon(self) -> None:
        """Let all cells advance to the step that is due, with one timer for all of them."""
        rate = self._life.rate
        now = monotonic()
        horizon = int((now - self._began) * rate + 1e-6)
        self._course.horizon = horizon
        due = self._began + (horizon + 1) / rate
        self.timers.after("pace", max(0.0, due - now), self._raise_horizon)
        for client in self._clients:
            assert isinstance(client, CellClient)
            client.advance()

    def reached(self, step: int, position: int, state: int) -> None:
        """A cell has sent its state of a step."""
        counts = self._counts
        verify = self._life.verify
        if step not in counts:
            counts[step] = 0
            if verify:
                self._states[step] = bytearray(len(self._clients))
        counts[step] += 1
        if verify:
            self._states[step][position] = state
        if counts[step] == len(self._clients):
            del counts[step]
            self.tally["step"] = step
            if verify:
                self.emit("generation", {"step": step, "bits": self._bits(self._states.pop(step))})
        if len(self.durations) > FOLD_AT:
            self._fold_durations()

    def _bits(self, states: bytearray) -> str:
        """The states, in the order of the shard's cells, as Grid.bits in hexadecimal."""
        grid = bytearray(self._life.size**2)
        grid[self._number :: self._life.shards] = states
        grid.reverse()
        return hex(int(grid.translate(_TO_DIGITS), 2))

    def cell_finished(self) -> None:
        self._finished += 1
        if self._finished == len(self._clients):
            self._emit_tally()
            self.emit("finished", {})

    # Measuring

    def _fold_durations(self) -> None:
        self._latency.add(self.durations)
        self.durations.clear()

    def _fold(self) -> None:
        super()._fold()
        self._fold_durations()

    def measurements(self) -> dict[str, Any]:
        return {
            "sent": self.sent,
            "received": self.received,
            "latency": self._latency.counts(),
            "moved": self._dialer.moved,
        }


def _why_closed(code: int, reason: str, cell: str) -> str:
    """Return a one-line summary for the user."""
    text = f": {reason}" if reason else ""
    if code == 1013:
        return f"the game is full{text} (1013)"
    if code == 1012:
        return f"the game was ended by a reset or a restart of the server{text} (1012)"
    if code == 1006:
        return f"the connection of {cell} was lost{text} (1006)"
    return f"the server closed the connection of {cell}: {code}{f' {reason}' if reason else ''}"
