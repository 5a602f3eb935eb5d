"""The command line of ``twistd c10k-broker``."""

import ipaddress
import os
from typing import Any, ClassVar

from cluster.cli.parsing import ClusterOptions
from cluster.cli.site_options import BUS_KEYS, LOG_FORMAT, MACHINE, SETTINGS
from cluster.cli.value_checks import (
    bus_answers,
    but_not,
    check_bus_keys,
    check_settings,
    check_socket_path,
    cluster_setting,
    parse_bus,
    probe_uplink,
    uplink_config,
)
from cluster.core.exceptions import ConfigurationError
from cluster.django.conf_machines import SITE_WORDS, bus_of, is_site, is_uplink
from cluster.net.addresses import Address
from cluster.net.listening_sockets import probe
from cluster.supervisor.config import UplinkConfig


class BrokerOptions(ClusterOptions):
    """``twistd c10k-broker``: the broker, for use under another process supervisor."""

    synopsis = "[options]"
    longdesc = "Runs the broker that c10k-node processes, or c10k --bus, connect to."
    optParameters: ClassVar[list[list[Any]]] = [
        [
            "bus",
            None,
            "zmq+ipc",
            "where to listen: zmq+ipc (a socket in this user's runtime folder), zmq+ipc:///PATH or"
            " zmq+tcp://ADDRESS:PORT",
        ],
        BUS_KEYS,
        [
            "uplink",
            None,
            None,
            "the Redis that several machines share: redis://HOST:PORT, rediss://HOST:PORT (with"
            " TLS) or redis+sentinel://HOST,HOST,HOST/NAME; a URL with a password only in the"
            " environment or the settings [default: $C10K_BUS, C10K['BUS'] with --settings, or"
            " none]",
        ],
        MACHINE,
        [
            "site",
            None,
            None,
            "the name of the site, the same on all machines [default: C10K['SITE'], or the name of"
            " the settings module]",
        ],
        SETTINGS,
        LOG_FORMAT,
    ]

    def postOptions(self) -> None:
        bus = self.bus = parse_bus(self["bus"])
        self.bus_keys = check_bus_keys(bus, self["bus-keys"], "broker")
        if bus is not None:
            self._check_address(bus)
        self.uplink = self._uplink(_held(bus))
        if self.uplink is not None:
            probe_uplink(self.uplink)

    def _check_address(self, bus: str) -> None:
        if bus.startswith("tcp://"):
            host, _, port = bus.removeprefix("tcp://").rpartition(":")
            host = host.strip("[]")
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise ConfigurationError(
                    f"--bus {self['bus']}: a broker listens on an IP address, not on {host!r}"
                ) from None
            probe(Address(self["bus"], "tcp", host, int(port)))
            return
        check_socket_path(bus.removeprefix("ipc://"))
        if bus_answers(bus):
            # ZeroMQ would bind nevertheless, and replace the other broker's socket file.
            raise ConfigurationError(f"another broker listens at {bus}")

    def _uplink(self, held: str) -> UplinkConfig | None:
        """How this broker reaches other machines. Only then does it need the site's settings."""
        text, source = self["uplink"], "--uplink"
        if text is not None:
            if not is_uplink(text):
                raise ConfigurationError(f"--uplink must be redis://HOST:PORT{but_not(text)}")
        else:
            given = self["settings"]
            site = {"BUS": None} if given is None else cluster_setting(check_settings(given))
            text, source = bus_of(site, os.environ)
        name = self["site"]
        if not is_uplink(text):
            for option in ("machine", "site"):
                if self[option] is not None:
                    raise ConfigurationError(f"--{option} is for a broker with --uplink")
            return None
        if name is not None and not is_site(name):
            raise ConfigurationError(f"--site must be {SITE_WORDS}, not {name!r}")
        self.check_reactor("a broker with --uplink", "c10k-broker")
        settings = check_settings(self["settings"])
        site = cluster_setting(settings)
        return uplink_config(text, source, self["machine"], settings, site, name, held)


def _held(bus: str | None) -> str:
    """What only one broker of this host can have: its address. A path has the number of its folder,
    because containers may have the same path."""
    if bus is not None and not bus.startswith("ipc://"):
        return bus
    base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # as in net.runtime_directory
    status = os.stat(base if bus is None else os.path.dirname(bus.removeprefix("ipc://")))
    return f"{bus} {status.st_dev}:{status.st_ino}"
