"""Parses and checks the values of some options.

The functions raise ConfigurationError, with one sentence for the user, for a value that cannot be
used. They have no side effects, except that ``check_settings`` imports the settings module.
"""

import hashlib
import importlib
import os
import re
import resource
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.cli.startup_errors import INSTALLED, error_line
from cluster.core.exceptions import ConfigurationError
from cluster.django import conf
from cluster.django.conf_machines import machine_name, site_fingerprint, site_name
from cluster.net.addresses import Address, unix_path_fits
from cluster.net.bus_keys import BusKeys
from cluster.net.listening_sockets import connection_capacity
from cluster.supervisor.certificates import Certificates
from cluster.supervisor.config import UplinkConfig

if TYPE_CHECKING:  # it is imported only for a site of several machines
    from cluster.uplink.url import BusUrl

DEFAULT_SETTINGS = "django_project.settings"

PROBE_TIMEOUT_S = 3.0
"""Seconds that an external broker has to accept a connection."""

SETTING_OF = {
    "nodes": "NODES",
    "ping-interval": "PING_INTERVAL",
    "ping-timeout": "PING_TIMEOUT",
    "max-message-size": "MAX_MESSAGE_SIZE",
    "drain-timeout": "DRAIN_TIMEOUT",
    "restart-spread": "RESTART_SPREAD",
    "proxy-headers": "PROXY_HEADERS",
}
"""Options whose default is a key of the C10K setting."""

NODE_FIELDS = {option: option.replace("-", "_") for option in SETTING_OF if option != "nodes"}
"""Those of them that are fields of a NodeConfig."""


def default_of(name: str) -> str:
    """Return the default of an option in SETTING_OF, for its help text."""
    key = SETTING_OF[name]
    return f"[default: C10K[{key!r}], or {conf.DEFAULTS[key]:.0f}]"


def but_not(bus: str) -> str:
    """Return ", not 'BUS'", the end of an error message about a bus.

    It is empty for a text that may hold a password: a URL of an engine whose scheme is misspelt.
    """
    return "" if "@" in bus or "?" in bus else f", not {bus!r}"


def parse_bus(text: str, source: str = "--bus") -> str | None:
    """Return the ZeroMQ endpoint in the text of a bus, or None for the one that needs no address.

    ``source`` names the option or setting for error messages.
    """
    if text == "zmq+ipc":
        return None
    path = text.removeprefix("zmq+ipc://")
    if path != text:
        if not path.startswith("/"):
            raise ConfigurationError(
                f"{source} {text}: the path must begin with / (zmq+ipc:///PATH)"
            )
        if not unix_path_fits(path):
            raise ConfigurationError(f"{source} {text}: a Unix socket's path has at most 107 bytes")
        return f"ipc://{path}"
    match = re.fullmatch(r"zmq\+tcp://(\[[0-9a-fA-F:.]+\]|[^:/\[\]]+):(\d{1,5})", text, re.ASCII)
    if match is None or not 0 < int(match[2]) <= 65535:
        raise ConfigurationError(
            f"{source} must be zmq+ipc, zmq+ipc:///PATH or zmq+tcp://ADDRESS:PORT{but_not(text)}"
        )
    host = "127.0.0.1" if match[1] == "localhost" else match[1]
    return f"tcp://{host}:{match[2]}"


def check_bus_keys(bus: str | None, folder: str | None, role: str) -> str:
    """Return the absolute path of the folder in ``--bus-keys``; empty if the bus needs no keys.

    ``role`` is "broker" or "node". Raises ConfigurationError if keys are missing, or are no keys.
    """
    is_tcp = bus is not None and bus.startswith("tcp://")
    if folder is None:
        if is_tcp:
            raise ConfigurationError(
                f"--bus zmq+{bus} needs --bus-keys FOLDER, because any user who reaches the port"
                " could read and forge messages (c10k keygen FOLDER makes keys)"
            )
        return ""
    if not is_tcp:
        raise ConfigurationError(
            "--bus-keys is for a broker at zmq+tcp://: the file of a Unix socket is private anyway"
        )
    folder = os.path.abspath(folder)
    BusKeys.load(folder, role)
    return folder


def probe_bus(endpoint: str) -> None:
    """Raise ConfigurationError if no broker of this user accepts connections at an endpoint."""
    path = endpoint.removeprefix("ipc://")
    if path != endpoint and os.path.exists(path) and os.stat(path).st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            f"{path} belongs to another user, who could read and forge messages"
        )
    if not bus_answers(endpoint):
        raise ConfigurationError(
            f"no broker answers at {endpoint}:"
            f" start one with twistd c10k-broker --bus zmq+{endpoint}"
        )


def check_socket_path(path: str) -> None:
    """Raise ConfigurationError if a broker cannot bind to a path, or would delete a file there."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        problem = f"there is no folder {folder}"
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem = f"this user may not write to {folder}"
    elif os.path.lexists(path) and not Path(path).is_socket():
        problem = f"{path} exists and is no socket"
    else:
        return
    raise ConfigurationError(f"cannot listen at zmq+ipc://{path}: {problem}")


def bus_answers(endpoint: str) -> bool:
    """Whether a process accepts connections at a ZeroMQ endpoint."""
    scheme, _, address = endpoint.partition("://")
    try:
        if scheme == "ipc":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(PROBE_TIMEOUT_S)
                sock.connect(address)
        else:
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def check_settings(name: str | None) -> str:
    """Import the settings module, check its C10K setting, and return its name."""
    # Find a project in the current folder, as manage.py does.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    name = name or os.environ.get("DJANGO_SETTINGS_MODULE") or DEFAULT_SETTINGS
    try:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ModuleNotFoundError(name=name)
        module = importlib.import_module(name)
    except Exception as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and (name == missing or name.startswith(f"{missing}.")):
            raise ConfigurationError(
                f"there is no settings module {name!r} (looked in {os.getcwd()} and in what is"
                " installed; see --settings)"
            ) from None
        raise ConfigurationError(
            f"the settings module {name} cannot be imported: {error_line(error)}"
        ) from error
    problems = conf.check(getattr(module, "C10K", {}))
    if problems:
        raise ConfigurationError(f"{name}: {'; '.join(problems)}")
    for key in ("SECRET_KEY", "ROOT_URLCONF"):
        if not getattr(module, key, None):
            raise ConfigurationError(
                f"the settings module {name} has no {key}, which every site needs"
            )
    return name


def cluster_setting(name: str) -> dict[str, Any]:
    """Return the C10K setting, with defaults, of a module that check_settings has accepted."""
    return conf.DEFAULTS | dict(getattr(importlib.import_module(name), "C10K", {}))


def site_folder(settings: str) -> str:
    """Return the folder of the code of a site whose settings check_settings has accepted.

    It is the folder that has the settings' package, such as the one of manage.py, or the package
    itself if that is installed.
    """
    file = sys.modules[settings].__file__
    if file is None:
        return ""
    root = Path(file).resolve().parents[settings.count(".")]
    if root.name in INSTALLED:
        root /= settings.partition(".")[0]
    return str(root)


def add_site_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a node, with the fields that the site's settings have.

    Raises ConfigurationError like ``check_settings``.
    """
    site = cluster_setting(check_settings(config["settings"]))
    found = {field: site[SETTING_OF[option]] for option, field in NODE_FIELDS.items()}
    return {**found, **config}


def check_descriptors() -> None:
    """Raise ConfigurationError if the descriptor limit is too low for any connection."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and not connection_capacity(1, hard):
        raise ConfigurationError(
            f"the limit of {hard} open files leaves none for connections: increase it"
            " (ulimit -Hn, LimitNOFILE= of a systemd unit)"
        )


def check_certificate(address: Address) -> None:
    """Raise ConfigurationError if the key or certificate of an ssl address cannot be used."""
    Certificates([address]).read()


def uplink_config(
    url: str,
    source: str,
    machine: str | None,
    settings: str,
    site: Mapping[str, Any],
    name: str | None = None,
    held: str = "",
) -> UplinkConfig:
    """Return how the broker of this machine reaches the others.

    Args:
        url: The URL of the engine.
        source: Where it comes from, for error messages: an option's must not have a password.
        machine: The value of ``--machine``.
        settings: The name of the settings module, which check_settings has accepted.
        site: Its C10K setting with defaults.
        name: The value of ``--site``, which overrides the name in the setting.
        held: A socket address that only one cluster or broker of this host can have.

    Raises:
        ConfigurationError: A value cannot be used, or redis-py is not installed.
    """
    if _parse(url, source).has_secret and source.startswith("--"):
        raise ConfigurationError(
            f"{source} must not have a password, which all users of this machine could read in the"
            " list of processes: put the URL into C10K['BUS'] or the environment variable"
            f" C10K_BUS, and leave {source} out"
        )
    return UplinkConfig(
        url,
        machine_name(machine, "--machine", site),
        name or site_name(site, settings),
        site_fingerprint(importlib.import_module(settings).SECRET_KEY),
        owner_of(held),
    )


def owner_of(held: str) -> str:
    """What tells a cluster from another one with the same machine name.

    The next cluster at the same address of this host has the same. So it takes over the name at
    once when this one was killed, instead of waiting for the end of its lease. Without an address,
    or a Linux that tells hosts and containers apart, each cluster has another one.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        network = os.stat("/proc/self/ns/net").st_ino
    except OSError:
        held = ""
    if not held:
        return secrets.token_hex(8)
    text = f"{boot}{network} {os.getuid()} {held}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def probe_uplink(config: UplinkConfig) -> None:
    """Raise ConfigurationError if the engine answers, and this machine cannot join."""
    from cluster.uplink.probe import probe

    url = _parse(config.url, "the URL of the engine")
    probe(url, config.site, config.machine, config.owner, config.fingerprint)


def _parse(url: str, source: str) -> "BusUrl":
    from cluster.uplink.url import parse_bus_url

    parsed = parse_bus_url(url, source)
    try:
        importlib.import_module("redis")
    except ImportError:
        raise ConfigurationError(
            f"{source} needs redis-py: pip install 'django-c10k[redis]'"
        ) from None
    return parsed
