"""Parses the addresses to listen on from options and settings.

The syntax is that of Twisted's server endpoints::

    tcp:8000                               every IPv4 interface
    tcp:8000:interface=127.0.0.1
    tcp:port=8000:interface=\\:\\:1          IPv6; colons inside a value are escaped
    ssl:8443:privateKey=key.pem:certKey=cert.pem
"""

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.core.exceptions import ConfigurationError


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
        """Return this address with another port: the one that the kernel chose for port 0."""
        return Address(self.text, self.scheme, self.host, port, self.parameters)

    @property
    def host_port(self) -> str:
        """Host and port for messages, such as "127.0.0.1:8000" or "[::1]:8000"."""
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
        text: The description, for example "tcp:8000".
        default_host: The interface, if the description does not have one.

    Raises:
        ConfigurationError: The description is invalid; the text says why.
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
        known |= {"privateKey", "certKey", "extraCertChain"}
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
    """The arguments, separated by colons, as (name, value). A backslash escapes a character."""
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


def unix_path_fits(path: str) -> bool:
    """Whether a Unix socket can have this path: the kernel allows 107 bytes (unix(7))."""
    return len(os.fsencode(path)) <= 107
