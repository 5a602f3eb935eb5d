"""Publishers and subscribers of one topic.

Clients 0 to publishers - 1 of the run publish, the others listen. Being connected is not yet being
subscribed on every node. So publishers call (`do("call")`) until every subscriber has heard each of
them; only then the run lets them begin (`do("go", at=…)`), on a schedule that was known before, so
that everybody knows how many messages there will be.

    called     {}    all subscribers of this shard have heard every publisher
    published  {}    all publishers of this shard have sent all
    done       {}    all subscribers of this shard have had all

At the end: "published", "delivered" (messages that were new to a subscriber), "duplicates",
"out_of_order", "delivery" (times from sending to hearing), "late" (by how much at most a message
was sent after its time, seconds).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from workers.connection.dialer import Dialer
from workers.load import broadcast_delivery as delivery
from workers.processes.client import Client, Plan
from workers.processes.shard import Shard, Tell
from workers.reporting.latency import Latencies

CALL_EVERY = 0.2  # seconds
FOLD_AT = 20_000  # times kept before they go into the histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastPlan(Plan):
    """`path` is the subscribers', `clients` counts both."""

    publishers: int = 1
    publisher_path: str
    rate: float = 100.0  # messages a second, of all publishers together, who take turns
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
        # Hot: a hundred thousand messages a second. Local names, and no call if all is well.
        following = self.delivery.following
        times = self.shard.times
        now = monotonic()
        parse = delivery.parse
        for text in messages:
            try:
                publisher, number, sent = parse(text)
                if following[publisher] == number:
                    following[publisher] = number + 1
                    times.append(now - sent)
                elif number == delivery.CALL:
                    if self.delivery.called(publisher):
                        self.shard.subscriber_called()
                elif self.delivery.odd(publisher, number, self.shard.counts):
                    times.append(now - sent)
            except (delivery.NoMessage, IndexError):
                self.shard.fail(f"not a message of this broadcast: {text[:40]!r}")
        if len(times) > FOLD_AT:
            self.shard.fold_times()


class BroadcastShard(Shard):
    """All publishers and subscribers in one process."""

    tallied = (*Shard.tallied, "published", "delivered")

    def __init__(self, reactor: Any, plan: BroadcastPlan, number: int, tell: Tell) -> None:
        self.times: list[float] = []
        self.counts: Counter[str] = Counter(duplicates=0, out_of_order=0)
        self._told_done = False
        self._delivery = Latencies()
        self._late = 0.0
        self._broadcast = plan
        super().__init__(reactor, plan, number, tell)
        self._publisher_dialer = self.dialer(plan.publisher_path)
        self._publishers = {c.number: c for c in self._clients if isinstance(c, Publisher)}
        self._uncalled = len(self._clients) - len(self._publishers)
        self._expected = self._uncalled * plan.messages
        # Message n is publisher n % publishers' and due n / rate after the beginning.
        self._mine = [
            n for n in range(plan.messages) if n % plan.publishers % plan.shards == number
        ]
        self._next = 0  # of _mine
        self._began = 0.0

    def client(self, number: int) -> Client:
        if number < self._broadcast.publishers:
            return Publisher(self, number)
        return Subscriber(self, number, self._broadcast.publishers)

    def dialer_for(self, client: Client) -> Dialer:
        return self._publisher_dialer if isinstance(client, Publisher) else self._dialer

    def do(self, what: str, **values: Any) -> None:
        if what == "call":
            self._call()
            if not self._uncalled:
                self.tell("called", {})
        elif what == "go":
            self._began = values["at"]
            self.timers.cancel("publish")
            self._publish()
        else:
            super().do(what, **values)

    def _call(self) -> None:
        for publisher in self._publishers.values():
            if publisher.connection is not None:
                publisher.connection.send(delivery.call(publisher.number))
        self.timers.after("publish", CALL_EVERY, self._call)

    def subscriber_called(self) -> None:
        self._uncalled -= 1
        if not self._uncalled:
            self.tell("called", {})

    def _publish(self) -> None:
        """Send what is due, and come again when the next one is."""
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
                publisher.connection.send(
                    delivery.message(publisher.number, publisher.sent, monotonic())
                )
                publisher.sent += 1
                self.tally["published"] += 1
        self.tell("published", {})

    def fold_times(self) -> None:
        """Count what has been delivered."""
        self._delivery.add(self.times)
        self.tally["delivered"] += len(self.times)
        self.times.clear()

    def _fold(self) -> None:
        super()._fold()
        self.fold_times()
        if self._began and self.tally["delivered"] == self._expected and not self._told_done:
            self._told_done = True
            self.tell("done", {})

    def figures(self) -> dict[str, Any]:
        return {
            "duplicates": self.counts["duplicates"],
            "out_of_order": self.counts["out_of_order"],
            "delivery": self._delivery.counts(),
            "late": self._late,
        }
