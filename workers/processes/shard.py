"""One process's clients: opens their connections, counts, measures, closes them.

Client `number` of a run belongs to shard `number % shards`. A shard reports to its swarm with
`emit(event, values)`; the values are JSON objects:

    tally      {name: count}  about ten times a second: connecting, open, opened, failed, and more
    connected  {"at": seconds, "opened": count, "cpu": seconds}  every first handshake is over,
               successful or not
    ended      {…}  the last event: every connection is closed; these are the measurements

Each kind of clients has its own events between these. Times come from the system's monotonic clock,
which is the same for all processes of a machine.
"""

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from workers.connection.dialer import Dialer
from workers.connection.epoll_reader import EpollReader
from workers.connection.failure_reasons import why_not_connected, why_not_opened
from workers.connection.ramp_up import Ramp
from workers.connection.websocket import Connection
from workers.processes.client import Client
from workers.processes.plan import Plan
from workers.processes.process_setup import cpu_seconds, keep_garbage_collection_short
from workers.processes.timer_wheel import TimerWheel
from workers.processes.timers import Timers
from workers.reporting.latency import Latencies

TALLY_EVERY = 0.1  # seconds between two tallies
CLOSE_WITHIN = 10.0  # seconds for all closing handshakes together; then connections are aborted
MOST_REASONS = 20  # failure reasons that are counted separately

Emit = Callable[[str, dict[str, Any]], None]


class Shard:
    """Call `start`, then `do` with the commands of its kind, then `close`.

    number: the number of this shard among the plan's shards, from 0.
    emit: is called with each event. The last event is "ended".
    """

    plan_type: ClassVar[type[Plan]] = Plan
    tallied: ClassVar[tuple[str, ...]] = ("connecting", "open", "opened", "failed")

    def __init__(self, reactor: Any, plan: Plan, number: int, emit: Emit) -> None:
        self.reactor = reactor
        self.emit = emit
        self.tally: Counter[str] = Counter(dict.fromkeys(self.tallied, 0))
        self.timers = Timers(reactor)
        self.timer_wheel = TimerWheel(reactor)
        self.connect_times = Latencies()
        self.closing = False
        self._plan = plan
        self._number = number
        self._epoll_reader = EpollReader(reactor)
        self._dialer = self.dialer(plan.path)
        self._failures: Counter[str] = Counter()
        self._connected: set[Client] = set()  # clients with a TCP connection
        self._settled = 0  # clients whose first handshake is over
        self._all_settled = self._ended = False
        self._new_times: list[float] = []
        self._clients = [self.client(n) for n in range(number, plan.clients, plan.shards)]
        self._ramp = self.ramp(plan.ramp, plan.at_once)

    def dialer(self, path: str) -> Dialer:
        plan = self._plan
        return Dialer(self.reactor, plan.targets, path, plan.timeout, self._epoll_reader)

    def ramp(self, rate: float, at_once: int) -> Ramp:
        """Return a ramp that connects every client once.

        rate: connections per second of all shards together; 0: no limit.
        """
        return Ramp(
            self.reactor,
            len(self._clients),
            rate / self._plan.shards,
            lambda position: self.connect(self._clients[position]),
            at_once,
        )

    # For each kind of clients to override

    def client(self, number: int) -> Client:
        """Create the run's client `number`."""
        return Client(self, number)

    def dialer_for(self, client: Client) -> Dialer:
        return self._dialer

    def dial(self, client: Client) -> Deferred[Connection]:
        """Open the client's TCP connection, as Dialer.dial does."""
        return self.dialer_for(client).dial(client.number)

    def do(self, command: str, **values: Any) -> None:
        """Carry out a command of this kind of clients."""
        raise NotImplementedError(command)

    def not_opened(self, client: Client, reason: str) -> None:
        """A connection could not be opened; by default the client has failed."""
        self.fail(reason)

    def measurements(self) -> dict[str, Any]:
        """Return the values that this kind of clients adds to the event "ended"."""
        return {}

    # Connecting

    def start(self) -> None:
        self._epoll_reader.start()
        self._ramp.start()
        self._emit_tally()

    def connect(self, client: Client) -> Deferred[Any]:
        """Open the client's connection.

        Fires when the handshake is over or has failed; there is no errback.
        """
        over: Deferred[Any] = Deferred()
        began = monotonic()
        self.tally["connecting"] += 1

        def connected(connection: Connection) -> None:
            client.connection = connection
            client.dropped = False
            connection.opened = is_open
            connection.received = client.received
            connection.closed = is_closed
            self._connected.add(client)
            if self.closing:
                connection.abort()

        def is_open() -> None:
            client.is_open = True
            self._new_times.append(monotonic() - began)
            self.tally["open"] += 1
            self.tally["opened"] += 1
            client.opened()
            settled()

        def is_closed(code: int, reason: str, was_clean: bool) -> None:
            client.connection = None
            self._connected.discard(client)
            if client.is_open:
                client.is_open = False
                self.tally["open"] -= 1
                if client.dropped:
                    client.gone()
                elif not self.closing:
                    client.closed(code, reason)
            else:
                if not self.closing:
                    self.not_opened(client, why_not_opened(reason))
                settled()
            self._end_if_closed()

        def not_connected(failure: Failure) -> None:
            if not self.closing:
                self.not_opened(client, why_not_connected(failure.value))
            settled()

        def settled() -> None:
            self.tally["connecting"] -= 1
            self._settled += 1
            over.callback(None)
            if self._settled >= len(self._clients) and not self._all_settled:
                self._all_settled = True
                self.all_connected()

        self.dial(client).addCallbacks(connected, not_connected)
        return over

    def all_connected(self) -> None:
        """Every client's first handshake is over."""
        if not self.closing:
            keep_garbage_collection_short()
            self._emit_tally()
            opened = self.tally["opened"]
            self.emit("connected", {"at": monotonic(), "opened": opened, "cpu": cpu_seconds()})

    def fail(self, reason: str) -> None:
        """Count a client that has failed."""
        self.tally["failed"] += 1
        self.count_failure(reason)

    def count_failure(self, reason: str) -> None:
        """Count a failure reason, even if it does not end the client."""
        if len(self._failures) >= MOST_REASONS and reason not in self._failures:
            reason = "other reasons"
        self._failures[reason] += 1

    # Ending

    def close(self) -> None:
        """Close every connection with 1000; "ended" follows. Idempotent."""
        if self.closing:
            return
        self.closing = True
        self._ramp.stop()
        self.timer_wheel.stop()
        self.timers.stop()
        self.timers.after("close", CLOSE_WITHIN, self._abort)
        for client in list(self._connected):
            assert client.connection is not None
            if not client.is_open:
                client.connection.abort()
            elif not client.dropped:
                client.connection.close(1000)
        self.reactor.callLater(0, self._end_if_closed)

    def _abort(self) -> None:
        for client in list(self._connected):
            if client.connection is not None:
                client.connection.abort()

    def _end_if_closed(self) -> None:
        if not self.closing or self._connected or self._ended:
            return
        self._ended = True
        self.timers.stop()
        self._epoll_reader.stop()
        self._fold()
        self.emit(
            "ended",
            {
                "tally": self.tally,
                "failures": self._failures,
                "connect": self.connect_times.counts(),
                "cpu": cpu_seconds(),
                **self.measurements(),
            },
        )

    # Tallies

    def _emit_tally(self) -> None:
        self._fold()
        self.emit("tally", dict(self.tally))
        if not self.closing:
            self.timers.after("tally", TALLY_EVERY, self._emit_tally)

    def _fold(self) -> None:
        """Move the durations collected since the last call into their histograms."""
        self.connect_times.add(self._new_times)
        self._new_times.clear()
