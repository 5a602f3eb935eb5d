"""A shard in a child process. Parent and child exchange JSON objects, one per line.

> {"shard": "workers.load.echo_clients.EchoShard", "number": …, "plan": {…}}   once, first
> {"do": "drop", "values": {…}}      a command of the kind of clients, or "close"
< {"event": "tally", "values": {…}}  an event of the shard (see shard.py)
"""

from typing import Any

from twisted.python.reflect import namedAny, qual

from workers.processes.pipes import Child, Message, Parent, run_child
from workers.processes.plan import Plan
from workers.processes.shard import Emit, Shard


class ShardProcess:
    """A shard in a child process, with the methods of a shard.

    It emits the same events; if the process ends early, the last one is "died" {"why": text}.
    """

    def __init__(
        self, reactor: Any, shard_type: type[Shard], plan: Plan, number: int, emit: Emit
    ) -> None:
        self._emit = emit
        self._first = {"shard": qual(shard_type), "number": number, "plan": plan.as_json()}
        self._ended_values: dict[str, Any] | None = None
        self._child = Child(reactor, __name__, self._received, self._process_ended)

    def start(self) -> None:
        self._child.start()
        self._child.send(self._first)

    def do(self, command: str, **values: Any) -> None:
        self._child.send({"do": command, "values": values})

    def close(self) -> None:
        self.do("close")

    def _received(self, message: Message) -> None:
        if message["event"] == "ended":
            # Emit "ended" only when the process has ended, so that no process outlives the run.
            self._ended_values = message["values"]
        else:
            self._emit(message["event"], message["values"])

    def _process_ended(self, why: str) -> None:
        if self._ended_values is not None:
            self._emit("ended", self._ended_values)
        else:
            self._emit("died", {"why": why})


class _ShardOfChild:
    """The child's side: creates the shard that the parent names, and forwards commands to it."""

    def __init__(self) -> None:
        self._shard: Shard | None = None

    def received(self, reactor: Any, parent: Parent, message: Message) -> None:
        if "plan" in message:

            def emit(event: str, values: dict[str, Any]) -> None:
                parent.send({"event": event, "values": values})
                if event == "ended":
                    parent.disconnect()

            shard_type: type[Shard] = namedAny(message["shard"])
            plan = shard_type.plan_type.from_json(message["plan"])
            self._shard = shard_type(reactor, plan, message["number"], emit)
            self._shard.start()
        elif self._shard is not None:
            if message["do"] == "close":
                self._shard.close()
            else:
                self._shard.do(message["do"], **message["values"])


def main() -> None:
    """Run the child process; pipes.py calls it there."""
    run_child(_ShardOfChild().received)
