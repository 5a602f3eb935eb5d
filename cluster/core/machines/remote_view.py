"""What the nodes of this machine receive about the nodes of other machines.

They receive the same about them as about each other: Joined, Left, NodeSubscriptions,
PresenceUpdate, Congested and Cleared.
"""

from collections.abc import Callable, Iterator
from typing import Any

from cluster.core import wire
from cluster.core.broker_state.exchange import Outgoing
from cluster.core.machines.names import machine_of
from cluster.core.machines.replica import Replica


class RemoteView:
    """``is_congested`` says whether the queue of a machine is full; ``nodes`` returns those of this
    machine."""

    def __init__(
        self,
        machine: str,
        replica: Replica,
        is_congested: Callable[[str], bool],
        nodes: Callable[[], tuple[str, ...]],
    ) -> None:
        self._machine = machine
        self._replica = replica
        self._is_congested = is_congested
        self._nodes = nodes

    def __iter__(self) -> Iterator[str]:
        """Over the nodes of other machines in the state that this machine has or had last."""
        for node in self._replica.state.exchange.nodes:
            if machine_of(node) != self._machine:
                yield node

    def for_welcome(self) -> dict[str, list[wire.Message]]:
        """The nodes of other machines, each with what follows Welcome."""
        return {node: self._state_of(node) for node in self} if self._replica.members else {}

    def about(self, message: Any) -> Outgoing:
        """All nodes of this machine receive a message about a node, if that is of another one."""
        machine = machine_of(message.node)
        if machine == self._machine:
            return []  # they have received it before it was in the log
        messages = [message]
        if isinstance(message, wire.Joined) and self._is_congested(machine):
            messages.append(wire.Congested(message.node))
        return [(node, each) for each in messages for node in self._nodes()]

    def congestion(self, machine: str, is_congested: bool) -> Outgoing:
        """The queue of a machine is full, or has room again."""
        kind = wire.Congested if is_congested else wire.Cleared
        outgoing: Outgoing = []
        for node in self:
            if machine_of(node) == machine:
                outgoing += self.about(kind(node))
        return outgoing

    def returned(self, origin: str, destination: str) -> Outgoing:
        """For a node of this machine another one returns, so that it sends its batches again."""
        if origin not in self._nodes() or destination not in self._replica.state.exchange:
            return []
        messages: list[wire.Message] = [wire.Left(destination), wire.Joined(destination)]
        return [(origin, each) for each in (*messages, *self._state_of(destination))]

    def left(self) -> Outgoing:
        """All nodes of other machines are out of reach."""
        return [each for node in self for each in self.about(wire.Left(node))]

    def _state_of(self, node: str) -> list[wire.Message]:
        state = self._replica.state.exchange.state_of(node)
        return [*state, wire.Congested(node)] if self._is_congested(machine_of(node)) else state
