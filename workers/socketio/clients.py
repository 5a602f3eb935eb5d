"""The clients of `swarm socketio` in one process. Their transcript is in transcript.py.

Client `number` is in room `number % rooms`. Clients 0 to rooms - 1 publish to their room, and
receive their messages as all others do.

    joined     {}    all clients of this shard are in their rooms
    announced  {}    all clients of this shard have received an announcement
    published  {}    all publishers of this shard have sent all messages
    done       {}    all clients have received all messages, and all echoes are acknowledged

"ended" adds: "duplicates"; "out_of_order"; "delivery" and "echo", histograms of the times from
sending to receiving.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred

from workers.connection.failure_reasons import why_closed
from workers.load import broadcast_verification as delivery
from workers.processes.client import Client
from workers.processes.plan import Plan
from workers.processes.shard import Emit, Shard
from workers.reporting.latency import Latencies
from workers.socketio import transcript
from workers.socketio.engine_dialer import EngineDialer
from workers.socketio.transcript import EVENT, Transcript, WrongTranscript

ANNOUNCE_EVERY = 0.2  # seconds
LOOK_EVERY = 1.0  # seconds between two checks for overdue echoes
OPEN, CLOSE, PING, PONG, NOOP = b"0", b"1", b"2", b"3", b"6"


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


class SocketIoClient(Client):
    """One client."""

    __slots__ = ("_since", "delivery", "room", "transcript")

    shard: "SocketIoShard"

    def __init__(self, shard: "SocketIoShard", number: int, rooms: int) -> None:
        super().__init__(shard, number)
        self.room = number % rooms
        self.delivery = delivery.Delivery(rooms)
        self.transcript = Transcript()
        self._since = 0.0  # when the last echo was sent

    def received(self, packets: Sequence[bytes]) -> None:
        for packet in packets:
            if packet.startswith(EVENT):
                self._message(packet)
            elif packet[:1] == PING:
                self._send(PONG + packet[1:])
            elif packet[:1] == OPEN:
                self._send(transcript.CONNECT)
            elif packet[:1] == CLOSE:
                self._give_up("closed by the server")
            elif packet[:1] != NOOP:
                self._other(packet)

    def _message(self, packet: bytes) -> None:
        text = transcript.text_of(packet)
        shard = self.shard
        try:
            publisher, number, sent = delivery.parse(text)
        except delivery.UnknownMessage as error:
            shard.fail(str(error))
            return
        if publisher != self.room:
            shard.fail(f"a message of another room: {text[:40]!r}")
        elif self.delivery.expected[publisher] == number:
            self.delivery.expected[publisher] = number + 1
            shard.times.append(monotonic() - sent)
        elif number == delivery.ANNOUNCEMENT:
            if publisher in self.shard.announced_to(self.number):
                self.shard.client_announced(self.number)
        elif self.delivery.unexpected(publisher, number, shard.counts):
            shard.times.append(monotonic() - sent)

    def _other(self, packet: bytes) -> None:
        before = self.transcript
        was_connected, was_joined = before.is_connected, before.is_joined
        try:
            before.receive(packet)
        except WrongTranscript as error:
            self._give_up(str(error))
            return
        if not was_connected:
            self._send(before.join(self.shard.room_name(self.room)))
        elif not was_joined:
            self.shard.client_joined()
        else:
            self.shard.echo_times.append(monotonic() - self._since)
            self.echo_later()

    def echo_later(self) -> None:
        """Echo after the pause, if any echoes are left."""
        if self.transcript.echoes < self.shard.plan.echoes:
            self.shard.timer_wheel.later(self.shard.plan.pause, self._echo)

    def _echo(self) -> None:
        if self.is_open and not self.dropped:
            self._since = monotonic()
            self._send(self.transcript.echo())

    def look(self, since: float) -> None:
        """Fail the client if it has waited for an acknowledgement since before `since`."""
        is_waiting = self.transcript.echoed < self.transcript.echoes
        if self.is_open and not self.dropped and is_waiting and self._since < since:
            self._give_up("no acknowledgement in time")

    def publish(self, text: bytes) -> None:
        """Send a message to the client's room."""
        self._send(transcript.publication(text, self.shard.room_name(self.room)))

    def _send(self, packet: bytes) -> None:
        if self.connection is not None:
            self.connection.send(packet)

    def _give_up(self, reason: str) -> None:
        self.drop()
        self.shard.fail(reason)

    def closed(self, code: int, reason: str) -> None:
        self.shard.fail(reason if code == 1006 and reason else why_closed(code, reason))


class SocketIoShard(Shard):
    """The clients of one process."""

    plan_type = SocketIoPlan
    tallied = (*Shard.tallied, "upgraded", "joined", "echoes", "published", "delivered")

    plan: SocketIoPlan

    def __init__(self, reactor: Any, plan: SocketIoPlan, number: int, emit: Emit) -> None:
        self.plan = plan
        self.times: list[float] = []  # from sending a message to receiving it
        self.echo_times: list[float] = []
        self.counts: Counter[str] = Counter(duplicates=0, out_of_order=0)
        self._delivery = Latencies()
        self._echo = Latencies()
        self._is_done = False
        super().__init__(reactor, plan, number, emit)
        self._engine_dialer = EngineDialer(reactor, self._dialer, plan.engine_path, plan.timeout)
        self._publishers = {c.number: c for c in self._own() if c.number < plan.rooms}
        self._unannounced = {c.number: {c.room} for c in self._own()}
        of_room = [len(range(room, plan.messages, plan.rooms)) for room in range(plan.rooms)]
        self._expected = sum(of_room[c.room] for c in self._own())
        self._mine = [n for n in range(plan.messages) if n % plan.rooms in self._publishers]
        self._next = 0  # an index of _mine
        self._began = 0.0

    def _own(self) -> list[SocketIoClient]:
        return [c for c in self._clients if isinstance(c, SocketIoClient)]

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

    def announced_to(self, number: int) -> set[int]:
        """The publishers whose announcement a client has not received."""
        return self._unannounced.get(number, set())

    def client_announced(self, number: int) -> None:
        """A client has received an announcement."""
        del self._unannounced[number]
        if not self._unannounced:
            self.emit("announced", {})

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
            publisher = self._publishers[number % rooms]
            if publisher.is_open:
                publisher.publish(delivery.message(number % rooms, number // rooms, monotonic()))
                self.tally["published"] += 1
        self.emit("published", {})

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
        return {
            "duplicates": self.counts["duplicates"],
            "out_of_order": self.counts["out_of_order"],
            "delivery": self._delivery.counts(),
            "echo": self._echo.counts(),
        }
