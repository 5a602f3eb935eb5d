"""Publishers and subscribers of one topic.

Clients 0 to publishers - 1 of the run publish, the others are subscribers. A client that is
connected may not yet be subscribed on every node. So publishers send announcements
(`do("announce")`) until every subscriber has received one from each publisher. Then the run starts
the broadcast (`do("publish", at=…)`). Its schedule is fixed in advance, so every process knows the
number of messages.

    announced  {}    all subscribers of this shard have received every publisher's announcement
    published  {}    all publishers of this shard have sent all messages
    done       {}    all subscribers of this shard have received all messages

"ended" adds: "published"; "delivered", messages that were new to a subscriber; "duplicates";
"out_of_order"; "delivery", a histogram of the times from sending to receiving; "late", by how many
seconds a message was sent after its scheduled time, at most.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from workers.connection.dialer import Dialer
from workers.load import broadcast_verification as delivery
from workers.processes.client import Client
from workers.processes.plan import Plan
from workers.processes.shard import Emit, Shard
from workers.reporting.latency import Latencies

ANNOUNCE_EVERY = 0.2  # seconds
FOLD_AT = 20_000  # delivery times that are collected before they are added to the histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastPlan(Plan):
    """`path` is that of the subscribers; `clients` counts publishers and subscribers."""

    publishers: int = 1
    publisher_path: str
    rate: float = 100.0  # messages a second, of all publishers together, which take turns
    messages: int = 1000  # of all publishers together

    @property
    def subscribers(self) -> int:
        return self.clients - self.publishers


class Publisher(Client):
    __slots__ = ("sent",)

    def __init__(self, shard: "BroadcastShard", number: int) -> None:
        super().__init__(shard, number)
        self.sent = 0


class Subscriber(Client):
    __slots__ = ("delivery",)

    shard: "BroadcastShard"

    def __init__(self, shard: "BroadcastShard", number: int, publishers: int) -> None:
        super().__init__(shard, number)
        self.delivery = delivery.Delivery(publishers)

    def received(self, messages: Sequence[bytes]) -> None:
        # The hot path: runs for every message of every subscriber. Local names; for the expected
        # message only the parser is called.
        expected = self.delivery.expected
        times = self.shard.times
        now = monotonic()
        parse = delivery.parse
        for text in messages:
            try:
                publisher, number, sent = parse(text)
                if expected[publisher] == number:
                    expected[publisher] = number + 1
                    times.append(now - sent)
                elif number == delivery.ANNOUNCEMENT:
                    if self.delivery.announced(publisher):
                        self.shard.subscriber_ready()
                elif self.delivery.unexpected(publisher, number, self.shard.counts):
                    times.append(now - sent)
            except (delivery.UnknownMessage, IndexError):
                self.shard.fail(f"not a message of this broadcast: {text[:40]!r}")
        if len(times) > FOLD_AT:
            self.shard.fold_times()


class BroadcastShard(Shard):
    """The publishers and subscribers of one process."""

    plan_type = BroadcastPlan
    tallied = (*Shard.tallied, "published", "delivered")

    def __init__(self, reactor: Any, plan: BroadcastPlan, number: int, emit: Emit) -> None:
        self.times: list[float] = []  # from sending to receiving
        self.counts: Counter[str] = Counter(duplicates=0, out_of_order=0)
        self._done = False
        self._delivery = Latencies()
        self._late = 0.0
        self._broadcast = plan
        super().__init__(reactor, plan, number, emit)
        self._publisher_dialer = self.dialer(plan.publisher_path)
        self._publishers = {c.number: c for c in self._clients if isinstance(c, Publisher)}
        self._not_ready = len(self._clients) - len(self._publishers)
        self._expected = self._not_ready * plan.messages
        # Publisher n % publishers sends message n, n / rate seconds after the beginning.
        self._mine = [
            n for n in range(plan.messages) if n % plan.publishers % plan.shards == number
        ]
        self._next = 0  # an index of _mine
        self._began = 0.0

    def client(self, number: int) -> Client:
        if number < self._broadcast.publishers:
            return Publisher(self, number)
        return Subscriber(self, number, self._broadcast.publishers)

    def dialer_for(self, client: Client) -> Dialer:
        return self._publisher_dialer if isinstance(client, Publisher) else self._dialer

    def do(self, command: str, **values: Any) -> None:
        if command == "announce":
            self._announce()
            if not self._not_ready:
                self.emit("announced", {})
        elif command == "publish":
            self._began = values["at"]
            self.timers.cancel("publish")
            self._publish()
        else:
            super().do(command, **values)

    def _announce(self) -> None:
        for publisher in self._publishers.values():
            if publisher.connection is not None:
                publisher.connection.send(delivery.announcement(publisher.number))
        self.timers.after("publish", ANNOUNCE_EVERY, self._announce)

    def subscriber_ready(self) -> None:
        """A subscriber has received an announcement from every publisher."""
        self._not_ready -= 1
        if not self._not_ready:
            self.emit("announced", {})

    def _publish(self) -> None:
        """Send the messages that are due, and set a timer for the next one."""
        mine = self._mine
        rate = self._broadcast.rate
        now = monotonic()
        while self._next < len(mine):
            n = mine[self._next]
            due = self._began + n / rate
            if due > now:
                self.timers.after("publish", due - now, self._publish)
                return
            self._next += 1
            self._late = max(self._late, now - due)
            publisher = self._publishers[n % self._broadcast.publishers]
            if publisher.connection is not None and publisher.is_open:
                text = delivery.message(publisher.number, publisher.sent, monotonic())
                publisher.connection.send(text)
                publisher.sent += 1
                self.tally["published"] += 1
        self.emit("published", {})

    def fold_times(self) -> None:
        """Count and measure what has been delivered since the last call."""
        self._delivery.add(self.times)
        self.tally["delivered"] += len(self.times)
        self.times.clear()

    def _fold(self) -> None:
        super()._fold()
        self.fold_times()
        if self._began and self.tally["delivered"] == self._expected and not self._done:
            self._done = True
            self.emit("done", {})

    def measurements(self) -> dict[str, Any]:
        return {
            "duplicates": self.counts["duplicates"],
            "out_of_order": self.counts["out_of_order"],
            "delivery": self._delivery.counts(),
            "late": self._late,
        }
