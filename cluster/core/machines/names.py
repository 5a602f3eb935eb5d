"""Names of nodes and members, and the schemes in the URLs of engines.

::

    node0.12      a node of a cluster on one machine: its slot or task, ".", its process
    node0.12@A    a node of machine A
    A~0f3c29b1    a member: one life of the gateway of machine A

The name of a machine consists of letters, digits, ".", "_" and "-", so it may contain dots.
"""

import re

MACHINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
"""What the whole name of a machine matches. The longest label of a host name has 63 characters."""

SUPPORTED_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "unix")

SCHEMES = (*SUPPORTED_SCHEMES, "nats")
"""Those of engines. ``uplink.url.parse_bus_url`` says why one of them is not supported."""


def is_machine_name(name: str) -> bool:
    """Whether a machine can have this name."""
    return MACHINE.fullmatch(name) is not None


def machine_of(node: str) -> str:
    """The machine in the name of a node; empty if there is none."""
    return node.partition("@")[2]


def place_of(node: str) -> tuple[str, str] | None:
    """The (slot or task, machine) of a node's process, which one process has at a time.

    None if the name of the node does not say it.
    """
    process, _, machine = node.partition("@")
    place, dot, _ = process.rpartition(".")
    return (place, machine) if dot else None


def member_of(machine: str, incarnation: str) -> str:
    """The member that a gateway of a machine becomes; ``incarnation`` are 8 hexadecimal digits."""
    return f"{machine}~{incarnation}"


def machine_of_member(member: str) -> str:
    """The machine of a member."""
    return member.rpartition("~")[0]
