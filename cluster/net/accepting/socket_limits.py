"""How many sockets a node may hold: in all, of one client, and for its file descriptors.

HTTP, WebSocket and feeds count together, from the accept to the end of the socket, whatever the
client has sent. The rules:

* the kernel gives each new socket the lowest free descriptor, so the number of a new socket shows
  how many descriptors are open. A socket whose number is above ``highest`` is refused. The numbers
  above it stay free for everything else: log, database, files, external publishers;
* connections from this machine and from trusted proxies do not count as one client. A proxy's
  clients are counted by ``enter`` and ``leave``, with the address that the proxy reports.
"""

import errno
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from cluster.net.listening_sockets import RESERVED_DESCRIPTORS

CONNECTIONS = "connections"
DESCRIPTORS = "descriptors"
CLIENT = "client"

NEARLY = 0.95
"""The part of the permitted descriptor numbers beyond which the node reports that it is nearly
full, so that a load balancer sends new clients elsewhere before any is refused."""

_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv4-mapped IPv6 address begins (RFC 4291, section 2.5.5.2)."""


class SocketLimits:
    """The sockets of a node.

    Args:
        total: The maximum of sockets; None: as many as there are descriptors.
        per_client: The maximum of sockets of one client; None: no limit.
        trusts: Whether an address is that of a trusted proxy.

    ``refused`` counts refusals by reason: "connections", "descriptors" or "client".
    """

    def __init__(
        self,
        total: int | None = None,
        per_client: int | None = None,
        trusts: Callable[[str], bool] = lambda host: False,
    ) -> None:
        self.open = 0
        self.refused: Counter[str] = Counter()
        self.highest = 1 << 30
        self.per_client = per_client
        self._total = total
        self._trusts = trusts
        self._clients: Counter[str] = Counter()

    def reserve(self) -> None:
        """Keep RESERVED_DESCRIPTORS free from now on. Call it before the first connection."""
        lowest_free = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest_free)
        # The descriptors that are open now are part of the reserve, but not all of it.
        used = min(lowest_free, RESERVED_DESCRIPTORS // 2)
        self.highest = max(lowest_free, descriptor_limit() - RESERVED_DESCRIPTORS + used)

    def fits(self, descriptor: int) -> bool:
        """Whether a new descriptor leaves the reserve untouched."""
        return descriptor <= self.highest

    def admit(self, host: str, descriptor: int) -> str | None:
        """Count a new socket, or return the reason to refuse it.

        Call ``left`` at the end of a socket that was admitted.

        Args:
            host: The peer's address; empty for a Unix socket.
            descriptor: The descriptor of the socket.
        """
        if not self.fits(descriptor):
            return self._refuse(DESCRIPTORS)
        if self._total is not None and self.open >= self._total:
            return self._refuse(CONNECTIONS)
        if not self.is_exempt(host) and not self.enter(network_of(host)):
            return CLIENT
        self.open += 1
        return None

    def left(self, host: str) -> None:
        """A socket that was admitted is closed."""
        self.open -= 1
        if not self.is_exempt(host):
            self.leave(network_of(host))

    def enter(self, client: str) -> bool:
        """Count a request or a connection of a client; False if it has too many.

        Args:
            client: What ``network_of`` returns for its address.
        """
        if self.per_client is not None and not is_loopback(client):
            if self._clients[client] >= self.per_client:
                self.refused[CLIENT] += 1
                return False
            self._clients[client] += 1
        return True

    def leave(self, client: str) -> None:
        """The request or connection of ``enter`` has ended."""
        if self.per_client is None or is_loopback(client):
            return
        self._clients[client] -= 1
        if self._clients[client] <= 0:
            del self._clients[client]

    def refuse_without_descriptor(self) -> None:
        """Count a connection for which the kernel had no descriptor."""
        self.refused[DESCRIPTORS] += 1

    def _refuse(self, reason: str) -> str:
        self.refused[reason] += 1
        return reason

    def is_exempt(self, host: str) -> bool:
        """Whether connections from an address do not count as one client."""
        return is_loopback(host) or self._trusts(host)

    def shortage(self) -> str | None:
        """Why a load balancer should send new clients elsewhere, as a phrase; None if there is
        room."""
        if self._total is not None and self.open >= self._total:
            return f"has reached its maximum of connections ({self._total})"
        used = open_descriptors()
        if used > self.highest * NEARLY:
            return f"is short of file descriptors ({used} of {descriptor_limit()} are open)"
        return None


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own; a Unix socket has the address ""."""
    return host.startswith("127.") or host in ("", "::1", "::ffff:127.0.0.1")


@lru_cache(maxsize=1024)
def network_of(client: str) -> str:
    """The network that an address counts for.

    That is the address itself, but the /64 network of an IPv6 address: a customer may use every
    address of at least that much (RFC 6177). An IPv4-mapped IPv6 address counts as IPv4. The
    loopback address stays as it is.
    """
    if ":" not in client or client == "::1":
        return client
    try:
        address = socket.inet_pton(socket.AF_INET6, client.partition("%")[0])
    except OSError:
        return client
    if address.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, address[len(_MAPPED) :])
    return f"{socket.inet_ntop(socket.AF_INET6, address[:8] + bytes(8))}/64"


def descriptor_limit() -> int:
    """How many descriptors this process may open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def open_descriptors() -> int:
    """How many descriptors are open in this process.

    Linux 6.2 and newer give the number as the size of the folder. Older kernels have to list it,
    which takes a millisecond for some thousands of them.
    """
    folder = "/proc/self/fd"
    try:
        return os.stat(folder).st_size or len(os.listdir(folder)) - 1
    except OSError as error:  # no descriptor is left to list the folder, or there is no /proc
        return descriptor_limit() if error.errno in (errno.EMFILE, errno.ENFILE) else 0
