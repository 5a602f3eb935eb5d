"""One process's clients: opens their connections, counts, measures, closes them.

Client `number` of a run belongs to shard `number % shards`. A shard tells its run with
`tell(event, values)`, the values being JSON:

    tally      {name: count}              now and then: connecting, open, opened, failed, and more
    connected  {"at": seconds, "opened": n, "cpu": seconds}   every handshake is over, well or badly
    ended      {…}                        the last: every connection is closed; what was measured

Each kind of clients has its own events between these. Times are of the system's monotonic clock,
which all processes of a machine share.
"""

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from workers.connection.dialer import Dialer, say_why
from workers.connection.failure_reasons import why_not_opened
from workers.connection.ramp import Ramp
from workers.connection.read_hub import FlushList, ReadHub
from workers.connection.websocket import Connection
from workers.processes.client import Client, Plan
from workers.processes.process_setup import cpu_seconds, keep_garbage_collection_short
from workers.processes.timer_wheel import TimerWheel
from workers.processes.timers import Timers
from workers.reporting.latency import Latencies

TELL_EVERY = 0.1  # seconds between two tallies
CLOSE_WITHIN = 10.0  # seconds for all closing handshakes together; after that, abort
MOST_REASONS = 20  # different reasons of failures that are kept apart

Tell = Callable[[str, dict[str, Any]], None]


class Shard:
    """`start` it; `do` what its kind can; `close` it; "ended" is the last that it tells."""

    tallied: ClassVar[tuple[str, ...]] = ("connecting", "open", "opened", "failed")

    def __init__(self, reactor: Any, plan: Plan, number: int, tell: Tell) -> None:
        self.reactor = reactor
        self.tell = tell
        self.tally: Counter[str] = Counter(dict.fromkeys(self.tallied, 0))
        self.timer_wheel = TimerWheel(reactor)
        self.connect_times = Latencies()
        self.closing = False
        self._plan = plan
        self._flush_list = FlushList(reactor)
        self._hub = ReadHub(reactor, self._flush_list)
        self._dialer = self.dialer(plan.path)
        self._failures: Counter[str] = Counter()
        self._with_connection: set[Client] = set()
        self._settled = 0  # clients whose first handshake is over
        self._told_connected = self._told_ended = False
        self._new_times: list[float] = []
        self.timers = Timers(reactor)
        self._clients = [self.client(n) for n in range(number, plan.clients, plan.shards)]
        self._ramp = self.ramp(plan.ramp, plan.at_once)

    def dialer(self, path: str) -> Dialer:
        plan = self._plan
        return Dialer(self.reactor, plan.targets, path, plan.timeout, self._flush_list, self._hub)

    def ramp(self, rate: float, at_once: int) -> Ramp:
        """Connects every client once; rate is of all shards together."""
        return Ramp(
            self.reactor,
            len(self._clients),
            rate / self._plan.shards,
            lambda place: self.connect(self._clients[place]),
            at_once,
        )

    # For each kind

    def client(self, number: int) -> Client:
        """Make the run's client `number`."""
        return Client(self, number)

    def dialer_for(self, client: Client) -> Dialer:
        return self._dialer

    def do(self, what: str, **values: Any) -> None:
        """The run wants something that this kind can do."""
        raise NotImplementedError(what)

    def not_opened(self, client: Client, reason: str) -> None:
        """A connection could not be opened; by default that is a failure."""
        self.fail(reason)

    def figures(self) -> dict[str, Any]:
        """What this kind adds to what is told at the end."""
        return {}

    # Connecting

    def start(self) -> None:
        self._hub.start()
        self._ramp.start()
        self._tell_tally()

    def connect(self, client: Client) -> Deferred[Any]:
        """Open its connection. Fires, always well, when the handshake is over or has failed."""
        over: Deferred[Any] = Deferred()
        began = monotonic()
        self.tally["connecting"] += 1

        def connected(connection: Connection) -> None:
            client.connection = connection
            client.dropped = False
            connection.opened = is_open
            connection.received = client.received
            connection.closed = is_closed
            self._with_connection.add(client)
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
            self._with_connection.discard(client)
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
            self._perhaps_ended()

        def not_connected(failure: Failure) -> None:
            if not self.closing:
                self.not_opened(client, say_why(failure.value))
            settled()

        def settled() -> None:
            self.tally["connecting"] -= 1
            self._settled += 1
            over.callback(None)
            if self._settled >= len(self._clients) and not self._told_connected:
                self._told_connected = True
                self.all_connected()

        dialled = self.dialer_for(client).dial(client.number)
        dialled.addCallbacks(connected, not_connected)
        return over

    def all_connected(self) -> None:
        """Every handshake of the first round is over."""
        if not self.closing:
            keep_garbage_collection_short()
            self._tell_tally()
            opened = self.tally["opened"]
            self.tell("connected", {"at": monotonic(), "opened": opened, "cpu": cpu_seconds()})

    def fail(self, reason: str) -> None:
        """A client has failed."""
        self.tally["failed"] += 1
        self.count_failure(reason)

    def count_failure(self, reason: str) -> None:
        """Something went wrong that is not yet the end of a client."""
        if len(self._failures) >= MOST_REASONS and reason not in self._failures:
            reason = "other reasons"
        self._failures[reason] += 1

    # Ending

    def close(self) -> None:
        """Close every connection, 1000; "ended" follows. Harmless if called again."""
        if self.closing:
            return
        self.closing = True
        self._ramp.stop()
        self.timer_wheel.stop()
        self.timers.stop()
        self.timers.after("close", CLOSE_WITHIN, self._abort)
        for client in list(self._with_connection):
            assert client.connection is not None
            if not client.is_open:
                client.connection.abort()
            elif not client.dropped:
                client.connection.close(1000)
        self.reactor.callLater(0, self._perhaps_ended)

    def _abort(self) -> None:
        for client in list(self._with_connection):
            if client.connection is not None:
                client.connection.abort()

    def _perhaps_ended(self) -> None:
        if not self.closing or self._with_connection or self._told_ended:
            return
        self._told_ended = True
        self.timers.stop()
        self._hub.stop()
        self._fold()
        self.tell(
            "ended",
            {
                "tally": self.tally,
                "failures": self._failures,
                "connect": self.connect_times.counts(),
                "cpu": cpu_seconds(),
                **self.figures(),
            },
        )

    # Timers and tallies

    def _tell_tally(self) -> None:
        self._fold()
        self.tell("tally", dict(self.tally))
        if not self.closing:
            self.timers.after("tally", TELL_EVERY, self._tell_tally)

    def _fold(self) -> None:
        self.connect_times.add(self._new_times)
        self._new_times.clear()
