"""The configuration of a node, which the supervisor sends or the command line sets."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The configuration of one node.

    Attributes:
        name: The node's name, unique on its bus.
        settings: The Django settings module.
        bus: "local" for the only node, otherwise the ZeroMQ endpoint of the broker.
        bus_keys: Folder with the keys for a broker on tcp; empty for others.
        ping_interval: Seconds between pings to a WebSocket client.
        ping_timeout: Seconds that a client has to answer a ping.
        max_message_size: Bytes of the largest message that a client may send.
        drain_timeout: Seconds that views, handlers and closing connections have when the node
            stops.
        proxy_headers: Whether to trust X-Forwarded-For and X-Forwarded-Proto.
        access_log: Whether to log every HTTP request.
        publish_socket: Path of the Unix socket for external publishers; empty for none.
    """

    name: str
    settings: str
    bus: str = "local"
    bus_keys: str = ""
    ping_interval: float = 20.0
    ping_timeout: float = 30.0
    max_message_size: int = 1 << 20
    drain_timeout: float = 10.0
    proxy_headers: bool = False
    access_log: bool = False
    publish_socket: str = ""


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A bound socket, which may be listening already; the node closes its descriptor.

    Attributes:
        fd: The descriptor.
        family: The address family, such as socket.AF_INET.
        endpoint: The Twisted endpoint that it was opened for, such as "ssl:8443:…".
    """

    fd: int
    family: int
    endpoint: str
