"""System checks of ``manage.py check --deploy`` for a site of several machines: its bus.

Run them where the cluster will run, because they ask the Redis of C10K["BUS"] or C10K_BUS.
"""

import asyncio
import importlib.util
import ipaddress
import os
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from cluster.core.exceptions import ConfigurationError
from cluster.django import conf
from cluster.django.conf_machines import bus_of, is_uplink

if TYPE_CHECKING:  # it is imported only for a site of several machines
    from cluster.uplink.url import BusUrl


def check_bus(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W013, W014: a bus that others can read or write, or that cannot be used."""
    text, source = _bus()
    if not is_uplink(text):
        return []
    from cluster.uplink.url import parse_bus_url

    try:
        url = parse_bus_url(text, source)
    except ConfigurationError as error:
        return [_warning(str(error), "Correct the URL: the cluster does not start.", "c10k.W014")]
    return [*_secrecy(url, source), *_server(url, source)]


def _bus() -> tuple[str, str]:
    given = getattr(settings, "C10K", {})
    if conf.check(given):
        return "", ""  # E001 reports it
    return bus_of(conf.DEFAULTS | dict(given), os.environ)


def _secrecy(url: "BusUrl", source: str) -> list[CheckMessage]:
    found = []
    others = [host for host, _ in url.hosts if not _is_loopback(host)]
    if others and url.tls is None:
        found.append(
            _warning(
                f"{source} leads to {', '.join(others)} without TLS: all messages and the password"
                " can be read and changed on the way.",
                "Use rediss://, or a network that only the machines of this site can reach (then"
                " silence c10k.W013).",
                "c10k.W013",
            )
        )
    has_certificate = url.tls is not None and "ssl_certfile" in url.tls
    if not (url.password or url.path or has_certificate):
        found.append(
            _warning(
                f"{source} has no password: who reaches the Redis can read and forge messages.",
                "Set requirepass or an ACL in Redis, and put the password into the URL.",
                "c10k.W013",
            )
        )
    return found


def _server(url: "BusUrl", source: str) -> list[CheckMessage]:
    if importlib.util.find_spec("redis") is None:
        hint = "pip install 'django-c10k[redis]'; the cluster does not start without it."
        return [_warning(f"{source} needs redis-py, which is not installed.", hint, "c10k.W014")]
    from cluster.core.machines.engine import EngineError
    from cluster.uplink.probe import ask_server

    try:
        server = asyncio.run(ask_server(url))
    except EngineError as error:
        return [
            _warning(
                f"{source} ({url}) cannot be used now: {error}.",
                "The nodes of this machine would not hear those of others.",
                "c10k.W014",
            )
        ]
    return [
        _warning(f"{source}: {warning}.", "Change the configuration of Redis.", "c10k.W014")
        for warning in server.warnings
    ]


def check_shared_database(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W015: a database that each machine has for itself."""
    if not is_uplink(_bus()[0]):
        return []
    return [
        _warning(
            f"Database {alias!r} is a file of SQLite, of which each machine has its own.",
            "Use a database that all machines of the site share.",
            "c10k.W015",
        )
        for alias, database in settings.DATABASES.items()
        if database.get("ENGINE", "").endswith(".sqlite3")
    ]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _warning(text: str, hint: str, number: str) -> CheckMessage:
    return checks.Warning(text, hint=hint, id=number)


BUS_CHECKS = (check_bus, check_shared_database)
