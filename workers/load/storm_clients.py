"""Clients that disconnect all at once without a closing handshake, and reconnect.

`do("drop", jitter=seconds)` starts the storm, once. Then the shard emits

    dropped      {"at": seconds}   the connections are being aborted
    reconnected  {"at": seconds}   all clients of this shard are open again

An attempt to reconnect that fails is counted, and repeated after half a second to a second. "ended"
adds: "first", the connect times before the storm; "reconnect", the times from the drop until each
client was open again.
"""

import random
from time import monotonic
from typing import Any

from workers.connection.failure_reasons import why_closed
from workers.processes.client import Client
from workers.processes.plan import Plan
from workers.processes.shard import Emit, Shard
from workers.reporting.latency import Latencies

RETRY_AFTER = 0.5, 1.0  # minimum and maximum, in seconds


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
    """The storm clients of one process."""

    def __init__(self, reactor: Any, plan: Plan, number: int, emit: Emit) -> None:
        self._first = Latencies()
        self._reconnect = Latencies()
        self._reconnect_times: list[float] = []
        self._dropped_at: float | None = None
        self._going = 0  # connections that are being aborted
        self._jitter = 0.0
        self._reconnected = False
        super().__init__(reactor, plan, number, emit)

    def client(self, number: int) -> Client:
        return StormClient(self, number)

    def do(self, command: str, **values: Any) -> None:
        if command != "drop":
            super().do(command, **values)
        self._jitter = values["jitter"]
        self._fold()
        self._first, self.connect_times = self.connect_times, Latencies()
        self._dropped_at = monotonic()
        self.emit("dropped", {"at": self._dropped_at})
        going = [client for client in self._clients if client.is_open]
        self._going = len(going)
        for client in going:
            client.drop()
        if not going:
            self._start_reconnecting()

    def client_gone(self) -> None:
        self._going -= 1
        if not self._going and not self.closing:
            self._start_reconnecting()

    def _start_reconnecting(self) -> None:
        clients = self._plan.clients
        rate = clients / self._jitter if self._jitter else 0.0
        self._ramp = self.ramp(rate, at_once=clients)
        self._ramp.start()

    def client_opened(self) -> None:
        if self._dropped_at is None:
            return
        self._reconnect_times.append(monotonic() - self._dropped_at)
        if self.tally["open"] == len(self._clients) and not self._reconnected:
            self._reconnected = True
            self.emit("reconnected", {"at": monotonic()})

    def client_lost(self, client: Client, reason: str) -> None:
        """The server has ended a connection."""
        if self._dropped_at is None:
            self.fail(reason)
        else:
            self._retry(client, reason)

    def not_opened(self, client: Client, reason: str) -> None:
        if self._dropped_at is None:
            super().not_opened(client, reason)
        else:
            self._retry(client, reason)

    def _retry(self, client: Client, reason: str) -> None:
        self.count_failure(reason)
        self.tally["retries"] += 1
        self.timer_wheel.later(random.uniform(*RETRY_AFTER), lambda: self._connect_again(client))

    def _connect_again(self, client: Client) -> None:
        self.connect(client)

    def _fold(self) -> None:
        super()._fold()
        self._reconnect.add(self._reconnect_times)
        self._reconnect_times.clear()

    def measurements(self) -> dict[str, Any]:
        if self._dropped_at is None:  # the run ended before the storm
            return {"first": self.connect_times.counts(), "connect": [], "reconnect": []}
        return {"first": self._first.counts(), "reconnect": self._reconnect.counts()}
