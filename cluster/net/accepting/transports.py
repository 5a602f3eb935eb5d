"""The transports of accepted connections. They are counted until they are closed or passed on."""

import socket
from typing import Any

from twisted.internet import address, tcp, unix


class Counted:
    """What the transports have in common: the bases of a class come after it."""

    server: Any  # the AcceptedConnections

    def connectionLost(self, reason: Any) -> None:
        if hasattr(self, "socket"):  # Twisted may call this method twice
            self.server.limits.left(self.counted_host())
        super().connectionLost(reason)  # type: ignore[misc]

    def counted_host(self) -> str:
        """The address that the connection counts for; empty for a Unix socket."""
        raise NotImplementedError

    def detach(self) -> socket.socket:
        """Give up the connection without closing it, because another process continues it.

        The protocol receives no connectionLost, and nothing is read or written any more.

        Returns:
            The socket, which the caller closes, without shutdown(2).
        """
        this: Any = self
        this.stopReading()
        this.stopWriting()
        this.server.limits.left(self.counted_host())
        detached: socket.socket = this.socket
        this.connected, this.disconnected = 0, 1
        this.producer = None
        del this.protocol, this.socket, this.fileno  # as in Twisted's connectionLost
        return detached


class CountedTCP(Counted, tcp.Server):
    """A TCP connection."""

    def counted_host(self) -> str:
        return str(self.hostname)


class CountedUnix(Counted, unix.Server):
    """A connection through a Unix socket."""

    def counted_host(self) -> str:
        return ""

    def getHost(self) -> Any:
        """A TCP address: nobody needs the path, and WSGI needs a port."""
        return address.IPv4Address("TCP", "127.0.0.1", 80)


class CountedTunnel(Counted, unix.Server):
    """A connection whose client is connected to another process, which pipes its bytes.

    Args:
        sock: The connection to the other process.
        protocol: The protocol of the connection.
        client: The client's address, as in an Origin.
        server: The AcceptedConnections.
        sessionno: The number of the connection.
        reactor: The reactor.
    """

    is_secure = False
    """Whether the client uses TLS."""
    server_address: tuple[str, int] | None = None
    """The address to which the client has connected."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: Any,
        client: tuple[Any, ...] | None,
        server: Any,
        sessionno: int,
        reactor: Any,
    ) -> None:
        self.peer = client
        super().__init__(sock, protocol, self.counted_host() or None, server, sessionno, reactor)

    def counted_host(self) -> str:
        return self.peer[0] if self.peer else ""

    def getPeer(self) -> Any:
        return address_of(self.peer)

    def getHost(self) -> Any:
        host, port = self.server_address or ("127.0.0.1", 443 if self.is_secure else 80)
        kind = address.IPv6Address if ":" in host else address.IPv4Address
        return kind("TCP", host, port)


def address_of(peer: tuple[Any, ...] | None) -> Any:
    """Twisted's object for the address of a client; None stands for a Unix socket."""
    if peer is None:
        return address.UNIXAddress(None)
    kind = address.IPv6Address if len(peer) == 4 else address.IPv4Address
    return kind("TCP", *peer)
