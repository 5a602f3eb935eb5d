"""The command lines of ``twistd c10k`` and ``c10k-node``.

Each option is declared once, with its unit and default, and checked in ``postOptions``. Errors such
as a busy port, a missing settings module or a broker that does not run are reported there as a
one-line summary, before any process starts.

``cluster.cli.value_checks`` checks a bus, a settings module and a certificate. After parsing, the
parsed values are in ``options.listens``, ``options.admin``, ``options.bus`` and
``options.node_config()``; the mapping keeps the texts.
"""

import os
from typing import Any, ClassVar

from cluster.cli.site_options import (
    BUS_KEYS,
    MACHINE,
    NODE_FLAGS,
    NODE_PARAMETERS,
    SiteOptions,
)
from cluster.cli.value_checks import (
    NODE_FIELDS,
    check_bus_keys,
    default_of,
    parse_bus,
    probe_bus,
    probe_uplink,
    uplink_config,
)
from cluster.core.exceptions import ConfigurationError
from cluster.django.conf_machines import (
    MACHINE_WORDS,
    bus_of,
    is_machine,
    is_uplink,
    machine_name,
)
from cluster.net.addresses import Address, first_port, parse_address
from cluster.net.listening_sockets import probe
from cluster.net.runtime_directory import broker_address
from cluster.supervisor.config import MAX_NODES, UplinkConfig


class Options(SiteOptions):
    """``twistd c10k``: a whole cluster."""

    synopsis = "[options]"
    longdesc = (
        "Serves a Django site over HTTP and WebSocket with a cluster of processes on this machine:"
        " a supervisor, its nodes, and the broker between them."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        [
            "nodes",
            None,
            None,
            "number of node processes [default: C10K['NODES'], or one for each core]",
        ],
        [
            "bus",
            None,
            None,
            "what connects the nodes: zmq+ipc (the cluster's own broker), a broker that"
            " twistd c10k-broker runs: zmq+ipc:///PATH or zmq+tcp://ADDRESS:PORT, or the Redis that"
            " several machines share: redis://HOST:PORT, rediss://HOST:PORT (with TLS) or"
            " redis+sentinel://HOST,HOST,HOST/NAME; a URL with a password only in the environment"
            " or the settings [default: $C10K_BUS, C10K['BUS'], or zmq+ipc]",
        ],
        BUS_KEYS,
        MACHINE,
        [
            "admin",
            None,
            None,
            "where /healthz, /readyz and /metrics are served: tcp:PORT, on loopback"
            " unless an interface is given [default: the first --listen port + 1000]",
        ],
        [
            "restart-spread",
            None,
            None,
            "seconds over which a node that a restart has replaced closes its clients"
            f" {default_of('restart-spread')}",
        ],
        *NODE_PARAMETERS,
    ]
    optFlags: ClassVar[list[list[Any]]] = [
        *NODE_FLAGS,
        [
            "spare",
            None,
            "keep one more process, which has loaded the site and takes the place of a node that"
            " ends",
        ],
        [
            "end-with-parent",
            None,
            "stop when the process that started this one ends, as at SIGTERM (with twistd -n)",
        ],
    ]

    def postOptions(self) -> None:
        self.load_settings()
        if self["nodes"] is None and self.site["NODES"] is None:
            self["nodes"] = str(min(MAX_NODES, len(os.sched_getaffinity(0))))
        self.nodes = self.number("nodes", 1, MAX_NODES)
        text, source = self.given_bus("zmq+ipc")
        has_uplink = is_uplink(text)
        bus = None if has_uplink else parse_bus(text, source)
        if self["machine"] is not None and not has_uplink:
            raise ConfigurationError(
                "--machine is for a cluster that shares a Redis with other machines:"
                " --bus redis://HOST:PORT"
            )
        # A single node needs no broker, unless other nodes are connected to it, too.
        is_alone = bus is None and not has_uplink and self.nodes == 1
        self.bus: str | None = "local" if is_alone else bus
        self.bus_keys = check_bus_keys(bus, self["bus-keys"], "node")
        self.check_site_options()
        self.restart_spread = self.seconds("restart-spread", may_be_zero=True)
        self.admin = self._admin_address()
        probe(self.admin)
        if bus is not None:
            probe_bus(bus)
        self.uplink = self._uplink(text, source) if has_uplink else None

    def _uplink(self, url: str, source: str) -> UplinkConfig:
        held = self.admin.host_port if self.admin.port else ""
        machine = self["machine"]
        config = uplink_config(url, source, machine, self.settings, self.site, held=held)
        probe_uplink(config)
        return config

    def given_node_config(self) -> dict[str, Any]:
        """Return the fields of a NodeConfig that do not depend on the node or on C10K.

        Each node reads the others from the settings when it starts: they may have changed.
        """
        config = {**self.node_config("", ""), "restart_spread": self.restart_spread}
        from_settings = {field for option, field in NODE_FIELDS.items() if not self[option]}
        left_out = {"name", "bus", *from_settings}
        return {field: value for field, value in config.items() if field not in left_out}

    def _admin_address(self) -> Address:
        first = first_port(self.listens)
        if self["admin"] is not None:
            address = parse_address(self["admin"], default_host="127.0.0.1")
            if address.scheme != "tcp":
                raise ConfigurationError("--admin is plain HTTP for this machine: write tcp:PORT")
        elif all(address.is_unix for address in self.listens):
            raise ConfigurationError(
                "choose the admin port with --admin tcp:PORT: it is the first --listen port + 1000,"
                " and a Unix socket has none"
            )
        elif first + 1000 > 65535:
            raise ConfigurationError(
                f"the default admin port, {first} + 1000, is above 65535:"
                " choose one with --admin tcp:PORT"
            )
        else:
            port = first + 1000 if first else 0
            address = parse_address(f"tcp:{port}", default_host="127.0.0.1")
        if address.port and any(address.port == other.port for other in self.listens):
            raise ConfigurationError(
                f"the admin port {address.port} is one of the --listen ports:"
                " choose another with --admin tcp:PORT"
            )
        return address


class NodeOptions(SiteOptions):
    """``twistd c10k-node``: one node, for use under another process supervisor."""

    synopsis = "[options]"
    longdesc = (
        "Runs one node in this process."
        " Give each node of a cluster its own --name and the same --bus."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        ["name", None, None, "the node's name, unique on its bus [default: HOST-PROCESS]"],
        [
            "bus",
            None,
            None,
            "what connects the nodes: local (this is the only one), or a broker that"
            " twistd c10k-broker runs: zmq+ipc (this user's), zmq+ipc:///PATH or"
            " zmq+tcp://ADDRESS:PORT [default: $C10K_BUS, C10K['BUS'], or local]",
        ],
        BUS_KEYS,
        [
            "machine",
            None,
            None,
            "the name of the broker's machine, if that broker has an --uplink [default: none, or if"
            " the site's bus is a Redis: C10K['MACHINE'], or the host name]",
        ],
        *NODE_PARAMETERS,
    ]
    optFlags: ClassVar[list[list[Any]]] = NODE_FLAGS

    def postOptions(self) -> None:
        self.check_reactor("a node", "c10k-node")
        name = self["name"]
        if name is not None and not is_machine(name):  # machines and nodes have the same rule
            raise ConfigurationError(f"--name must be {MACHINE_WORDS}, not {name!r}")
        self.load_settings()
        text, source = self.given_bus("local")
        if is_uplink(text):
            raise ConfigurationError(
                f"{source} is the engine of several machines, to which a broker connects: give this"
                " node --bus with the address of that broker (twistd c10k-broker --uplink)"
            )
        bus = "local"
        if text != "local":
            bus = parse_bus(text, source) or broker_address(os.environ, os.getuid())
        self.bus = bus
        self.bus_keys = check_bus_keys(bus, self["bus-keys"], "node")
        self.machine = self._machine()
        self.check_site_options()
        if bus != "local":
            probe_bus(bus)

    def node_config(self, name: str, bus: str) -> dict[str, Any]:
        """Return the fields of a NodeConfig."""
        return {**super().node_config(name, bus), "machine": self.machine}

    def _machine(self) -> str:
        """The name of this machine; empty if no other machine belongs to the site."""
        if self["machine"] is None and not is_uplink(bus_of(self.site, os.environ)[0]):
            return ""
        return machine_name(self["machine"], "--machine", self.site)
