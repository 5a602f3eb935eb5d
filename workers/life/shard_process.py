"""Shards in processes of their own, which are told and tell in JSON, one text a line.

> {"number": …, "plan": {…}}        once, first: whose shard to play
> {"do": "close"}                   close every connection
< {"tell": "progress", "arguments": […]}   any of Listener's events, in order
"""

import dataclasses
from typing import Any

from workers.connection.target import Target
from workers.life.plan import Listener, Plan, Totals
from workers.life.rules import Grid
from workers.life.shard import LifeShard
from workers.processes.pipes import Child, Parent, Said, run_child
from workers.processes.process_setup import keep_garbage_collection_short
from workers.reporting.latency import Latencies


def plan_as_json(plan: Plan) -> dict[str, Any]:
    values = {name: getattr(plan, name) for name in _PLAIN}
    values["start"] = [plan.start.size, hex(plan.start.bits)]
    values["targets"] = [dataclasses.astuple(target) for target in plan.targets]
    return values


def plan_from_json(values: dict[str, Any]) -> Plan:
    size, bits = values["start"]
    return Plan(
        start=Grid(size, int(bits, 16)),
        targets=tuple(Target(*target) for target in values["targets"]),
        **{name: values[name] for name in _PLAIN},
    )


_PLAIN = ("wrap", "last", "rate", "ramp", "timeout", "verify", "shards")


# The parent's side


class LifeShardProcess:
    """A shard in a child process, with a shard's methods; tells the same listener."""

    def __init__(self, reactor: Any, plan: Plan, number: int, listener: Listener) -> None:
        self._plan = plan
        self._number = number
        self._listener = listener
        self._totals: Totals | None = None
        self._child = Child(reactor, "workers.life.shard_process", self._heard, self._ended)

    def start(self) -> None:
        self._child.start()
        self._child.say({"number": self._number, "plan": plan_as_json(self._plan)})

    def close(self) -> None:
        self._child.say({"do": "close"})

    def _heard(self, said: Said) -> None:
        self._hear(said["tell"], said["arguments"])

    def _hear(self, event: str, arguments: list[Any]) -> None:
        if event == "generation":
            step, bits = arguments
            self._listener.generation(self._number, step, int(bits, 16))
        elif event == "ended":
            sent, received, reconnects, counts = arguments
            latencies = Latencies((bucket, count) for bucket, count in counts)
            self._totals = Totals(sent, received, reconnects, latencies)
        else:
            getattr(self._listener, event)(self._number, *arguments)

    def _ended(self, why: str) -> None:
        # Only now, so that no process of the swarm outlives the game.
        if self._totals is None:
            self._listener.failed(self._number, f"a process of the swarm ended early: {why}")
        self._listener.ended(self._number, self._totals or Totals())


# The child's side


class _Child:
    """Hears the parent, tells it what the shard tells."""

    def __init__(self) -> None:
        self._parent: Parent | None = None
        self._shard: LifeShard | None = None

    def heard(self, reactor: Any, parent: Parent, said: Said) -> None:
        if "plan" in said:
            self._parent = parent
            self._shard = LifeShard(reactor, plan_from_json(said["plan"]), said["number"], self)
            self._shard.start()
        elif self._shard is not None:
            self._shard.close()

    def _tell(self, event: str, *arguments: Any) -> None:
        assert self._parent is not None
        self._parent.say({"tell": event, "arguments": arguments})

    # Listener

    def progress(self, shard: int, connected: int, subscribed: int, step: int) -> None:
        self._tell("progress", connected, subscribed, step)

    def subscribed(self, shard: int) -> None:
        keep_garbage_collection_short()
        self._tell("subscribed")

    def running(self, shard: int) -> None:
        self._tell("running")

    def generation(self, shard: int, step: int, bits: int) -> None:
        self._tell("generation", step, hex(bits))

    def finished(self, shard: int) -> None:
        self._tell("finished")

    def failed(self, shard: int, why: str) -> None:
        self._tell("failed", why)

    def ended(self, shard: int, totals: Totals) -> None:
        self._tell(
            "ended", totals.sent, totals.received, totals.reconnects, totals.latencies.counts()
        )
        assert self._parent is not None
        self._parent.hang_up()


def main() -> None:
    """A child's whole life; pipes.py calls it."""
    run_child(_Child().heard)
