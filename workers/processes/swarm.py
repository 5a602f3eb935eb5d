"""All shards of one run: starts them, waits for their events, ends them.

swarm = Swarm(reactor, EchoShard, plan)

async def steps():
    await swarm.all("connected")
    …

reports = await swarm.through(steps())
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from workers.processes.plan import Plan
from workers.processes.shard import Shard
from workers.processes.shard_process import ShardProcess

Report = dict[str, Any]
"""The values of an event of a shard."""


class Stopped(Exception):
    """The run ends early. `why` is for the user; None: the user has interrupted it."""

    def __init__(self, why: str | None) -> None:
        super().__init__(why)
        self.why = why


class RunningShard(Protocol):
    """The methods of a shard that a swarm calls, in this process or in another one."""

    def start(self) -> None: ...

    def do(self, command: str, **values: Any) -> None: ...

    def close(self) -> None: ...


class Swarm:
    """The clients of one run: one shard in this process, or several in child processes.

    on_tally: called with the sums of all shards' counts, about ten times a second for each shard.
    on_event: event -> a function, which is called with the event's values, once for each shard that
    emits it. The swarm keeps the values of all other events, for `all`.

    After `through`, `reports` holds the values of "ended" of each shard, and `stopped` says why the
    run has ended early, if it has.
    """

    def __init__(
        self,
        reactor: Any,
        shard_type: type[Shard],
        plan: Plan,
        on_tally: Callable[[Counter[str]], None] = lambda tally: None,
        on_event: Mapping[str, Callable[[Report], None]] | None = None,
    ) -> None:
        self.tallies: list[Mapping[str, int]] = [{} for _ in range(plan.shards)]
        self.reports: list[Report] = []
        self.stopped: Stopped | None = None
        self._reactor = reactor
        self._plan = plan
        self._on_tally = on_tally
        self._on_event = on_event or {}
        self._emitted: dict[str, list[Report]] = {}
        self._waiting: dict[str, Deferred[list[Report]]] = {}
        self._over = False  # the steps are done, or given up
        self._left = plan.shards
        self._all_ended: Deferred[None] = Deferred()
        self._shards: list[RunningShard] = []
        for number in range(plan.shards):
            emit = self._emit(number)
            if plan.shards == 1:
                self._shards.append(shard_type(reactor, plan, number, emit))
            else:
                self._shards.append(ShardProcess(reactor, shard_type, plan, number, emit))

    async def through(self, steps: Awaitable[None]) -> list[Report]:
        """Start the shards, await the steps, close all connections; returns the reports.

        Steps that are waiting when the swarm is stopped receive Stopped; they may also raise it.
        """
        for shard in self._shards:
            shard.start()
        try:
            await steps
        except Stopped as stopped:
            self.stopped = stopped
        self._over = True
        for shard in self._shards:
            shard.close()
        await self._all_ended
        return self.reports

    def do(self, command: str, **values: Any) -> None:
        """Send a command to every shard."""
        for shard in self._shards:
            shard.do(command, **values)

    def all(self, event: str, within: float | None = None) -> Deferred[list[Report]]:
        """Wait until every shard has emitted an event; fires with the values, fails with Stopped.

        within: seconds after which it fires with an empty list.
        """
        waiting: Deferred[list[Report]] = Deferred()
        if self.stopped is not None:
            waiting.errback(self.stopped)
        elif len(self._emitted.get(event, ())) == self._plan.shards:
            waiting.callback(self._emitted[event])
        else:
            self._waiting[event] = waiting
            if within is not None:
                late = self._reactor.callLater(within, self._give_up, event)
                waiting.addBoth(_cancelling, late)
        return waiting

    def pause(self, seconds: float) -> Deferred[list[Report]]:
        """Wait for `seconds`; fails with Stopped."""
        return self.all("pause", within=seconds)

    def _give_up(self, event: str) -> None:
        self._waiting.pop(event).callback([])

    def stop(self, why: str | None) -> None:
        """End the run early: waiting steps receive Stopped. No effect once the run ends."""
        if self.stopped is None and not self._over:
            self.stopped = Stopped(why)
            waiting, self._waiting = self._waiting, {}
            for deferred in waiting.values():
                deferred.errback(self.stopped)

    @property
    def tally(self) -> Counter[str]:
        """The latest counts of all shards together."""
        total: Counter[str] = Counter()
        for tally in self.tallies:
            total.update(tally)
        return total

    def _emit(self, number: int) -> Callable[[str, Report], None]:
        def emit(event: str, values: Report) -> None:
            if event == "tally":
                self.tallies[number] = values
                self._on_tally(self.tally)
            elif event == "ended":
                self.tallies[number] = values["tally"]
                self.reports.append(values)
                self._one_ended()
            elif event == "died":
                why = f"a process of the swarm ended early: {values['why']}"
                self.stop(why)
                self.stopped = self.stopped or Stopped(why)  # its report is missing
                self._one_ended()
            elif event in self._on_event:
                self._on_event[event](values)
            else:
                self._keep(event, values)

        return emit

    def _keep(self, event: str, values: Report) -> None:
        emitted = self._emitted.setdefault(event, [])
        emitted.append(values)
        if len(emitted) == self._plan.shards and event in self._waiting:
            self._waiting.pop(event).callback(emitted)

    def _one_ended(self) -> None:
        self._left -= 1
        if not self._left:
            self._all_ended.callback(None)


def _cancelling(result: Any, call: Any) -> Any:
    if call.active():
        call.cancel()
    return result
