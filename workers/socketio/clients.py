"""The clients of `swarm socketio` in one process. Their transcript is in transcript.py.

Client `number` is in room `number % rooms`. Clients 0 to rooms - 1 publish to their room, and
receive their messages as all others do.

    joined     {}    all clients of this shard are in their rooms
    announced  {}    all clients of this shard have received an announcement
    published  {}    all publishers of this shard have sent all messages
    done       {}    all clients have received all messages, and all echoes are acknowledged

"ended" adds: "duplicates"; "out_of_order"; "delivery" and "echo", histograms of the times from
sending to receiving; "missing", [message, clients without it]; "uncertain", the messages that a
publisher may not have sent, because it lost its connection; "recovered" and "unrecovered", how many
reconnects continued a session, and how many did not: what a client misses there is not counted.
"""

from collections import Counter
from dataclasses import dataclass
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred

from workers.connection.reconnecting import Reconnecting
from workers.load import broadcast_verification as delivery
from workers.processes.client import Client
from workers.processes.plan import Plan
from workers.processes.shard import MOST_REASONS, Emit, Shard
from workers.reporting.latency import Latencies
from workers.socketio.client import SocketIoClient
from workers.socketio.engine_dialer import EngineDialer

ANNOUNCE_EVERY = 0.2  # seconds
LOOK_EVERY = 1.0  # seconds between two checks for overdue echoes


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketIoPlan(Plan):
    """`path` is that of the WebSocket."""

    engine_path: str
    transports: tuple[str, ...]  # of the clients, in turn
    rooms: int = 1
    room: str = "swarm"  # the beginning of the rooms' names
    rate: float = 10.0  # messages a second, of all publishers together, which take turns
    messages: int = 100  # of all publishers together
    echoes: int = 10  # of each client
    pause: float = 1.0  # seconds before each echo
    reconnect: bool = False  # whether clients that lose their connection connect again


class SocketIoShard(Shard):
    """The clients of one process."""

    plan_type = SocketIoPlan
    tallied = (
        *(*Shard.tallied, "upgraded", "joined", "echoes", "published", "delivered"),
        *("recovered", "unrecovered"),
    )

    plan: SocketIoPlan

    def __init__(self, reactor: Any, plan: SocketIoPlan, number: int, emit: Emit) -> None:
        self.plan = plan
        self.times: list[float] = []  # from sending a message to receiving it
        self.echo_times: list[float] = []
        self._losses: Counter[str] = Counter()
        self.counts: Counter[str] = Counter(duplicates=0, out_of_order=0)
        self.unacknowledged: set[tuple[int, int]] = set()  # (room, message)
        self._uncertain: set[tuple[int, int]] = set()
        self._delivery = Latencies()
        self._echo = Latencies()
        self._is_done = False
        super().__init__(reactor, plan, number, emit)
        self._engine_dialer = EngineDialer(reactor, self._dialer, plan.engine_path, plan.timeout)
        self._publishers = {c.number: c for c in self._own() if c.number < plan.rooms}
        self._unannounced = {c.number for c in self._own()}
        self._reconnecting = Reconnecting(self.timer_wheel.later, self.connect, plan.at_once)
        self._expected = sum(self._messages_to(c.room) for c in self._own())
        self._mine = [n for n in range(plan.messages) if n % plan.rooms in self._publishers]
        self._next = 0  # an index of _mine
        self._began = 0.0

    def _own(self) -> list[SocketIoClient]:
        return [c for c in self._clients if isinstance(c, SocketIoClient)]

    def _messages_to(self, room: int) -> int:
        return len(range(room, self.plan.messages, self.plan.rooms))

    @property
    def has_begun(self) -> bool:
        """Whether the clients publish and echo."""
        return bool(self._began)

    def room_name(self, room: int) -> str:
        """The name of a room at the server."""
        return f"{self.plan.room}-{room}"

    def client(self, number: int) -> Client:
        return SocketIoClient(self, number, self.plan.rooms)

    def dial(self, client: Client) -> Deferred[Any]:
        transports = self.plan.transports
        transport = transports[client.number // self.plan.rooms % len(transports)]
        dialled = self._engine_dialer.dial(client.number, transport)
        if transport == "upgrade":
            dialled.addCallback(self._count_upgrade)
        return dialled

    def _count_upgrade(self, connection: Any) -> Any:
        def upgraded() -> None:
            self.tally["upgraded"] += 1

        connection.upgraded = upgraded
        return connection

    def start(self) -> None:
        super().start()
        self._look()

    def _look(self) -> None:
        since = monotonic() - self.plan.timeout
        for client in self._own():
            client.look(since)
        if not self.closing:
            self.timers.after("look", LOOK_EVERY, self._look)

    def do(self, command: str, **values: Any) -> None:
        if command == "announce":
            self._announce()
            if not self._unannounced:
                self.emit("announced", {})
        elif command == "publish":
            self._began = values["at"]
            self.timers.cancel("publish")
            for client in self._own():
                client.echo_later()
            self._publish()
        else:
            super().do(command, **values)

    def client_joined(self) -> None:
        """A client is in its room."""
        self.tally["joined"] += 1
        if self.tally["joined"] == len(self._clients):
            self.emit("joined", {})

    def client_announced(self, number: int) -> None:
        """A client has received an announcement."""
        if number in self._unannounced:
            self._unannounced.discard(number)
            if not self._unannounced:
                self.emit("announced", {})

    def client_lost(self, client: SocketIoClient, reason: str) -> None:
        """A client has lost its connection, or could not connect again."""
        self.count_loss(reason)
        client.transcript.lost()
        if client.number in self._publishers:
            lost = {each for each in self.unacknowledged if each[0] == client.room}
            self.unacknowledged -= lost
            self._uncertain |= lost
        self._reconnecting.lost(client, client.attempts)
        client.attempts += 1

    def not_opened(self, client: Client, reason: str) -> None:
        assert isinstance(client, SocketIoClient)
        if client.has_joined and self.plan.reconnect:
            self.client_lost(client, reason)
        else:
            super().not_opened(client, reason)

    def count_loss(self, reason: str) -> None:
        """Count the reason of a lost connection, which is no failure."""
        self._losses[reason if len(self._losses) < MOST_REASONS else "other reasons"] += 1

    def _announce(self) -> None:
        for publisher in self._publishers.values():
            publisher.publish(delivery.announcement(publisher.number))
        self.timers.after("publish", ANNOUNCE_EVERY, self._announce)

    def _publish(self) -> None:
        """Send the messages that are due, and set a timer for the next one."""
        now = monotonic()
        rooms = self.plan.rooms
        while self._next < len(self._mine):
            number = self._mine[self._next]
            due = self._began + number / self.plan.rate
            if due > now:
                self.timers.after("publish", due - now, self._publish)
                return
            self._next += 1
            self._publish_one(self._publishers[number % rooms], number // rooms)
        self.emit("published", {})

    def _publish_one(self, publisher: SocketIoClient, number: int) -> None:
        message = publisher.room, number
        if not publisher.is_open or not publisher.transcript.is_joined:
            self._uncertain.add(message)
            return
        text = delivery.message(publisher.room, number, monotonic())
        if self.plan.reconnect:
            self.unacknowledged.add(message)
            publisher.publish(text, number)
        else:
            publisher.publish(text)
        self.tally["published"] += 1

    def _fold(self) -> None:
        super()._fold()
        for name, times, latencies in (
            ("delivered", self.times, self._delivery),
            ("echoes", self.echo_times, self._echo),
        ):
            latencies.add(times)
            self.tally[name] += len(times)
            times.clear()
        echoes = self.plan.echoes * len(self._clients)
        is_done = self.tally["delivered"] == self._expected and self.tally["echoes"] == echoes
        if self._began and is_done and not self._is_done:
            self._is_done = True
            self.emit("done", {})

    def measurements(self) -> dict[str, Any]:
        missing: Counter[tuple[int, int]] = Counter()
        for client in self._own():
            missing.update(
                (client.room, number) for number in client.missing(self._messages_to(client.room))
            )
        return {
            "missing": sorted(missing.items()),
            "uncertain": sorted(self._uncertain | self.unacknowledged),
            "losses": self._losses,
            "duplicates": self.counts["duplicates"],
            "out_of_order": self.counts["out_of_order"],
            "delivery": self._delivery.counts(),
            "echo": self._echo.counts(),
        }
