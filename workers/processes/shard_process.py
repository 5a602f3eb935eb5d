"""A shard of the clients in a process of its own.

> {"number": …, "kind": "echo", "plan": {…}}   once, first
> {"do": "drop", "values": {…}}                something that the kind can do, or "close"
< {"tell": "tally", "values": {…}}             what clients.py says that a shard tells
"""

import dataclasses
from typing import Any, Protocol

from workers.connection.target import Target
from workers.load.broadcast_clients import BroadcastPlan, BroadcastShard
from workers.load.echo_clients import EchoPlan, EchoShard
from workers.load.storm_clients import StormShard
from workers.processes.client import Plan
from workers.processes.pipes import Child, Parent, Said, run_child
from workers.processes.shard import Shard, Tell

KINDS: dict[str, tuple[type[Plan], type[Shard]]] = {
    "echo": (EchoPlan, EchoShard),
    "idle": (Plan, Shard),
    "storm": (Plan, StormShard),
    "broadcast": (BroadcastPlan, BroadcastShard),
}


class ShardLike(Protocol):
    """What a run needs of a shard, here or in another process."""

    def start(self) -> None: ...

    def do(self, what: str, **values: Any) -> None: ...

    def close(self) -> None: ...


def plan_as_json(plan: Plan) -> dict[str, Any]:
    return dataclasses.asdict(plan)


def plan_from_json(kind: str, values: dict[str, Any]) -> Plan:
    targets = tuple(Target(**target) for target in values["targets"])
    return KINDS[kind][0](**{**values, "targets": targets})


def make_shard(reactor: Any, kind: str, plan: Plan, number: int, tell: Tell) -> Shard:
    return KINDS[kind][1](reactor, plan, number, tell)


class ShardProcess:
    """A shard in a child process; tells the same, and "died" {"why": …} if it ends early."""

    def __init__(self, reactor: Any, kind: str, plan: Plan, number: int, tell: Tell) -> None:
        self._tell = tell
        self._first = {"number": number, "kind": kind, "plan": plan_as_json(plan)}
        self._last: dict[str, Any] | None = None
        self._child = Child(reactor, "workers.processes.shard_process", self._heard, self._ended)

    def start(self) -> None:
        self._child.start()
        self._child.say(self._first)

    def do(self, what: str, **values: Any) -> None:
        self._child.say({"do": what, "values": values})

    def close(self) -> None:
        self.do("close")

    def _heard(self, said: Said) -> None:
        if said["tell"] == "ended":
            self._last = said["values"]
        else:
            self._tell(said["tell"], said["values"])

    def _ended(self, why: str) -> None:
        # Only now, so that no process of the swarm outlives the run.
        if self._last is not None:
            self._tell("ended", self._last)
        else:
            self._tell("died", {"why": why})


class _Child:
    """The child's side."""

    def __init__(self) -> None:
        self._clients: Shard | None = None

    def heard(self, reactor: Any, parent: Parent, said: Said) -> None:
        if "plan" in said:

            def tell(event: str, values: dict[str, Any]) -> None:
                parent.say({"tell": event, "values": values})
                if event == "ended":
                    parent.hang_up()

            kind = said["kind"]
            plan = plan_from_json(kind, said["plan"])
            self._clients = make_shard(reactor, kind, plan, said["number"], tell)
            self._clients.start()
        elif self._clients is not None:
            if said["do"] == "close":
                self._clients.close()
            else:
                self._clients.do(said["do"], **said["values"])


def main() -> None:
    """A child's whole life; pipes.py calls it."""
    run_child(_Child().heard)
