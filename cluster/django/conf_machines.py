"""What a site of several machines is called: its bus, its name, the names of its machines.

``C10K["BUS"]``, ``C10K["SITE"]`` and ``C10K["MACHINE"]`` are checked here. The command lines use
these functions, and so do processes that publish from other hosts.
"""

import re
import socket
from collections.abc import Mapping
from typing import Any

from cluster.core.exceptions import ConfigurationError
from cluster.core.machines.names import SCHEMES, is_machine_name

MACHINE_WORDS = (
    "1 to 63 letters, digits, dots, hyphens or underscores, beginning with a letter or a digit"
)

SITE_WORDS = "1 to 100 letters, digits, dots, hyphens or underscores"


def is_uplink(bus: str) -> bool:
    """Whether the text of a bus is the URL of an engine that several machines share."""
    scheme, separator, _ = bus.partition("://")
    return separator != "" and scheme in SCHEMES


def bus_of(site: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, str]:
    """The bus that a site or the environment names, and where; two empty texts if neither does.

    Args:
        site: The C10K setting with its defaults.
        environ: The environment variables; C10K_BUS overrides ``C10K["BUS"]``.
    """
    if environ.get("C10K_BUS"):
        return environ["C10K_BUS"], "the environment variable C10K_BUS"
    if site["BUS"]:
        return site["BUS"], "C10K['BUS']"
    return "", ""


def site_name(site: Mapping[str, Any], settings: str) -> str:
    """The name under which all machines of a site keep their data in the engine.

    Args:
        site: The C10K setting with its defaults.
        settings: The name of the settings module.
    """
    return site["SITE"] or settings


def site_fingerprint(secret_key: str) -> str:
    """What tells a site from another one of the same name; reveals nothing about its SECRET_KEY."""
    from django.utils.crypto import salted_hmac

    return salted_hmac("c10k.uplink", "", secret_key, algorithm="sha256").hexdigest()


def machine_name(given: str | None, source: str, site: Mapping[str, Any]) -> str:
    """The name of this machine: the given one, that of the settings, or the host name.

    Args:
        given: The value of an option.
        source: The name of the option.
        site: The C10K setting with its defaults.

    Raises:
        ConfigurationError: The name cannot be used.
    """
    if given is None and site["MACHINE"]:
        given, source = site["MACHINE"], "C10K['MACHINE']"
    if given is None:
        given, source = socket.gethostname(), "the host name, which is the default of --machine,"
    if not is_machine(given):
        raise ConfigurationError(f"{source} must be {MACHINE_WORDS}, not {given!r}")
    return given


def is_machine(name: object) -> bool:
    """Whether this can be the name of a machine."""
    return isinstance(name, str) and is_machine_name(name)


def is_site(name: object) -> bool:
    """Whether this can be the name of a site; braces and colons divide the engine's keys."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name) is not None
