"""Listening sockets that processes share, and the limit of file descriptors.

Several sockets can listen on one address if all have SO_REUSEPORT (socket(7)); the kernel then
distributes new connections among them. It would also distribute them among two clusters of the same
user. So ``claim`` binds the first socket of an address *without* the option, which fails if another
program listens there, and sets the option afterwards. Two clusters can never both succeed. All
sockets of a ``unix:`` address are duplicates of one (unix_listener.py).
"""

import errno
import resource
import socket
from collections.abc import Sequence
from contextlib import suppress

from cluster.core.exceptions import ConfigurationError
from cluster.net.addresses import Address
from cluster.net.unix_listener import UnixListener

BACKLOG = 4096
"""Connections that the kernel queues for a socket while its node is busy or being replaced. The
kernel limits the number to net.core.somaxconn, which has the same default."""

RESERVED_DESCRIPTORS = 100
"""File descriptors that a node needs besides client connections: listening sockets, log, bus,
epoll, and one database connection and one file for each thread of the WSGI pool."""


def claim(address: Address, backlog: int = BACKLOG) -> socket.socket:
    """Listen on an address that no other program uses; then ``share`` can add more sockets.

    Args:
        address: The address. With port 0 the kernel chooses a free port.
        backlog: Connections that the kernel queues.

    Raises:
        ConfigurationError: The address cannot be used; the text has the address and the reason.
    """
    sock = _bound(address, shared=False)
    try:
        sock.listen(backlog)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        sock.close()
        raise _refusal(address, error) from None
    return sock


def share(address: Address, backlog: int = BACKLOG) -> socket.socket:
    """Listen with one more socket on an address that this cluster has claimed.

    Raises ConfigurationError like ``claim``.
    """
    sock = _bound(address, shared=True)
    try:
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise _refusal(address, error) from None
    return sock


def reserve(address: Address, shared: bool) -> socket.socket:
    """Bind a socket to an address that this cluster used before; a new process will listen on it.

    Args:
        address: The address, with its real port.
        shared: Whether other sockets of this cluster are bound to it.
    """
    sock = _bound(address, shared)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock


def needs_privileges(address: Address) -> bool:
    """Whether a process that has given up root privileges could not bind to the address again."""
    return not address.is_unix and address.port < _first_unprivileged_port()


def silence(sock: socket.socket) -> None:
    """Stop listening, but keep the address; the connections in the queue are reset.

    A later ``listen`` accepts connections again, also in a process that has a duplicate.
    """
    with suppress(OSError):  # it does not listen
        sock.shutdown(socket.SHUT_RD)


def open_slots(
    addresses: Sequence[Address], slots: int, unix: dict[str, UnixListener]
) -> tuple[list[Address], list[list[socket.socket]]]:
    """Open one listening socket for each slot and address.

    Args:
        addresses: The addresses. With port 0 the kernel chooses a free port.
        slots: The number of nodes.
        unix: Receives the owner of each Unix socket, by its path. The caller releases them.

    Returns:
        The addresses with their real ports, and for each slot its sockets in the order of the
        addresses.

    Raises:
        ConfigurationError: One of the addresses cannot be used. All sockets have been closed.
    """
    real: list[Address] = []
    sockets: list[list[socket.socket]] = [[] for _ in range(slots)]
    try:
        for wanted in addresses:
            if wanted.is_unix:
                unix[wanted.host] = owner = UnixListener.claim(wanted, BACKLOG)
                real.append(wanted)
                for slot in sockets:
                    slot.append(owner.duplicate())
                continue
            first = claim(wanted)
            address = wanted.at_port(first.getsockname()[1])
            real.append(address)
            # A socket that was bound without the option cannot share the port again after
            # ``silence``.
            if needs_privileges(address):
                sockets[0].append(share(address))
                first.close()
            else:
                sockets[0].append(first)
            for slot in sockets[1:]:
                slot.append(share(address))
    except ConfigurationError:
        for slot in sockets:
            for sock in slot:
                sock.close()
        release_all(unix)
        raise
    return real, sockets


def release_all(unix: dict[str, UnixListener]) -> None:
    """Remove the files of Unix sockets, and release their locks."""
    while unix:
        unix.popitem()[1].release()


def probe(address: Address) -> None:
    """Raise ConfigurationError if the address cannot be claimed now. Port 0 never fails."""
    if address.is_unix:
        UnixListener.claim(address, backlog=0).release()
    elif address.port != 0:
        # With a backlog of 0 the kernel does not queue a client that connects at this moment.
        claim(address, backlog=0).close()


def _bound(address: Address, shared: bool) -> socket.socket:
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:
        raise _refusal(address, error) from None
    try:
        sock.setblocking(False)
        # Without SO_REUSEADDR, an earlier cluster's connections in TIME_WAIT hold the port for a
        # minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.family == socket.AF_INET6:
            # Allow tcp:8000 and tcp:8000:interface=\:\: at the same time.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        raise _refusal(address, error) from None
    return sock


def _refusal(address: Address, error: OSError) -> ConfigurationError:
    reasons = {
        errno.EADDRINUSE: "another program, or another cluster, uses this address",
        errno.EACCES: f"ports below {_first_unprivileged_port()} require root privileges",
        errno.EADDRNOTAVAIL: "this machine does not have this address",
        errno.EAFNOSUPPORT: "this machine has no IPv6",
        errno.EMFILE: "no file descriptors left (see ulimit -n)",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return ConfigurationError(f"cannot listen on {address.host_port}: {reason}")


def _first_unprivileged_port() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close this process's descriptors. Processes that inherited the sockets keep theirs."""
    for sock in sockets:
        sock.close()


def raise_descriptor_limit() -> int:
    """Raise this process's limit of open files to the hard limit, and return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # an unlimited hard limit is more than some kernels allow: keep the limit
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    return soft


def connection_capacity(nodes: int, limit: int) -> int:
    """The client connections that ``nodes`` processes can hold with ``limit`` descriptors each."""
    return nodes * max(0, limit - RESERVED_DESCRIPTORS)
