"""All shards of one run: starts them, waits for what they tell, ends them, sums up.

load = Swarm(reactor, "idle", plan)
try:
    load.start()
    await load.all("connected")
    …
except Stopped: …
reports = await load.end()
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from workers.processes.client import Plan
from workers.processes.shard_process import ShardLike, ShardProcess, make_shard
from workers.reporting.latency import Latencies

Report = dict[str, Any]


class Stopped(Exception):
    """The run ends before its time. `why` is for the user; None: it is the user who wants it."""

    def __init__(self, why: str | None) -> None:
        super().__init__(why)
        self.why = why


class Swarm:
    """`start` it, wait for `all` shards, and whatever happens, `await end()` at the end.

    on_tally(counts, all shards together) is called about ten times a second for each shard.
    """

    def __init__(
        self,
        reactor: Any,
        kind: str,
        plan: Plan,
        on_tally: Callable[[Counter[str]], None] = lambda tally: None,
        make: Callable[..., ShardLike] | None = None,
    ) -> None:
        self._reactor = reactor
        self._plan = plan
        self._on_tally = on_tally
        self._tallies: list[dict[str, int]] = [{} for _ in range(plan.shards)]
        self._told: dict[str, list[Report]] = {}
        self._waiting: dict[str, Deferred[list[Report]]] = {}
        self._stopped: Stopped | None = None
        self._left = plan.shards
        self._all_ended: Deferred[None] = Deferred()
        self._started = False
        make = make or (make_shard if plan.shards == 1 else ShardProcess)
        self._shards = [make(reactor, kind, plan, n, self._hears(n)) for n in range(plan.shards)]

    def start(self) -> None:
        self._started = True
        for shard in self._shards:
            shard.start()

    def do(self, what: str, **values: Any) -> None:
        """Tell every shard."""
        for shard in self._shards:
            shard.do(what, **values)

    def all(self, event: str, within: float | None = None) -> Deferred[list[Report]]:
        """Fires with what the shards told, when each has told this event; fails with Stopped.

        within: fires with nothing in the list if they have not after so many seconds.
        """
        waiting: Deferred[list[Report]] = Deferred()
        if self._stopped is not None:
            waiting.errback(self._stopped)
        elif len(self._told.get(event, ())) == self._plan.shards:
            waiting.callback(self._told[event])
        else:
            self._waiting[event] = waiting
            if within is not None:
                late = self._reactor.callLater(within, self._give_up, event)
                waiting.addBoth(_cancelling, late)
        return waiting

    def pause(self, seconds: float) -> Deferred[list[Report]]:
        """Fires after so many seconds; fails with Stopped."""
        return self.all("pause", within=seconds)

    def _give_up(self, event: str) -> None:
        self._waiting.pop(event).callback([])

    def stop(self, why: str | None) -> None:
        """Whoever waits gets Stopped; only the first call counts."""
        if self._stopped is None:
            self._stopped = Stopped(why)
            waiting, self._waiting = self._waiting, {}
            for deferred in waiting.values():
                deferred.errback(self._stopped)

    @property
    def tally(self) -> Counter[str]:
        """All shards together, as far as known."""
        total: Counter[str] = Counter()
        for tally in self._tallies:
            total.update(tally)
        return total

    async def end(self) -> list[Report]:
        """Close all connections, wait for all processes; what each shard says at its end."""
        if self._started:
            for shard in self._shards:
                shard.close()
            await self._all_ended
        return self._told.get("ended", [])

    def _hears(self, shard: int) -> Callable[[str, Report], None]:
        def hear(event: str, values: Report) -> None:
            if event == "tally":
                self._tallies[shard] = values
                self._on_tally(self.tally)
            elif event == "died":
                self.stop(f"a process of the swarm ended early: {values['why']}")
                self._one_ended()
            else:
                self._hear(event, values)

        return hear

    def _hear(self, event: str, values: Report) -> None:
        told = self._told.setdefault(event, [])
        told.append(values)
        if event == "ended":
            self._one_ended()
        elif len(told) == self._plan.shards and event in self._waiting:
            self._waiting.pop(event).callback(told)

    def _one_ended(self) -> None:
        self._left -= 1
        if not self._left:
            self._all_ended.callback(None)


def _cancelling(result: Any, call: Any) -> Any:
    if call.active():
        call.cancel()
    return result


def added(reports: list[Report], name: str) -> Latencies:
    """A histogram of all shards together."""
    total = Latencies()
    for report in reports:
        total.merge(Latencies((bucket, count) for bucket, count in report[name]))
    return total


def counted(reports: list[Report], name: str) -> Counter[str]:
    """A counter of all shards together."""
    total: Counter[str] = Counter()
    for report in reports:
        total.update(report[name])
    return total
