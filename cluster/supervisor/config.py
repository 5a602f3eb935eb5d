"""The configuration of a cluster, which the command line sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.net.addresses import Address
from cluster.supervisor.child_processes import child_command


@dataclass(frozen=True, slots=True)
class SupervisorConfig:
    """The configuration of a cluster.

    Attributes:
        nodes: The number of nodes.
        listens: The addresses that each node serves.
        admin: The address of the admin port.
        bus: "local", the endpoint of an external broker, or None for the cluster's own broker.
        node: The fields of a NodeConfig, without name and bus.
        drain_timeout: Seconds that nodes have to drain when the cluster stops.
        command: The command line that starts a child, without the child's arguments.
    """

    nodes: int
    listens: Sequence[Address]
    admin: Address
    bus: str | None
    node: dict[str, Any]
    drain_timeout: float
    command: Sequence[str] = field(default_factory=child_command)
