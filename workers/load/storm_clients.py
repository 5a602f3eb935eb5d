"""Clients that go all at once, without a word, and come back.

`do("drop", jitter=seconds)` starts it, once; in return come

    dropped  {"at": seconds}   the clients have begun to go
    back     {"at": seconds}   all of this shard's clients are open again

An attempt to come back that fails is counted, and made again after half a second to a second, as a
decent client would. At the end: "first" are the connect times before the storm, "back" the times
from the drop until each client was open again.
"""

import random
from time import monotonic
from typing import Any

from workers.connection.failure_reasons import why_closed
from workers.processes.client import Client, Plan
from workers.processes.shard import Shard, Tell
from workers.reporting.latency import Latencies

AGAIN_AFTER = 0.5, 1.0  # seconds, at least and at most


class StormClient(Client):
    __slots__ = ()

    shard: "StormShard"

    def opened(self) -> None:
        self.shard.client_opened()

    def gone(self) -> None:
        self.shard.client_gone()

    def closed(self, code: int, reason: str) -> None:
        self.shard.client_lost(self, why_closed(code, reason))


class StormShard(Shard):
    """All clients of this kind in one process."""

    def __init__(self, reactor: Any, plan: Plan, number: int, tell: Tell) -> None:
        self._first = Latencies()
        self._back = Latencies()
        self._back_times: list[float] = []
        self._dropped_at: float | None = None
        self._going = 0
        self._jitter = 0.0
        self._told_back = False
        super().__init__(reactor, plan, number, tell)

    def client(self, number: int) -> Client:
        return StormClient(self, number)

    def do(self, what: str, **values: Any) -> None:
        if what != "drop":
            super().do(what, **values)
        self._jitter = values["jitter"]
        self._fold()
        self._first, self.connect_times = self.connect_times, Latencies()
        self._dropped_at = monotonic()
        self.tell("dropped", {"at": self._dropped_at})
        going = [client for client in self._clients if client.is_open]
        self._going = len(going)
        for client in going:
            client.drop()
        if not going:
            self._come_back()

    def client_gone(self) -> None:
        self._going -= 1
        if not self._going and not self.closing:
            self._come_back()

    def _come_back(self) -> None:
        everybody = self._plan.clients
        rate = everybody / self._jitter if self._jitter else 0.0
        self._ramp = self.ramp(rate, at_once=everybody)
        self._ramp.start()

    def client_opened(self) -> None:
        if self._dropped_at is None:
            return
        self._back_times.append(monotonic() - self._dropped_at)
        if self.tally["open"] == len(self._clients) and not self._told_back:
            self._told_back = True
            self.tell("back", {"at": monotonic()})

    def client_lost(self, client: Client, reason: str) -> None:
        """The server has ended a connection."""
        if self._dropped_at is None:
            self.fail(reason)
        else:
            self._try_again(client, reason)

    def not_opened(self, client: Client, reason: str) -> None:
        if self._dropped_at is None:
            super().not_opened(client, reason)
        else:
            self._try_again(client, reason)

    def _try_again(self, client: Client, reason: str) -> None:
        self.count_failure(reason)
        self.tally["again"] += 1
        self.timer_wheel.later(random.uniform(*AGAIN_AFTER), lambda: self._connect_again(client))

    def _connect_again(self, client: Client) -> None:
        self.connect(client)

    def _fold(self) -> None:
        super()._fold()
        self._back.add(self._back_times)
        self._back_times.clear()

    def figures(self) -> dict[str, Any]:
        if self._dropped_at is None:  # it has not come to the storm
            return {"first": self.connect_times.counts(), "connect": [], "back": []}
        return {"first": self._first.counts(), "back": self._back.counts()}
