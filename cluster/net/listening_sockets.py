"""Listening sockets that processes share, and the limit of file descriptors.

Addresses have the form of Twisted's server endpoints::

    tcp:8000                               every IPv4 interface
    tcp:8000:interface=127.0.0.1
    tcp:port=8000:interface=\\:\\:1          IPv6; colons inside a value are escaped
    ssl:8443:privateKey=key.pem:certKey=cert.pem

Several sockets can listen on one address if all have SO_REUSEPORT (socket(7)); the kernel then
spreads new connections over them. It would also spread them over two clusters of the same user. So
the first socket of an address binds *without* the option, which fails if another program listens
there, and is given the option afterwards. At no moment can two clusters both succeed.
"""

import errno
import ipaddress
import os
import resource
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.core.exceptions import ConfigurationError

BACKLOG = 4096
"""Connections that the kernel queues for a socket while its node is busy or being replaced. The
kernel limits it to net.core.somaxconn, whose default is the same."""

RESERVED_DESCRIPTORS = 100
"""Descriptors of a node for other purposes than client connections: listening sockets, log, bus,
epoll, and one database connection and one file for each thread of the WSGI pool."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on. Make one with ``parse_address``."""

    text: str
    scheme: str
    host: str
    port: int
    parameters: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def family(self) -> int:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def at_port(self, port: int) -> "Address":
        """The same address with the port that the kernel chose for port 0."""
        return Address(self.text, self.scheme, self.host, port, self.parameters)

    @property
    def host_port(self) -> str:
        """For messages: "127.0.0.1:8000", "[::1]:8000"."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL for a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        scheme = "https" if self.scheme == "ssl" else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"


def parse_address(text: str, default_host: str = "0.0.0.0") -> Address:
    """Parse the description of a server endpoint.

    Args:
        text: The description, "tcp:8000" for example.
        default_host: The interface if the description names none.

    Raises:
        ConfigurationError: It is not valid; the text says why.
    """
    words = _split(text)
    scheme = words[0][1]
    if scheme not in ("tcp", "ssl") or words[0][0] is not None:
        raise ConfigurationError(
            f"cannot listen on {text!r}: write tcp:PORT, tcp:PORT:interface=ADDRESS"
            " or ssl:PORT:privateKey=FILE:certKey=FILE"
        )
    positional = [value for name, value in words[1:] if name is None]
    named = {name: value for name, value in words[1:] if name is not None}
    if positional:
        named.setdefault("port", positional[0])
    known = {"port", "interface", "backlog"}
    if scheme == "ssl":
        known |= {"privateKey", "certKey", "extraCertChain", "sslmethod", "dhParameters"}
    unknown = sorted(named.keys() - known)
    if len(positional) > 1:
        raise ConfigurationError(
            f"cannot listen on {text!r}: too many colons (inside a value, as in an IPv6 address,"
            " write \\: instead)"
        )
    if unknown:
        raise ConfigurationError(f"cannot listen on {text!r}: unknown argument {unknown[0]!r}")
    host = named.get("interface", "") or default_host
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ConfigurationError(
            f"cannot listen on {text!r}: the interface must be an IP address, not {host!r}"
        ) from None
    return Address(text, scheme, host, _port(text, named.get("port", "")), named)


def _split(text: str) -> list[tuple[str | None, str]]:
    """The words between colons as (name, value). A backslash escapes the next character."""
    words: list[tuple[str | None, str]] = []
    name: str | None = None
    value = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            value += next(characters, "")
        elif character == ":":
            words.append((name, value))
            name, value = None, ""
        elif character == "=" and name is None:
            name, value = value, ""
        else:
            value += character
    words.append((name, value))
    return words


def _port(text: str, word: str) -> int:
    if not (word.isascii() and word.isdigit() and int(word) <= 65535):
        raise ConfigurationError(
            f"cannot listen on {text!r}: the port must be a number from 0 to 65535, not {word!r}"
        )
    return int(word)


def claim(address: Address, backlog: int = BACKLOG) -> socket.socket:
    """Listen on an address that no other program uses; more sockets can then ``share`` it.

    Args:
        address: The address. Port 0 stands for a free one.
        backlog: Connections that the kernel queues.

    Raises:
        ConfigurationError: It is not possible; the text has the address and the reason.
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
    """Listen on an address that this cluster has claimed, with one more socket.

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
    """Bind a socket to an address that this cluster had before; a new process will listen on it.

    Args:
        address: The address, with its real port.
        shared: Whether other sockets of this cluster are bound to it.
    """
    sock = _bound(address, shared)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock


def open_slots(
    addresses: Sequence[Address], slots: int
) -> tuple[list[Address], list[list[socket.socket]]]:
    """Open one listening socket for each slot and address.

    Args:
        addresses: The addresses. Port 0 stands for a free one.
        slots: How many nodes there are.

    Returns:
        The addresses with their real ports, and for each slot its sockets in the order of the
        addresses.

    Raises:
        ConfigurationError: One of them is not possible. All sockets are closed then.
    """
    real: list[Address] = []
    sockets: list[list[socket.socket]] = [[] for _ in range(slots)]
    try:
        for wanted in addresses:
            first = claim(wanted)
            sockets[0].append(first)
            address = wanted.at_port(first.getsockname()[1])
            real.append(address)
            for slot in sockets[1:]:
                slot.append(share(address))
    except ConfigurationError:
        for slot in sockets:
            for sock in slot:
                sock.close()
        raise
    return real, sockets


def probe(address: Address) -> None:
    """Raise ConfigurationError if the address cannot be claimed now. Port 0 always can."""
    if address.port != 0:
        # Without a queue: a client that connects at this moment is reset.
        claim(address, backlog=0).close()


def _bound(address: Address, shared: bool) -> socket.socket:
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:
        raise _refusal(address, error) from None
    try:
        sock.setblocking(False)
        # Without it, an earlier cluster's connections in TIME_WAIT hold the port for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.family == socket.AF_INET6:
            # So that tcp:8000 and tcp:8000:interface=\:\: are possible at the same time.
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
    """How many client connections ``nodes`` processes can hold with ``limit`` descriptors each."""
    return nodes * max(0, limit - RESERVED_DESCRIPTORS)


def unix_path_fits(path: str) -> bool:
    """Whether a Unix socket can have this path: the kernel allows 107 bytes (unix(7))."""
    return len(os.fsencode(path)) <= 107
