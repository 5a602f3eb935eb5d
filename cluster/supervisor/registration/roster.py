"""The names of a cluster's children, and the slots of its nodes."""

from collections.abc import Sequence

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.control_connection.commands import BROKER_SLOT, RegistrationRefused

BROKER = "broker"


class Roster:
    """The children of a cluster.

    Args:
        nodes: The number of nodes.
        own_broker: Whether the cluster has a broker of its own.
    """

    def __init__(self, nodes: int, own_broker: bool) -> None:
        self.nodes = [f"node{number}" for number in range(nodes)]
        """The names of the nodes; the index is the slot."""
        self.broker = BROKER if own_broker else ""
        """The name of the broker; empty if the cluster has none of its own."""

    @property
    def names(self) -> list[str]:
        """The names of all children, in the order of their start."""
        return [self.broker, *self.nodes] if self.broker else list(self.nodes)

    def name_of(self, slot: int | None) -> str:
        """The name of the child in a slot. Raises RegistrationRefused if there is none."""
        if slot == BROKER_SLOT and self.broker:
            return self.broker
        if slot is not None and 0 <= slot < len(self.nodes):
            return self.nodes[slot]
        raise RegistrationRefused(f"there is no slot {slot}")

    def slot_of(self, node: str) -> int:
        """The slot of a node."""
        return self.nodes.index(node)

    def count(self) -> str:
        """The number of nodes, as a phrase."""
        return count_nodes(len(self.nodes))


def count_nodes(number: int) -> str:
    """A number of nodes, as a phrase."""
    return "1 node" if number == 1 else f"{number} nodes"


def check_node(node: str, nodes: Sequence[str]) -> None:
    """Raise OperationFailed, whose text is for the operator, if ``node`` is none of ``nodes``."""
    if node not in nodes:
        raise OperationFailed(f"there is no node {node!r}; this cluster has {', '.join(nodes)}")
