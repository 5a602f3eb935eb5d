"""The proxies in front of the cluster, and what they report of a client (--proxy-headers).

X-Forwarded-For and X-Forwarded-Proto count only if the connection comes from one of the proxies.
They are read from the bytes of a handshake: Autobahn's parser takes other control characters for
line ends too, so that a client could add a header that the proxy has not seen.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from twisted.internet.abstract import isIPAddress, isIPv6Address

from cluster.core.exceptions import ConfigurationError

UNIX = "unix:"
"""Stands for every program that connects through a Unix socket of --listen."""

MAX_REMEMBERED = 10_000
"""Addresses whose answer is remembered; parsing one takes some microseconds."""


class Proxies:
    """The proxies whose headers count.

    Args:
        names: Addresses, networks such as "10.0.0.0/8", and "unix:".

    Raises:
        ConfigurationError: One of them is none of these; the text says which one.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._known: dict[str, bool] = {"": UNIX in names}
        for name in names:
            if name == UNIX:
                continue
            try:
                self._networks.append(ip_network(name))
            except ValueError as error:
                raise ConfigurationError(
                    f"{name!r} is not the address of a proxy: write an IP address, a network such"
                    f" as 10.0.0.0/8, or unix: ({error})"
                ) from None
        self._trusts_any = bool(names)

    def __bool__(self) -> bool:
        """Whether there is any proxy."""
        return self._trusts_any

    def trusts(self, host: str) -> bool:
        """Whether the peer with this address is one of the proxies.

        Args:
            host: The address of the connection; empty for a Unix socket.
        """
        if not self._trusts_any:
            return False
        known = self._known.get(host)
        if known is None:
            known = self._is_listed(host)
            if len(self._known) < MAX_REMEMBERED:
                self._known[host] = known
        return known

    def _is_listed(self, host: str) -> bool:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


def split_names(text: str) -> list[str]:
    """The addresses in the value of --proxy-headers, which commas separate."""
    return [name for word in text.split(",") if (name := word.strip())]


def last_address(value: bytes) -> str | None:
    """The client's address in X-Forwarded-For: the last one, which the proxy itself saw; None if
    it is invalid."""
    last = value.rpartition(b",")[2].strip().decode("latin-1")
    return last if isIPAddress(last) or isIPv6Address(last) else None


def is_https(value: bytes) -> bool:
    """Whether X-Forwarded-Proto says that the client uses TLS."""
    return value.strip().lower() == b"https"


def forwarded(header: bytes) -> tuple[str | None, bool]:
    """Read X-Forwarded-For and X-Forwarded-Proto of a handshake that came from a proxy.

    Args:
        header: The request's header, from the request line on.

    Returns:
        The client's address, or None without a valid one, and whether it came over TLS. Of several
        addresses the last counts: it is the one that the proxy itself saw.
    """
    client, secure = None, False
    for line in header.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        match name.lower():
            case b"x-forwarded-for":
                client = last_address(value)
            case b"x-forwarded-proto":
                secure = is_https(value)
    return client, secure
