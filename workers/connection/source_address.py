"""The local addresses of the swarm's connections.

One local address has one port for each connection to the same server, some 28,000 by Linux's
default. To a server on loopback the swarm also connects from 127.0.0.2, 127.0.0.3 and so on,
because every 127.x.y.z belongs to this machine. For other servers the user can give several server
addresses.
"""

import ipaddress
from pathlib import Path

_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SPARED = 0.2  # of the ports: for other programs, and for connections that have just ended


def port_range() -> tuple[int, int]:
    """Return the first and the last port of outgoing connections."""
    try:
        first, last = map(int, _PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        return 49152, 65535  # IANA's range, which systems other than Linux use
    return first, last


def ports_per_address() -> int:
    """Return how many connections to one server the swarm makes from one address."""
    first, last = port_range()
    return max(1, int((last - first + 1) * (1 - _SPARED)))


def source_address(number: int, server: str, ports: int) -> str | None:
    """Return the local address for connection `number` (from 0) to one server.

    server: the server's IP address. ports: the maximum number of connections from one address.
    Returns None if the system may choose: for the first `ports` connections, and for all
    connections to a server that is not on an IPv4 loopback address.
    """
    further = number // ports
    address = ipaddress.ip_address(server)
    if not further or address.version != 4 or not address.is_loopback:
        return None
    return str(ipaddress.IPv4Address("127.0.0.1") + further)
