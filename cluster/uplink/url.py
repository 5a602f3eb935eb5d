"""Parses the URL of the bus between machines, ``--bus`` or ``C10K["BUS"]``.

The syntax is redis-py's, and Sentinel's servers are a list::

    redis://redis.example.com:6379/0
    rediss://user:password@redis.example.com        TLS; the certificate is checked
    rediss://redis.example.com?ssl_ca_certs=/etc/ssl/redis-ca.pem
    redis+sentinel://a:26379,b,c/mymaster?db=0      rediss+sentinel:// for TLS
    unix:///run/redis/redis.sock?db=0

A URL may hold a password, so a BusUrl shows itself without user, password and parameters.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from cluster.core.exceptions import ConfigurationError
from cluster.core.machines.names import SUPPORTED_SCHEMES

REDIS_PORT = 6379
SENTINEL_PORT = 26379

CONNECT_S = 3.0
"""Seconds for a connection with its handshake: a lease must not end because one server of several
does not answer."""

SENTINEL_S = 1.0
"""Seconds for one Sentinel, before the next one is asked."""

_WORDS = "redis://, rediss://, redis+sentinel://, rediss+sentinel:// or unix://"

_PARAMETERS = {"db", "username", "password"}
_TLS_PARAMETERS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
_SENTINEL_PARAMETERS = {"sentinel_username", "sentinel_password"}


@dataclass(frozen=True, slots=True)
class BusUrl:
    """Where the engine is. Make one with ``parse_bus_url``.

    ``hosts`` are (host, port) of the server, or of each Sentinel if there is a ``service``, the
    name by which they know the primary. ``path`` is that of a Unix socket. ``tls`` are redis-py's
    arguments for TLS, None without it.
    """

    hosts: tuple[tuple[str, int], ...]
    db: int = 0
    service: str = ""
    path: str = ""
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    sentinel_username: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)
    tls: Mapping[str, Any] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """The URL for messages, without user, password and parameters."""
        if self.path:
            return f"unix://{self.path}?db={self.db}"
        scheme = "redis" if self.tls is None else "rediss"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                         for host, port in self.hosts)  # fmt: skip
        if self.service:
            return f"{scheme}+sentinel://{hosts}/{self.service}?db={self.db}"
        return f"{scheme}://{hosts}/{self.db}"

    @property
    def has_secret(self) -> bool:
        """Whether the URL holds a password, which must not be in the list of processes."""
        return bool(self.password or self.sentinel_password)

    def server_options(self, name: str) -> dict[str, Any]:
        """redis-py's arguments for a connection to the server, without address and limits of time.

        Args:
            name: What ``CLIENT LIST`` shows.
        """
        return {
            "db": self.db,
            "username": self.username or None,
            "password": self.password or None,
            "client_name": name,
            "protocol": 2,
            **(self.tls or {}),
        }

    def sentinel_options(self) -> dict[str, Any]:
        """redis-py's arguments for a connection to a Sentinel."""
        return {
            "username": self.sentinel_username or None,
            "password": self.sentinel_password or None,
            "ssl": self.tls is not None,
            "socket_timeout": SENTINEL_S,
            "socket_connect_timeout": SENTINEL_S,
            **(self.tls or {}),
        }

    def shuffled_hosts(self) -> list[tuple[str, int]]:
        """``hosts`` in a random order, so that one without an answer delays only some attempts."""
        return random.sample(self.hosts, len(self.hosts))


def parse_bus_url(text: str, source: str = "--bus") -> BusUrl:
    """Parse the URL of the engine.

    Args:
        text: The URL.
        source: Where it is from; error messages begin with it. They never contain the URL, because
            it may hold a password.

    Raises:
        ConfigurationError: The URL is invalid, or of an engine that is not supported.
    """
    scheme, separator, _ = text.partition("://")
    if not separator or not scheme.replace("+", "").isalnum():
        raise ConfigurationError(f"{source} must be a URL that begins with {_WORDS}")
    if scheme == "nats":
        raise ConfigurationError(
            f"{source}: nats:// is not supported, because NATS keeps no log that all machines can"
            f" read in the same order; use Redis 7.0 or newer, or Valkey"
        )
    if scheme not in SUPPORTED_SCHEMES:
        raise ConfigurationError(f"{source}: {scheme}:// is not supported; use {_WORDS}")
    try:
        return _parse(text, scheme, source)
    except ValueError as error:
        # urllib's texts may quote what it has parsed.
        raise ConfigurationError(f"{source}: this is not a valid {scheme}:// URL") from error


def _parse(text: str, scheme: str, source: str) -> BusUrl:
    split = urlsplit(text)
    is_sentinel = scheme.endswith("+sentinel")
    userinfo, _, netloc = split.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    allowed = _PARAMETERS | (_TLS_PARAMETERS if scheme.startswith("rediss") else set())
    if is_sentinel:
        allowed |= _SENTINEL_PARAMETERS
    parameters = dict(
        parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query))
    )
    for name in parameters:
        if name not in allowed:
            raise ConfigurationError(
                f"{source}: a {scheme}:// URL has no such parameter as {name!r};"
                f" it has {', '.join(sorted(allowed))}"
            )
    database = parameters.get("db", "")
    service = path = ""
    if is_sentinel:
        service = unquote(split.path.strip("/"))
        if not service or "/" in service:
            raise ConfigurationError(
                f"{source}: a {scheme}:// URL names the primary as its path, for example"
                f" {scheme}://a:{SENTINEL_PORT},b,c/mymaster"
            )
    elif scheme == "unix":
        path = unquote(split.path)
        if not path or netloc:
            raise ConfigurationError(f"{source}: a unix:// URL has an absolute path: unix:///PATH")
    else:
        database = database or unquote(split.path.strip("/"))
    if database and not database.isdecimal():
        raise ConfigurationError(f"{source}: the database must be a number, not {database!r}")
    default = SENTINEL_PORT if is_sentinel else REDIS_PORT
    names = netloc.split(",") if is_sentinel else [netloc]
    return BusUrl(
        hosts=() if path else tuple(_host(name, default, source) for name in names),
        db=int(database or 0),
        service=service,
        path=path,
        username=unquote(username) or parameters.get("username", ""),
        password=unquote(password) or parameters.get("password", ""),
        sentinel_username=parameters.get("sentinel_username", ""),
        sentinel_password=parameters.get("sentinel_password", ""),
        tls=_tls(parameters, source) if scheme.startswith("rediss") else None,
    )


def _host(text: str, default: int, source: str) -> tuple[str, int]:
    split = urlsplit(f"//{text}")
    port = default if split.port is None else split.port
    if not split.hostname or not port:
        raise ConfigurationError(f"{source}: each server needs a name or an address: HOST[:PORT]")
    return split.hostname, port


def _tls(parameters: Mapping[str, str], source: str) -> Mapping[str, Any]:
    found: dict[str, Any] = {
        name: value for name, value in parameters.items() if name in _TLS_PARAMETERS
    }
    check = found.get("ssl_check_hostname", "true").lower()
    if check not in ("true", "false"):
        raise ConfigurationError(f"{source}: ssl_check_hostname must be true or false")
    found["ssl_check_hostname"] = check == "true"
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in found:
            try:
                open(found[name], "rb").close()
            except OSError as error:
                reason = error.strerror or error
                raise ConfigurationError(f"{source}: {name}: {found[name]}: {reason}") from error
    return found
