"""Parses the addresses to listen on from options and settings.

The syntax is that of Twisted's server endpoints::

    tcp:8000                               every IPv4 interface
    tcp:8000:interface=127.0.0.1
    tcp:port=8000:interface=\\:\\:1          IPv6; colons inside a value are escaped
    ssl:8443:privateKey=key.pem:certKey=cert.pem
    unix:/run/site/http.sock:mode=660      for a proxy on this machine
"""

import ipaddress
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.core.exceptions import ConfigurationError

DEFAULT_MODE = 0o660
"""The mode of the file of a Unix socket: the cluster's user and group may connect."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on. Make one with ``parse_address``.

    ``host`` is the path of a Unix socket, and its ``port`` is 0.
    """

    text: str
    scheme: str
    host: str
    port: int
    parameters: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def is_unix(self) -> bool:
        """Whether this is the path of a Unix socket."""
        return self.scheme == "unix"

    @property
    def mode(self) -> int:
        """The mode of the file of a Unix socket."""
        return int(self.parameters["mode"], 8) if "mode" in self.parameters else DEFAULT_MODE

    @property
    def family(self) -> int:
        if self.is_unix:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def at_port(self, port: int) -> "Address":
        """Return this address with another port: the one that the kernel chose for port 0."""
        return Address(self.text, self.scheme, self.host, port, self.parameters)

    @property
    def host_port(self) -> str:
        """Host and port for messages, such as "127.0.0.1:8000" or "[::1]:8000"; for a Unix socket
        "unix:/PATH"."""
        if self.is_unix:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL for a browser on this machine; for a Unix socket "unix:/PATH"."""
        if self.is_unix:
            return self.host_port
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
    if scheme not in ("tcp", "ssl", "unix") or words[0][0] is not None:
        raise ConfigurationError(
            f"cannot listen on {text!r}: write tcp:PORT, tcp:PORT:interface=ADDRESS,"
            " ssl:PORT:privateKey=FILE:certKey=FILE or unix:/PATH"
        )
    positional = [value for name, value in words[1:] if name is None]
    named = {name: value for name, value in words[1:] if name is not None}
    if scheme == "unix":
        return _unix(text, positional, named)
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


def first_port(addresses: Sequence[Address]) -> int:
    """The first port among addresses; 0 if all are Unix sockets."""
    return next((address.port for address in addresses if not address.is_unix), 0)


def _unix(text: str, positional: Sequence[str], named: Mapping[str, str]) -> Address:
    path = positional[0] if positional else ""
    mode = named.get("mode", "660")
    unknown = sorted(named.keys() - {"mode"})
    if len(positional) > 1 or unknown:
        problem = f"unknown argument {unknown[0] if unknown else positional[1]!r}"
    elif not path.startswith("/"):
        problem = "the path must begin with /, as in unix:/run/site/http.sock"
    elif not unix_path_fits(path):
        problem = "a Unix socket's path has at most 107 bytes"
    elif re.fullmatch("0?[0-7]{3}", mode) is None:
        problem = f"the mode must be three octal digits, as in mode=660, not {mode!r}"
    else:
        return Address(text, "unix", path, 0, named)
    raise ConfigurationError(f"cannot listen on {text!r}: {problem}")


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
