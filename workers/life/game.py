"""One game: prepares the server, runs the swarm, verifies the game, makes its summary."""

import re
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any

from workers.cli.run import CannotRun
from workers.connection.single_connection import open_once
from workers.connection.target import Target
from workers.life.cell_clients import LifePlan, LifeShard
from workers.life.progress import Counts, Progress
from workers.life.stalls import Stalls
from workers.life.verification import Verification
from workers.processes.swarm import Report, Swarm
from workers.reporting.summary import (
    Outcome,
    Reports,
    merged_counts,
    merged_latencies,
    milliseconds,
    plural,
    times_line,
)


async def reset(reactor: Any, target: Target, size: int, timeout: float) -> str:
    """Send the size of the next game to the server and wait until it is ready for it.

    timeout: seconds. Returns the server's identifier of the game, which may be empty. Raises
    NotOpened and CannotRun.
    """
    code, reason = await open_once(
        reactor, target, "/reset/", timeout, lambda connection: connection.send(b"%d" % size)
    )
    if code != 1000:
        raise CannotRun(f"{target.url}/reset/ did not start a game: {reason} ({code})")
    return reason if re.fullmatch(r"[\w-]{1,64}", reason) else ""


class Game:
    """One game on a server that was `reset`. Await `play()` once.

    on_event(name) is called with "connected", "running" and "stepped" at these events. Connections
    are made before "running" and closed after "stepped", so a measurement between these two events
    measures the game only.

    stall_timeout: seconds without a step after which the game is given up; 0: never.
    """

    def __init__(
        self,
        reactor: Any,
        plan: LifePlan,
        progress: Progress,
        on_event: Callable[[str], None] = lambda name: None,
        stall_timeout: float = 0.0,
    ) -> None:
        self.verification = Verification(plan.start, plan.wrap, plan.shards)
        self._plan = plan
        self._progress = progress
        self._on_event = on_event
        self._made_at = monotonic()
        self._connected_at = self._running_at = self._ended_at = 0.0  # 0: not yet
        self._finished = False
        self._repeated: list[str] = []  # why the messages show an error of the server
        self._stalls = Stalls(stall_timeout, plan.rate)
        self.swarm = Swarm(
            reactor,
            LifeShard,
            plan,
            self._show,
            {"running": self._runs, "generation": self._verify, "failed": self._fail},
        )

    async def play(self) -> Outcome:
        reports = await self.swarm.through(self._steps())
        self._progress.end()
        return self._outcome(reports)

    async def _steps(self) -> None:
        try:
            await self.swarm.all("subscribed")
            self._all_connected()
            await self.swarm.all("finished")
            self._finished = True
        finally:
            self._ended_at = monotonic()
        self._on_event("stepped")

    def _all_connected(self) -> None:
        if not self._connected_at:
            self._connected_at = monotonic()
            self._on_event("connected")

    # Events of the shards

    def _runs(self, values: Report) -> None:
        if not self._running_at:
            # No cell runs before all have subscribed, but the event of the first running shard may
            # arrive before that of the last subscribed one.
            self._all_connected()
            self._running_at = monotonic()
            self._on_event("running")

    def _verify(self, values: Report) -> None:
        self.verification.add(values["step"], int(values["bits"], 16))
        if self.verification.mismatch is not None:
            self.swarm.stop(f"wrong: {self.verification.mismatch}")

    def _fail(self, values: Report) -> None:
        self.swarm.stop(values["why"])

    @property
    def _step(self) -> int:
        """The step that all cells have reached."""
        return min(tally.get("step", 0) for tally in self.swarm.tallies)

    def _show(self, tally: Counter[str]) -> None:
        if self._ended_at:
            return
        step = self._step
        counts = Counts(tally["opened"], tally["subscribed"], step, tally["away"])
        self._progress.show(counts, running=bool(self._running_at))
        if self._running_at and step != self._plan.last and self._stalls.too_long(step):
            self.swarm.stop(self._stalls.why(tally["away"], self._plan.clients))

    # The summary

    @property
    def verified(self) -> bool | None:
        """Whether every cell of every generation was correct; None if not all were compared."""
        if self.verification.mismatch is not None or self._repeated:
            return False
        compared_all = self.verification.generations - 1 == self._plan.last
        return True if self._finished and compared_all else None

    def _outcome(self, reports: Reports) -> Outcome:
        seconds = self._ended_at - self._running_at if self._running_at else 0.0
        connect_seconds = self._connected_at - self._made_at if self._connected_at else 0.0
        values = {
            "verified": None,
            "steps": self._step,
            "size": self._plan.size,
            "steps_per_second": round(self._step / seconds, 3) if seconds else 0.0,
            "latency_ms": milliseconds(merged_latencies(reports, "latency"), 50, 99),
            "messages_sent": sum(report["sent"] for report in reports),
            "messages_received": sum(report["received"] for report in reports),
            "reconnects": sum(report["moved"] for report in reports),
            "resumed": sum(report["resumed"] for report in reports),
            "losses": dict(merged_counts(reports, "failures")),
            "asked": sum(report["asked"] for report in reports),
            "duplicates": sum(report["duplicates"] for report in reports),
            "longest_stall": round(self._stalls.longest, 3),
            "compared": self.verification.generations,
            "connect_seconds": round(connect_seconds, 3),
            "seconds": round(seconds, 3),
        }
        self._repeated = repeated(values)
        values["verified"] = self.verified
        return Outcome(values, self._lines(values) if seconds else [], self._repeated)

    def _lines(self, values: dict[str, Any]) -> list[str]:
        size, steps = values["size"], values["steps"]
        lines = [
            f"{plural(size * size, 'cell')} in {plural(self._plan.shards, 'process', 'processes')}"
            f", connected in {values['connect_seconds']:.1f} s",
            f"{plural(steps, 'step')} in {values['seconds']:.1f} s: "
            f"{values['steps_per_second']:.1f} steps/s",
            times_line("step latency of a cell", values["latency_ms"]),
            f"messages: {values['messages_sent']:,} sent, {values['messages_received']:,} received",
        ]
        if values["resumed"]:
            lines.append(
                f"{plural(values['resumed'], 'lost connection')} resumed; longest time without a "
                f"step {values['longest_stall']:.1f} s"
            )
        if values["asked"]:
            lines.append(f"asked again for {plural(values['asked'], 'state')} that had not arrived")
        compared = self.verification.generations
        if self.verified:
            lines.append(
                f"verified: {plural(steps, 'step')} of {size}×{size}, every cell equals the oracle"
            )
        elif self._plan.verify and self.verification.mismatch is None:
            lines.append(
                f"compared {plural(compared, 'generation')} with the oracle: no difference"
            )
        return lines


def repeated(values: dict[str, Any]) -> list[str]:
    """Return what is wrong if messages have arrived twice although no cell had to ask or resume."""
    if values["resumed"] or values["asked"] or not values["duplicates"]:
        return []
    return [f"{plural(values['duplicates'], 'message')} arrived a second time"]
