"""System checks of ``manage.py check --deploy``: what would go wrong in operation.

Run them where the cluster will run, because they ask the database and the descriptor limit there.
Each can be silenced with Django's SILENCED_SYSTEM_CHECKS.
"""

import os
import resource
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from cluster.django import conf
from cluster.net.listening_sockets import connection_capacity

MIB = 1 << 20

LARGEST_SIZES = {
    "MAX_MESSAGE_SIZE": 16 * MIB,
    "RECEIVE_QUEUE_BYTES": 64 * MIB,
    "SEND_QUEUE_HIGH_WATER": 64 * MIB,
    "MAX_REQUEST_BODY": 1024 * MIB,
}
"""Bytes above which a limit does not protect: a node may need as much memory for each client."""

DJANGO_SIZES = (
    "DATA_UPLOAD_MAX_MEMORY_SIZE",
    "DATA_UPLOAD_MAX_NUMBER_FIELDS",
    "DATA_UPLOAD_MAX_NUMBER_FILES",
)

CLIENT_LIMITS = ("MAX_CONNECTIONS_PER_CLIENT", "MESSAGE_RATE")

CONNECTIONS = 10_000
"""Connections that a cluster should be able to hold, without C10K["MAX_CONNECTIONS"]."""


def check_proxy(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W002, W003: settings that do not fit the proxy's timeout."""
    ours = _ours()
    timeout, interval, beat = (
        ours[key] for key in ("PROXY_TIMEOUT", "PING_INTERVAL", "STREAM_HEARTBEAT")
    )
    if timeout is None:
        return []
    found: list[CheckMessage] = []
    if interval > timeout / 2:
        found.append(
            checks.Warning(
                f"The proxy closes connections that are silent for {timeout:g} s, and a node sends"
                f" pings every {interval:g} s, so a ping that is late ends the connection.",
                hint=f"Set C10K['PING_INTERVAL'] to {timeout / 2:g} or less, or raise the proxy's"
                " timeout (nginx: proxy_read_timeout).",
                id="c10k.W002",
            )
        )
    if beat > timeout / 2:
        found.append(
            checks.Warning(
                f"The proxy closes connections that are silent for {timeout:g} s, and a node sends"
                f" comments in server-sent events every {beat:g} s.",
                hint=f"Set C10K['STREAM_HEARTBEAT'] to {timeout / 2:g} or less, or raise the"
                " proxy's timeout (nginx: proxy_read_timeout).",
                id="c10k.W002",
            )
        )
    if not ours["PROXY_HEADERS"]:
        found.append(
            checks.Warning(
                "C10K['PROXY_TIMEOUT'] says that there is a proxy, but its headers are not used:"
                " all clients have the proxy's address, and behind TLS the Origin of every page is"
                " refused.",
                hint="Set C10K['PROXY_HEADERS'] to the proxies' addresses (or start with"
                " --proxy-headers), and have the proxy set X-Forwarded-For and X-Forwarded-Proto.",
                id="c10k.W003",
            )
        )
    return found


def check_database(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W004: more connections than the database allows.

    Each thread of each node may have one: those of the views, those of ain_database, and the one of
    Django's async ORM.
    """
    from django.db import connections

    ours = _ours()
    nodes, threads = _nodes(ours), ours["WSGI_THREADS"] + ours["DATABASE_THREADS"] + 1
    found: list[CheckMessage] = []
    for alias in connections:
        connection = connections[alias]
        if connection.vendor != "postgresql":
            continue
        wanted = nodes * min(threads, _pool_size(connection.settings_dict) or threads)
        try:
            allowed = _allowed(connection)
        except Exception as error:  # whatever the driver raises
            found.append(
                checks.Warning(
                    f"Database {alias!r} did not report how many connections it allows: {error}",
                    hint=f"This site may open {wanted}.",
                    id="c10k.W004",
                )
            )
            continue
        finally:
            connection.close()
        if wanted > allowed:
            found.append(
                checks.Warning(
                    f"{nodes} nodes with {threads} threads each may open {wanted} connections to"
                    f" database {alias!r}, which allows {allowed}.",
                    hint="Lower C10K's NODES, WSGI_THREADS or DATABASE_THREADS, raise the"
                    " database's max_connections, or put a pooler in between.",
                    id="c10k.W004",
                )
            )
    return found


def _allowed(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN"
            " ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
        )
        values = {name: int(value) for name, value in cursor.fetchall()}
    return values.pop("max_connections") - sum(values.values())


def _pool_size(database: Mapping[str, Any]) -> int | None:
    """The size of the pool of Django's PostgreSQL backend, one in each process; None without it."""
    pool = database.get("OPTIONS", {}).get("pool")
    if not pool:
        return None
    least = 4  # psycopg_pool's default
    options = pool if isinstance(pool, Mapping) else {}
    return int(options.get("max_size") or options.get("min_size") or least)


def check_hosts(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W005: a Host that is not checked, with which the Origin of a WebSocket is compared."""
    if settings.ALLOWED_HOSTS and "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        checks.Warning(
            "ALLOWED_HOSTS has '*', so a page of any host name that resolves to this server may"
            " open WebSockets with its visitors' cookies (DNS rebinding)."
            if settings.ALLOWED_HOSTS
            else "ALLOWED_HOSTS is empty: every request and every WebSocket will be refused.",
            hint="List the host names of this site.",
            id="c10k.W005",
        )
    ]


def check_origins(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W006, W007: origins that never match, and origins that may be missing."""
    allowed: Sequence[str] = list(_ours()["ALLOWED_ORIGINS"])
    found: list[CheckMessage] = [
        checks.Warning(
            f"C10K['ALLOWED_ORIGINS'] has {origin!r}, which no browser sends.",
            hint="Write scheme and host, and the port if it is not the scheme's own:"
            " 'https://app.example.com'. There are no wildcards.",
            id="c10k.W006",
        )
        for origin in allowed
        if not _is_origin(origin)
    ]
    missing = [
        origin
        for origin in settings.CSRF_TRUSTED_ORIGINS
        if _is_origin(origin) and origin not in allowed and not _is_own(origin)
    ]
    if missing:
        found.append(
            checks.Warning(
                f"Pages of {', '.join(missing)} may post forms to this site"
                " (CSRF_TRUSTED_ORIGINS), but not open WebSockets.",
                hint="If they should, add them to C10K['ALLOWED_ORIGINS'].",
                id="c10k.W007",
            )
        )
    return found


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_complete = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return is_complete and "*" not in text and text == f"{parts.scheme}://{parts.netloc}"


def _is_own(origin: str) -> bool:
    from django.http.request import validate_host

    return validate_host(urlsplit(origin).hostname or "", settings.ALLOWED_HOSTS)


def check_descriptors(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W008: too few file descriptors for the connections."""
    ours = _ours()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return []
    nodes = _nodes(ours)
    wanted = (ours["MAX_CONNECTIONS"] or 0) * nodes or CONNECTIONS
    capacity = connection_capacity(nodes, limit)
    if capacity >= wanted:
        return []
    return [
        checks.Warning(
            f"{nodes} nodes with {limit:,} file descriptors each can hold {capacity:,} connections,"
            f" fewer than {wanted:,}.",
            hint="Raise the hard limit where the cluster is started (systemd: LimitNOFILE=,"
            " supervisord: minfds=, shell: ulimit -Hn), or set C10K['MAX_CONNECTIONS'] to what each"
            " node shall accept. The limit of this process may differ from that of the service.",
            id="c10k.W008",
        )
    ]


def check_sizes(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W009: limits so high that they do not protect the memory."""
    ours = _ours()
    unlimited = [
        f"C10K['{key}'] is {ours[key]:,} bytes"
        for key, largest in LARGEST_SIZES.items()
        if ours[key] > largest
    ]
    unlimited += [f"{key} is None" for key in DJANGO_SIZES if getattr(settings, key) is None]
    return _each(unlimited, "c10k.W009", "A few clients can fill the memory: set a limit.")


def check_client_limits(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W010: no limits for a single client."""
    ours = _ours()
    unlimited = [f"C10K['{key}'] is None" for key in CLIENT_LIMITS if ours[key] is None]
    hint = "One client can keep a node from serving the others: set a limit."
    return _each(unlimited, "c10k.W010", hint)


def check_sessions(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W011: sessions in a cache that the processes do not share."""
    engine = settings.SESSION_ENGINE
    backend = settings.CACHES.get(settings.SESSION_CACHE_ALIAS, {}).get("BACKEND", "")
    if not engine.endswith((".cache", ".cached_db")) or not backend.endswith(
        (".LocMemCache", ".DummyCache")
    ):
        return []
    return [
        checks.Warning(
            f"Sessions are in the cache {settings.SESSION_CACHE_ALIAS!r}, of which each process has"
            " its own: a user who logs in or out at one node is not known, or still known, at the"
            " others.",
            hint="Use a cache that the nodes share, or another SESSION_ENGINE.",
            id="c10k.W011",
        )
    ]


def _each(problems: Iterable[str], number: str, hint: str) -> list[CheckMessage]:
    return [checks.Warning(f"{problem}.", hint=hint, id=number) for problem in problems]


def _ours() -> dict[str, Any]:
    """The C10K setting with its defaults; the defaults alone if it has errors (E001)."""
    given = getattr(settings, "C10K", {})
    return conf.DEFAULTS if conf.check(given) else conf.DEFAULTS | dict(given)


def _nodes(ours: Mapping[str, Any]) -> int:
    return ours["NODES"] or len(os.sched_getaffinity(0))


DEPLOY_CHECKS = (
    check_proxy,
    check_database,
    check_hosts,
    check_origins,
    check_descriptors,
    check_sizes,
    check_client_limits,
    check_sessions,
)
