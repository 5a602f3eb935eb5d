"""The options that several command lines have, and the checks of those of c10k and c10k-node."""

import os
from typing import Any

from cluster.cli.parsing import ClusterOptions, log_format
from cluster.cli.value_checks import (
    DEFAULT_SETTINGS,
    SETTING_OF,
    check_certificate,
    check_descriptors,
    check_settings,
    cluster_setting,
    default_of,
)
from cluster.core.exceptions import ConfigurationError
from cluster.django.conf import is_application
from cluster.django.conf_machines import bus_of
from cluster.django.handshake.proxies import Proxies, split_names
from cluster.net.addresses import parse_address
from cluster.net.listening_sockets import probe

MAX_MESSAGE_SIZE = 1 << 30
"""The largest maximum of a message's size, in bytes. Several copies of a message are in memory
while it is encoded and sent."""

LOG_FORMAT: list[Any] = [
    "log-format",
    None,
    "text",
    "form of the log's lines: text, or json for one object a line",
    log_format,
]

SETTINGS: list[Any] = [
    "settings",
    None,
    None,
    f"Django settings module [default: $DJANGO_SETTINGS_MODULE, or {DEFAULT_SETTINGS}]",
]

NODE_PARAMETERS = [
    LOG_FORMAT,
    SETTINGS,
    *[
        [name, None, None, f"{text} {default_of(name)}"]
        for name, text in (
            ("ping-interval", "seconds between pings to a WebSocket client"),
            ("ping-timeout", "seconds a client has to answer a ping"),
            ("max-message-size", "bytes of the largest message a client may send"),
            (
                "drain-timeout",
                "seconds that views, handlers and closing connections have at a stop",
            ),
        )
    ],
    [
        "proxy-headers",
        None,
        None,
        "addresses and networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto count,"
        " separated by commas; unix: for all who connect through a Unix socket"
        " [default: C10K['PROXY_HEADERS'], or none]",
    ],
    [
        "asgi",
        None,
        None,
        "the site's ASGI application, MODULE:NAME, for all URLs without a handler or a feed"
        " [default: C10K['ASGI'], or none: the views of the URLconf]",
    ],
]
NODE_FLAGS = [
    ["access-log", None, "log every HTTP request, WebSocket and feed"],
]


BUS_KEYS = [
    "bus-keys",
    None,
    None,
    "folder with the keys that c10k keygen has made; zmq+tcp:// needs them",
]


MACHINE: list[Any] = [
    "machine",
    None,
    None,
    "the name of this machine, if several share an engine [default: C10K['MACHINE'], or the host"
    " name]",
]


class SiteOptions(ClusterOptions):
    """The base class of the options of ``c10k`` and ``c10k-node``."""

    bus_keys: str

    def opt_listen(self, endpoint: str) -> None:
        self.listen_texts.append(endpoint)

    # Not a docstring: the help would print its line breaks as gaps.
    opt_listen.__doc__ = (
        "where to serve: tcp:PORT, tcp:PORT:interface=ADDRESS,"
        " ssl:PORT:privateKey=FILE:certKey=FILE or unix:/PATH:mode=660; repeatable; port 0 takes a"
        " free one"
        " [default: tcp:8000, all IPv4 interfaces]"
    )

    def load_settings(self) -> None:
        """Set ``settings`` (the module's name) and ``site`` (its C10K setting with defaults)."""
        self.settings = check_settings(self["settings"])
        self.site = cluster_setting(self.settings)

    def given_bus(self, default: str) -> tuple[str, str]:
        """Return the text of the bus, and its source for error messages: from the command line,
        the environment or the site's settings. Call ``load_settings`` first."""
        if self["bus"] is not None:
            return self["bus"], "--bus"
        text, source = bus_of(self.site, os.environ)
        return (text, source) if text else (default, "--bus")

    def given(self, name: str) -> tuple[str, str]:
        """Return the value of an option: from the command line, else from the site's settings."""
        if self[name] is not None or name not in SETTING_OF:
            return super().given(name)
        return str(self.site[SETTING_OF[name]]), f"C10K[{SETTING_OF[name]!r}]"

    def check_site_options(self) -> None:
        """Check the common options, and set their values. Call ``load_settings`` first."""
        self.listens = [parse_address(text) for text in self.listen_texts or ["tcp:8000"]]
        for position, address in enumerate(self.listens):
            earlier = self.listens[:position]
            named = address.port or address.is_unix
            if named and any(address.host_port == other.host_port for other in earlier):
                raise ConfigurationError(f"--listen names {address.host_port} twice")
        self.ping_interval = self.seconds("ping-interval")
        self.ping_timeout = self.seconds("ping-timeout")
        self.max_message_size = self.number("max-message-size", 1, MAX_MESSAGE_SIZE)
        self.drain_timeout = self.seconds("drain-timeout", may_be_zero=True)
        self.proxy_headers = self._proxies()
        self.asgi = self._asgi()
        check_descriptors()
        for address in self.listens:
            check_certificate(address)
            probe(address)

    def _proxies(self) -> list[str]:
        if self["proxy-headers"] is None:
            return list(self.site["PROXY_HEADERS"])
        names = split_names(self["proxy-headers"])
        try:
            Proxies(names)
        except ConfigurationError as error:
            raise ConfigurationError(f"--proxy-headers: {error}") from None
        return names

    def _asgi(self) -> str:
        name: str | None = self["asgi"]
        if name is not None and not is_application(name):
            raise ConfigurationError(
                f"--asgi must be MODULE:NAME, such as mysite.asgi:application, not {name!r}"
            )
        return name or ""

    def node_config(self, name: str, bus: str) -> dict[str, Any]:
        """Return the fields of a NodeConfig."""
        return {
            "name": name,
            "settings": self.settings,
            "bus": bus,
            "bus_keys": self.bus_keys,
            "ping_interval": self.ping_interval,
            "ping_timeout": self.ping_timeout,
            "max_message_size": self.max_message_size,
            "drain_timeout": self.drain_timeout,
            "proxy_headers": self.proxy_headers,
            "access_log": bool(self["access-log"]),
            "asgi": self.asgi,
        }
