"""The configuration of a cluster, which the command line sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.net.addresses import Address
from cluster.supervisor.child_command import child_command

MAX_NODES = 256
"""The maximum number of nodes, more than any machine needs: nodes beyond the number of cores gain
nothing, and each is another Django process."""


@dataclass(frozen=True, slots=True)
class UplinkConfig:
    """How the broker reaches those of other machines.

    Attributes:
        url: The URL of the engine, which may contain a password: keep it out of logs.
        machine: The name of this machine.
        site: The name of the site, the same on all machines.
        fingerprint: Tells the site from another one of the same name.
        owner: Tells this cluster from another one with the same machine name.
    """

    url: str = field(repr=False)
    machine: str
    site: str
    fingerprint: str = field(repr=False)
    owner: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SupervisorConfig:
    """The configuration of a cluster.

    Attributes:
        nodes: The number of nodes.
        listens: The addresses that each node serves.
        admin: The address of the admin port.
        admin_hosts: Names by which it may be addressed, besides those of this machine.
        bus: "local", the endpoint of an external broker, or None for the cluster's own broker.
        uplink: How that broker reaches other machines; None for a site on one machine.
        node: The fields of a NodeConfig, without name and bus, and without those that each node
            reads from the settings when it starts.
        drain_timeout: Seconds that nodes have to drain when the cluster stops.
        restart_spread: Seconds over which a node that was replaced closes its clients.
        log_format: The form of log lines, a key of cluster.logs.formats.FORMATS.
        blocked_loop_timeout: Seconds after which a node whose event loop is blocked is replaced.
        site_folder: The folder of the site's code; empty if it is not known.
        spare: Whether a spare process waits until a node ends.
        version: The version of c10k, for the status page.
        command: The command line that starts a child, without the child's arguments.
    """

    nodes: int
    listens: Sequence[Address]
    admin: Address
    bus: str | None
    node: dict[str, Any]
    drain_timeout: float
    uplink: UplinkConfig | None = None
    restart_spread: float = 10.0
    log_format: str = "text"
    blocked_loop_timeout: float = 30.0
    site_folder: str = ""
    spare: bool = False
    version: str = ""
    admin_hosts: Sequence[str] = ()
    command: Sequence[str] = field(default_factory=child_command)
