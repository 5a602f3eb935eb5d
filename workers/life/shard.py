"""One process's shard of a game: its cells, their connections, what it tells about them."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from workers.connection.dialer import Dialer, say_why
from workers.connection.ramp import Ramp
from workers.connection.read_hub import FlushList, ReadHub
from workers.connection.websocket import Connection
from workers.life.cell import Cell, Course
from workers.life.cell_client import CellClient
from workers.life.plan import Listener, Plan, Totals
from workers.processes.timers import Timers

TELL_EVERY = 0.1  # seconds between two `progress` events
FOLD_AT = 20_000  # durations kept before they go into the histogram
CLOSE_WITHIN = 10.0  # seconds for all closing handshakes together; after that, abort


class LifeShard:
    """`start` it; `close` it when the game is over, or when it failed, or any time."""

    def __init__(self, reactor: Any, plan: Plan, number: int, listener: Listener) -> None:
        self.reactor = reactor
        self.totals = Totals()
        self.durations: list[float] = []
        self.closing = False
        self._plan = plan
        self._number = number
        self._listener = listener
        self._course = Course(
            plan.start.size, plan.wrap, horizon=0 if plan.rate else float("inf"), last=plan.last
        )
        states = plan.start.states()
        self._cell_clients = [
            CellClient(
                self, Cell(self._course, *divmod(cell, plan.start.size), bool(states[cell])), n
            )
            for n, cell in enumerate(range(number, len(states), plan.shards))
        ]
        self._connected = self._subscribed = self._finished = self._step = 0
        self._open: set[CellClient] = set()
        self._running = self._failed = self._ended = False
        self._started = 0.0
        self._counts: dict[int, int] = {}  # step -> how many cells have reached it
        self._states: dict[int, bytearray] = {}  # step -> their states
        self._flush_list = FlushList(reactor)
        self._hub = ReadHub(reactor, self._flush_list)
        self._dialer = Dialer(
            reactor, plan.targets, "/worker/", plan.timeout, self._flush_list, self._hub
        )
        self._ramp = Ramp(reactor, len(self._cell_clients), plan.ramp / plan.shards, self._connect)
        self._timers = Timers(reactor)

    # Connecting

    def start(self) -> None:
        self._hub.start()
        self._ramp.start()
        self._tell_progress()

    def _connect(self, place: int) -> Deferred[Any]:
        number = place * self._plan.shards + self._number
        client = self._cell_clients[place]
        opened: Deferred[Any] = Deferred()

        def connected(connection: Connection) -> None:
            client.connection = connection
            connection.opened = is_open
            connection.received = client.received
            connection.closed = is_closed
            self._open.add(client)
            if self.closing:
                connection.abort()

        def is_open() -> None:
            self._connected += 1
            opened.callback(None)

        def is_closed(code: int, reason: str, was_clean: bool) -> None:
            client.closed(code, reason, was_clean)
            if not opened.called:
                opened.callback(None)

        def not_connected(failure: Failure) -> None:
            url = self._dialer.target(number).url
            self.fail(f"cannot connect to {url}: {say_why(failure.value)}")
            opened.callback(None)

        self._dialer.dial(number).addCallbacks(connected, not_connected)
        return opened

    def cell_subscribed(self) -> None:
        self._subscribed += 1
        if self._subscribed == len(self._cell_clients):
            self._listener.subscribed(self._number)

    # Running

    def cell_runs(self) -> None:
        if self._running:
            return
        self._running = True
        self._started = self.reactor.seconds()
        self._listener.running(self._number)
        if self._plan.rate:
            self._raise_horizon()

    def _raise_horizon(self) -> None:
        """One timer a step for the whole shard, not one for each cell."""
        rate = self._plan.rate
        horizon = int((self.reactor.seconds() - self._started) * rate + 1e-6)
        self._course.horizon = horizon
        due = self._started + (horizon + 1) / rate
        self._timers.after("pace", max(0.0, due - self.reactor.seconds()), self._raise_horizon)
        for client in self._cell_clients:
            client.go_on()

    def reached(self, step: int, place: int, state: int) -> None:
        """A cell has sent its state of `step`."""
        counts = self._counts
        if step not in counts:
            counts[step] = 0
            if self._plan.verify:
                self._states[step] = bytearray(len(self._cell_clients))
        counts[step] += 1
        if self._plan.verify:
            self._states[step][place] = state
        if counts[step] == len(self._cell_clients):
            del counts[step]
            self._step = step
            if self._plan.verify:
                self._listener.generation(self._number, step, self._bits(self._states.pop(step)))
        if len(self.durations) > FOLD_AT:
            self._fold()

    def _bits(self, states: bytearray) -> int:
        """States in the order of the shard's cells -> bits in the order of the grid's."""
        grid = bytearray(self._plan.start.size**2)
        grid[self._number :: self._plan.shards] = states
        grid.reverse()
        return int(grid.translate(_TO_DIGITS), 2)

    def _fold(self) -> None:
        self.totals.latencies.add(self.durations)
        self.durations.clear()

    def cell_finished(self) -> None:
        self._finished += 1
        if self._finished == len(self._cell_clients):
            self._tell_progress()
            self._listener.finished(self._number)

    # Ending

    def fail(self, why: str) -> None:
        """Tell the first error; the others follow from it."""
        if self._failed or self.closing:
            return
        self._failed = True
        self._ramp.stop()
        self._listener.failed(self._number, why)

    def cell_client_closed(self, client: CellClient, code: int, reason: str) -> None:
        self._open.discard(client)
        if not self.closing:
            where = f"cell {client.cell.row},{client.cell.col}"
            self.fail(_closed_by_server(code, reason, where))
        self._perhaps_ended()

    def close(self) -> None:
        """Close every connection, 1000; `ended` follows. Harmless if called again."""
        if self.closing:
            return
        self.closing = True
        self._ramp.stop()
        self._timers.stop()
        self._timers.after("close", CLOSE_WITHIN, self._abort)
        for client in list(self._open):
            connection = client.connection
            assert connection is not None
            if connection.state == connection.STATE_OPEN:
                connection.close(1000)
            else:
                connection.abort()
        self.reactor.callLater(0, self._perhaps_ended)

    def _abort(self) -> None:
        for client in list(self._open):
            if client.connection is not None:
                client.connection.abort()

    def _perhaps_ended(self) -> None:
        if not self.closing or self._open or self._ended:
            return
        self._ended = True
        self._timers.stop()
        self._hub.stop()
        self._fold()
        self.totals.reconnects = self._dialer.moved
        self._listener.ended(self._number, self.totals)

    # Timers and progress

    def _tell_progress(self) -> None:
        self._listener.progress(self._number, self._connected, self._subscribed, self._step)
        if not self.closing:
            self._timers.after("progress", TELL_EVERY, self._tell_progress)


_TO_DIGITS = bytes.maketrans(b"\x00\x01", b"01")


def _closed_by_server(code: int, reason: str, where: str) -> str:
    """One line for the user."""
    said = f": {reason}" if reason else ""
    if code == 1013:
        return f"the game is full{said} (1013)"
    if code == 1012:
        return f"the game was ended by a reset or a restart of the server{said} (1012)"
    if code == 1006:
        return f"the server went away: {where}{said}"
    return f"the server closed {where} with {code}{said}"
