"""Parses the servers' base URLs and looks up their addresses."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit


class BadURL(ValueError):
    """Not a base URL of a server; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server: its base URL without a slash at the end, its IP address and its port."""

    url: str
    address: str
    port: int

    @property
    def on_loopback(self) -> bool:
        return ip_address(self.address).is_loopback


async def resolve(reactor: Any, url: str) -> Target:
    """`ws://HOST[:PORT][/PREFIX]` -> a Target. Raises BadURL, also if the host is unknown."""
    bad = BadURL(f"not a base URL like ws://127.0.0.1:8000: {url!r}")
    try:
        parts = urlsplit(url if "://" in url else f"ws://{url}")
    except ValueError:
        raise bad from None
    try:
        port = parts.port or 80
    except ValueError:
        raise BadURL(f"not a port in {url!r}") from None
    if parts.scheme in ("wss", "https"):
        raise BadURL(
            f"the swarm does not support TLS: use a port of the server without TLS, not {url!r}"
        )
    if parts.scheme != "ws" or not parts.hostname or parts.query or parts.fragment:
        raise bad
    if not re.fullmatch("[!-~]+", url):  # it becomes part of a request
        raise bad
    try:
        address = str(ip_address(parts.hostname))
    except ValueError:
        try:
            address = await reactor.resolve(parts.hostname)
        except Exception:
            raise BadURL(f"unknown host {parts.hostname!r} in {url!r}") from None
    base = f"ws://{parts.netloc}{parts.path.rstrip('/')}"
    return Target(base, address, port)
