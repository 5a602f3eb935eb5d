"""The addresses that the swarm's connections come from.

One client address has one port for each connection to the same server, some 28,000 by Linux's
default. Towards a server on loopback the swarm goes on with 127.0.0.2 and so on, because every
127.x.y.z belongs to this machine. Towards other servers there is nothing to be done here.
"""

import ipaddress
from pathlib import Path

_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SPARED = 0.2  # of the ports are left for others, and for connections that have just ended


def port_range() -> tuple[int, int]:
    """The first and the last port that outgoing connections get."""
    try:
        first, last = map(int, _PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        return 49152, 65535  # IANA's range, what other systems use
    return first, last


def ports_per_address() -> int:
    """How many connections to one server the swarm makes from one address."""
    first, last = port_range()
    return max(1, int((last - first + 1) * (1 - _SPARED)))


def source_address(number: int, server: str, ports: int) -> str | None:
    """Where the swarm's connection `number` (from 0) to `server` (an IP address) comes from.

    None: wherever the system likes. That is the first `ports` connections, and all to a server
    that is not on an IPv4 loopback address.
    """
    further = number // ports
    address = ipaddress.ip_address(server)
    if not further or address.version != 4 or not address.is_loopback:
        return None
    return str(ipaddress.IPv4Address("127.0.0.1") + further)
