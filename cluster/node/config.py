"""The configuration of a node, which the supervisor sends or the command line sets, and of its
HTTP side, which comes from the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The configuration of one node.

    Attributes:
        name: The node's name, unique on its bus.
        settings: The Django settings module.
        bus: "local" for the only node, otherwise the ZeroMQ endpoint of the broker.
        machine: The name of this machine, with which the node's name on the bus ends, if other
            machines belong to the site; empty for a site on one machine.
        bus_keys: Folder with the keys for a broker on tcp; empty for others.
        ping_interval: Seconds between pings to a WebSocket client.
        ping_timeout: Seconds that a client has to answer a ping.
        max_message_size: Bytes of the largest message that a client may send.
        drain_timeout: Seconds that views, handlers and closing connections have when the node
            stops.
        restart_spread: Seconds over which the node closes its clients before that, if its
            replacement serves already.
        proxy_headers: The proxies whose X-Forwarded-For and X-Forwarded-Proto count: addresses,
            networks, and "unix:".
        access_log: Whether to log every HTTP request, feed and WebSocket.
        asgi: The ASGI application of the site, MODULE:NAME; empty for the one of the settings.
        publish_socket: Path of the Unix socket for external publishers; empty for none.
        handover_folder: The folder with the Unix sockets through which the processes of the cluster
            hand connections over; empty for a node without others.
    """

    name: str
    settings: str
    bus: str = "local"
    machine: str = ""
    bus_keys: str = ""
    ping_interval: float = 20.0
    ping_timeout: float = 30.0
    max_message_size: int = 1 << 20
    drain_timeout: float = 10.0
    restart_spread: float = 10.0
    proxy_headers: Sequence[str] = ()
    access_log: bool = False
    asgi: str = ""
    publish_socket: str = ""
    handover_folder: str = ""

    def with_machine(self, name: str) -> str:
        """A name of this node, followed by that of its machine if there are several."""
        return f"{name}@{self.machine}" if self.machine else name


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a client may do with HTTP requests.

    Attributes:
        max_body: Bytes of the largest request body.
        max_bodies: Bytes of all bodies together that the node holds.
        body_timeout: Seconds that a client may take for a body.
        body_rate: Bytes of a body that a client must send each second, on average.
        header_timeout: Seconds that a client may take for the header of a request.
    """

    max_body: int = 10 << 20
    max_bodies: int = 128 << 20
    body_timeout: float = 300.0
    body_rate: float = 1000.0
    header_timeout: float = 10.0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "HttpLimits":
        """The limits of a site.

        Args:
            settings: The C10K setting with its defaults.
        """
        return cls(
            max_body=settings["MAX_REQUEST_BODY"],
            max_bodies=settings["MAX_REQUEST_BODIES"],
            body_timeout=settings["REQUEST_BODY_TIMEOUT"],
            body_rate=settings["REQUEST_BODY_RATE"],
            header_timeout=settings["HANDSHAKE_TIMEOUT"],
        )


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A bound socket, which may be listening already; the node closes its descriptor.

    Attributes:
        fd: The descriptor.
        family: The address family, such as socket.AF_INET.
        endpoint: The Twisted endpoint that it was opened for, such as "ssl:8443:…".
        certificate: For ssl: what net.tls.read_certificate has returned; empty: the node reads the
            files.
    """

    fd: int
    family: int
    endpoint: str
    certificate: str = ""
