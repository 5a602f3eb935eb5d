"""The game as each process receives it, and the shard of its cells in one process.

Cell row * size + col is the run's client of that number. A shard emits, besides what every shard
does,

    subscribed  {}              all its cells have subscribed to their neighbours
    running     {}              the server has started the first of its cells
    generation  {"step": number, "bits": hexadecimal}
                                all its cells have reached this step; the bits are its living cells,
                                as in Grid.bits. Only with `verify`
    finished    {}              all its cells know their neighbours' states of the last step
    failed      {"why": text}   the first failure; then the shard waits to be closed

A cell that loses its connection opens another one to resume (cell.py), unless the server has closed
it with a code of FINAL (cell_client.py). The tally "away" is how many cells are not connected at
the moment. When the game does not advance, cells ask the server for the states that they miss:
frames may be lost with a process of the server (asking.py).

"ended" adds "sent" and "received", counts of messages; "latency", a histogram of step latencies;
"moved", how many connections had to come from another address because one had no port left;
"resumed", how many lost connections were resumed; "asked", how many states were asked for;
"duplicates", how many states have arrived that a cell knew.
"""

from dataclasses import dataclass
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred

from workers.connection.failure_reasons import hint
from workers.connection.reconnecting import LOOK_EVERY, Handshakes, Reconnecting
from workers.connection.websocket import Connection
from workers.life import asking
from workers.life.asking import Asking, ask
from workers.life.cell import Cell, Course
from workers.life.cell_client import CellClient
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
    resume: bool = True  # resume lost connections, instead of ending the game
    game: str = ""  # the server's identifier of the game; empty: unknown

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


class LifeShard(Shard):
    """The cells of one process."""

    plan_type = LifePlan
    # step: the one that all cells have reached
    tallied = (*Shard.tallied, "subscribed", "step", "away", "resumed", "asked")

    def __init__(self, reactor: Any, plan: LifePlan, number: int, emit: Emit) -> None:
        self.sent = self.received = 0  # messages
        self.durations: list[float] = []
        self.life = plan
        self._latency = Latencies()
        self._states_of_start = plan.start.states()
        horizon = 0 if plan.rate else float("inf")
        self._course = Course(plan.size, plan.wrap, horizon, plan.last)
        self._finished = 0
        self._running = self._failed = False
        self._began = 0.0
        self._counts: dict[int, int] = {}  # step -> how many cells have reached it
        self._states: dict[int, bytearray] = {}  # step -> their states, by position
        self._asking = Asking(plan.rate)
        self._handshakes = Handshakes()
        super().__init__(reactor, plan, number, emit)
        self._reconnecting = Reconnecting[CellClient](self.timer_wheel.later, self.connect)

    def client(self, number: int) -> CellClient:
        row, col = divmod(number, self.life.size)
        cell = Cell(self._course, row, col, bool(self._states_of_start[number]))
        return CellClient(self, number, cell, number // self.life.shards)

    def dial(self, client: Client) -> Deferred[Connection]:
        assert isinstance(client, CellClient)
        if not client.away:
            return super().dial(client)
        client.dialled_at = began = monotonic()

        def give_up_if_stuck() -> None:
            if client.dialled_at != began or client.is_open or not client.away:
                return
            connection = client.connection  # None while this process has not noticed it
            under_way = self.tally["connecting"]
            if connection and self._handshakes.is_stuck(began, monotonic(), under_way):
                client.stuck = True
                connection.abort()
            else:
                self.timer_wheel.later(LOOK_EVERY, give_up_if_stuck)

        self.timer_wheel.later(LOOK_EVERY, give_up_if_stuck)
        return self._dialer.dial_again(client.number, client.attempts, client.resume_path)

    def not_opened(self, client: Client, reason: str) -> None:
        assert isinstance(client, CellClient)
        if client.away:
            self.cell_lost(client, reason)
            return
        url = self._dialer.target(client.number).url
        self.fail(f"cannot connect to {url}: {reason}{hint(reason)}")

    def fail(self, reason: str) -> None:
        """Emit the first failure, which ends the game and causes the later ones."""
        if not self._failed and not self.closing:
            self._failed = True
            self._ramp.stop()
            self.emit("failed", {"why": reason})

    # Resuming

    def cell_lost(self, client: CellClient, reason: str) -> None:
        """A cell has lost its connection, or could not reconnect."""
        self.count_failure(reason)
        if not client.away:
            client.away = True
            self.tally["away"] += 1
        elif client.stuck:
            client.stuck = False  # this process was killed, but others answer: no longer delay
        else:
            client.attempts += 1
        client.cell.lost()
        if not self._failed:
            self._reconnecting.lost(client, client.attempts)

    def handshake_done(self, client: CellClient) -> None:
        """A cell has a connection again."""
        self._handshakes.opened(client.dialled_at)

    def cell_resumed(self, client: CellClient) -> None:
        client.away = False
        client.attempts = 0
        self.tally["away"] -= 1
        self.tally["resumed"] += 1

    def _look(self) -> None:
        """Ask for missing states when the game does not advance."""
        self.timers.after("look", asking.LOOK_EVERY, self._look)
        if self._asking.is_due(self.tally["step"]):
            self.tally["asked"] += ask(self._clients)

    # Gathering

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
        self._look()
        if self.life.rate:
            self._raise_horizon()

    def _raise_horizon(self) -> None:
        """Let all cells advance to the step that is due, with one timer for all of them."""
        rate = self.life.rate
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
        verify = self.life.verify
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
        grid = bytearray(self.life.size**2)
        grid[self._number :: self.life.shards] = states
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
            "resumed": self.tally["resumed"],
            "asked": self.tally["asked"],
            "duplicates": self._course.duplicates,
        }
