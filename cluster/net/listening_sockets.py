"""Listening sockets shared by processes, and how many connections the descriptor limit allows.

An address is written as Twisted writes its server endpoints::

    tcp:8000                               every IPv4 interface
    tcp:8000:interface=127.0.0.1
    tcp:port=8000:interface=\\:\\:1          IPv6; colons inside a value are escaped
    ssl:8443:privateKey=key.pem:certKey=cert.pem

Several sockets may listen on one address when all have SO_REUSEPORT; the kernel then spreads new
connections over them. It would as readily spread them over two clusters of the same user, so the
first socket of an address binds *without* the option, which fails if anybody else listens there,
and gets it only afterwards. There is no moment in which two clusters could both succeed.
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
"""Connections the kernel queues per socket while its node is busy or being replaced; the kernel
cuts it to net.core.somaxconn, whose default is the same."""

RESERVED_DESCRIPTORS = 100
"""Descriptors of a node that are no client connections: listening sockets, log, link, epoll, and
one database connection and one file for each thread of the WSGI pool."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Make one with ``parse_address``."""

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
    def place(self) -> str:
        """Host and port as people write them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """What to type into a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        scheme = "https" if self.scheme == "ssl" else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"


def parse_address(text: str, default_host: str = "0.0.0.0") -> Address:
    """Read a server endpoint string; ConfigurationError says what is wrong with it."""
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
        raise ConfigurationError(f"cannot listen on {text!r}: {unknown[0]!r} means nothing here")
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
    """Words between colons as (name, value); a backslash takes the next character as it is."""
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
    """Listen on an address on which nobody else does; the socket can then be shared (``share``).

    Port 0 takes a free one. Raises ConfigurationError naming the address and the reason.
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
    """Listen on an address that this cluster has claimed already, beside the others."""
    sock = _bound(address, shared=True)
    try:
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise _refusal(address, error) from None
    return sock


def reserve(address: Address, shared: bool) -> socket.socket:
    """Take an address that this cluster has had before, for a process that will listen on it.

    ``shared``: others of this cluster have it.
    """
    sock = _bound(address, shared)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock


def open_slots(
    addresses: Sequence[Address], slots: int
) -> tuple[list[Address], list[list[socket.socket]]]:
    """One listening socket per slot and address.

    Returns the addresses with their real ports, and for each slot its sockets in the order of the
    addresses. Raises ConfigurationError, with everything closed again, if one cannot be had.
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
    """Raise ConfigurationError if ``address`` could not be claimed right now. Port 0 always can."""
    if address.port != 0:
        # A short queue, and no accept: whoever connects in this instant is reset.
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
            # So that tcp:8000 and tcp:8000:interface=\:\: can be had together.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        raise _refusal(address, error) from None
    return sock


def _refusal(address: Address, error: OSError) -> ConfigurationError:
    reasons = {
        errno.EADDRINUSE: "another program (or another cluster) listens there",
        errno.EACCES: f"ports below {_first_unprivileged_port()} need root's rights",
        errno.EADDRNOTAVAIL: "this machine has no such address",
        errno.EAFNOSUPPORT: "this machine has no IPv6",
        errno.EMFILE: "no file descriptors left (see ulimit -n)",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return ConfigurationError(f"cannot listen on {address.place}: {reason}")


def _first_unprivileged_port() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close this process's copies; a process that was given the sockets keeps its own."""
    for sock in sockets:
        sock.close()


def raise_descriptor_limit() -> int:
    """Raise this process's limit of open files to its hard limit; the limit then in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            # An unlimited hard limit is more than some kernels grant; what we have must do.
            pass
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    return soft


def connection_capacity(nodes: int, limit: int) -> int:
    """Client connections that ``nodes`` processes can hold with ``limit`` descriptors each."""
    return nodes * max(0, limit - RESERVED_DESCRIPTORS)


def unix_path_fits(path: str) -> bool:
    """Whether a Unix socket can have this path: the kernel has room for 107 bytes."""
    return len(os.fsencode(path)) <= 107
