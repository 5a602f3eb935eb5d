"""One game: resets the server, starts the shards, listens to them, verifies, sums up."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from workers.connection.dialer import Dialer, say_why
from workers.connection.failure_reasons import hint, why_not_opened
from workers.connection.read_hub import FlushList, ReadHub
from workers.connection.websocket import Connection
from workers.life.plan import Listener, Plan, Totals
from workers.life.progress import Gathered, Progress
from workers.life.verification import Verification


@dataclass(slots=True)
class Summary:
    """How it went. `error` is the one line for the user, None if all is well."""

    size: int
    verify: bool
    error: str | None = None
    interrupted: bool = False
    verified: bool | None = None  # None: not asked for, or not everything was compared
    checked: int = 0  # generations compared and found right
    steps: int = 0  # that every cell has reached
    connect_seconds: float = 0.0  # until every cell had subscribed
    seconds: float = 0.0  # of running
    processes: int = 1
    totals: Totals = field(default_factory=Totals)

    @property
    def steps_per_second(self) -> float:
        return self.steps / self.seconds if self.seconds else 0.0

    def milliseconds(self, percent: float) -> float | None:
        latency = self.totals.latencies.percentile(percent)
        return None if latency is None else round(latency * 1000, 3)

    def as_json(self) -> str:
        return json.dumps(
            {
                "verified": self.verified,
                "steps": self.steps,
                "size": self.size,
                "steps_per_second": round(self.steps_per_second, 3),
                "latency_ms": {"p50": self.milliseconds(50), "p99": self.milliseconds(99)},
                "messages_sent": self.totals.sent,
                "messages_received": self.totals.received,
                "reconnects": self.totals.reconnects,
                "errors": [] if self.error is None else [self.error],
                "interrupted": self.interrupted,
                "processes": self.processes,
                "connect_seconds": round(self.connect_seconds, 3),
                "seconds": round(self.seconds, 3),
            }
        )

    def as_text(self) -> str:
        """Some lines for people; none if the game never ran."""
        if not self.seconds:
            return ""  # nothing ran: the error says it all
        cells = self.size * self.size
        totals = self.totals
        lines = [
            f"{cells:,} cells in {self.processes} process{'es' if self.processes > 1 else ''}, "
            f"gathered in {self.connect_seconds:.1f} s",
            f"{self.steps:,} steps in {self.seconds:.1f} s: {self.steps_per_second:.1f} steps/s",
        ]
        median = self.milliseconds(50)
        if median is not None:
            lines.append(
                f"step latency of a cell: p50 {median:.1f} ms, p99 {self.milliseconds(99):.1f} ms"
            )
        lines.append(
            f"messages: {totals.sent:,} sent, {totals.received:,} received; "
            f"{totals.reconnects} reconnects, {0 if self.error is None else 1} errors"
        )
        if self.verified:
            lines.append(
                f"verified: {self.steps} steps of {self.size}×{self.size}, "
                "every cell equals the oracle"
            )
        elif self.verify and self.error is None:
            lines.append(f"compared {self.checked} whole generations before the end: no difference")
        return "\n".join(lines)


class Played(Protocol):
    """What a game needs of a shard, here or in another process."""

    def start(self) -> None: ...

    def close(self) -> None: ...


Events = Callable[[str], None]


class LifeGame(Listener):
    """Play a plan once: `await play()`.

    make_shard(number, listener) -> a shard of the plan that tells this game.
    on_event(name) hears "connected", "running" and "stepped" as they happen: connections are made
    before "running" and closed after "stepped", so that a measurement between them is of the game.
    """

    def __init__(
        self,
        reactor: Any,
        plan: Plan,
        make_shard: Callable[[int, Listener], Played],
        progress: Progress,
        on_event: Events = lambda name: None,
    ) -> None:
        self._reactor = reactor
        self._plan = plan
        self._make_shard = make_shard
        self._progress = progress
        self._on_event = on_event
        self._shards: list[Played] = []
        self._gathered = [Gathered() for _ in range(plan.shards)]
        self._left = {"subscribed": plan.shards, "finished": plan.shards, "ended": plan.shards}
        self._running = self._over = False
        self._began = self._ran = 0.0
        self._done: Deferred[None] = Deferred()
        self._resetting: Connection | None = None
        self._verification = (
            Verification(plan.start, plan.wrap, plan.shards) if plan.verify else None
        )
        self.summary = Summary(plan.start.size, plan.verify, processes=plan.shards)

    async def play(self) -> Summary:
        """Never raises for what a server or a network does: that is in the summary's `error`."""
        self._began = self._reactor.seconds()
        error = await self._reset()
        if error is not None:
            self.summary.error = None if self.summary.interrupted else error
        elif not self._over:
            self._shards = [self._make_shard(n, self) for n in range(self._plan.shards)]
            for shard in self._shards:
                shard.start()
            await self._done
        self._progress.end()
        self._conclude()
        return self.summary

    def interrupt(self) -> None:
        """The user wants an end: close everything, sum up what there is."""
        self.summary.interrupted = True
        if self._resetting is not None:
            self._resetting.abort()
        self._end()

    async def _reset(self) -> str | None:
        """Tell the server the size, wait until it closes with 1000. Returns an error or None."""
        target = self._plan.targets[0]
        flush_list = FlushList(self._reactor)
        hub = ReadHub(self._reactor, flush_list)
        closed: Deferred[tuple[int, str]] = Deferred()
        dialer = Dialer(self._reactor, [target], "/reset/", self._plan.timeout, flush_list, hub)
        hub.start()
        give_up = None
        opened = False
        try:
            connection = await dialer.dial(0)
            self._resetting = connection

            def ask() -> None:
                nonlocal opened
                opened = True
                connection.send(b"%d" % self._plan.start.size)

            connection.opened = ask
            connection.closed = lambda code, reason, was_clean: closed.callback((code, reason))
            give_up = self._reactor.callLater(self._plan.timeout, connection.abort)
            code, reason = await closed
        except Exception as error:
            why = say_why(error)
            return f"cannot connect to {target.url}: {why}{hint(why)}"
        finally:
            self._resetting = None
            hub.stop()
            if give_up is not None and give_up.active():
                give_up.cancel()
        if code == 1000:
            return None
        why = f"{reason} ({code})" if opened else why_not_opened(reason)
        return f"{target.url}/reset/ did not start a game: {why}{hint(why)}"

    # What the shards tell

    def progress(self, shard: int, connected: int, subscribed: int, step: int) -> None:
        self._gathered[shard] = Gathered(connected, subscribed, step)
        if not self._over:
            self._progress.show(
                Gathered(
                    sum(g.connected for g in self._gathered),
                    sum(g.subscribed for g in self._gathered),
                    min(g.step for g in self._gathered),
                ),
                self._running,
            )

    def subscribed(self, shard: int) -> None:
        if self._last_of("subscribed"):
            self._all_connected()

    def _all_connected(self) -> None:
        if not self.summary.connect_seconds:
            self.summary.connect_seconds = self._reactor.seconds() - self._began
            self._on_event("connected")

    def running(self, shard: int) -> None:
        if not self._running:
            # No cell runs before all have subscribed; one process may just be first to say so.
            self._all_connected()
            self._running = True
            self._ran = self._reactor.seconds()
            self._on_event("running")

    def generation(self, shard: int, step: int, bits: int) -> None:
        verification = self._verification
        if verification is None or verification.mismatch is not None:
            return
        verification.add(step, bits)
        if verification.mismatch is not None:
            self.failed(shard, f"wrong: {verification.mismatch}")

    def finished(self, shard: int) -> None:
        if self._last_of("finished"):
            self._stop_the_clock()
            self._on_event("stepped")
            self._end()

    def failed(self, shard: int, why: str) -> None:
        if self.summary.error is None and not self._over:
            self.summary.error = why
        self._end()

    def ended(self, shard: int, totals: Totals) -> None:
        mine = self.summary.totals
        mine.sent += totals.sent
        mine.received += totals.received
        mine.reconnects += totals.reconnects
        mine.latencies.merge(totals.latencies)
        if self._last_of("ended"):
            self._done.callback(None)

    def _last_of(self, event: str) -> bool:
        self._left[event] -= 1
        return not self._left[event]

    def _stop_the_clock(self) -> None:
        if self._running and not self.summary.seconds:
            self.summary.seconds = self._reactor.seconds() - self._ran

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._stop_the_clock()
        for shard in self._shards:
            shard.close()

    def _conclude(self) -> None:
        summary = self.summary
        summary.steps = min(g.step for g in self._gathered)
        verification = self._verification
        if verification is None:
            return
        summary.checked = verification.generations
        if verification.mismatch is not None:
            summary.verified = False
        elif self._plan.last is not None and verification.generations == self._plan.last + 1:
            everything = summary.error is None and not self._left["finished"]
            summary.verified = True if everything else None
