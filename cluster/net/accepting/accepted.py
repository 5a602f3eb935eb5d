"""Serves accepted connections: makes their protocols and transports, within the limits of the node.

Ports accept connections themselves; the receiver of cluster.net.handover takes them from other
processes.
"""

import socket
from contextlib import suppress
from typing import Any

from twisted.internet import tcp, unix
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from cluster.logs.rate_limit import LimitedLog
from cluster.net.accepting.refused import RESPONSE, RefusedConnections
from cluster.net.accepting.socket_limits import SocketLimits


class AcceptedConnections:
    """A source of connections. Subclasses call ``serve`` for each, and the methods that start and
    stop the protocols.

    Args:
        reactor: The reactor of the node.
        factory: Makes the protocols.
        limits: The limits of the node, which all sources share.
        tls: The factory of TLS contexts; None for plain connections.
    """

    log = Logger()
    sessionno = 0
    reactor: Any
    _realPortNumber: Any  # Twisted's transports show it

    def __init__(self, reactor: Any, factory: Any, limits: SocketLimits, tls: Any = None) -> None:
        self.reactor = reactor
        self.limits = limits
        self.factory = factory
        self._refused = RefusedConnections(reactor)
        self._refusing: Any = self._refused
        self._is_plain = tls is None
        if tls is not None:
            self.factory = TLSMemoryBIOFactory(tls, False, factory)
            self._refusing = TLSMemoryBIOFactory(tls, False, self._refused)
        self._log_refused = LimitedLog(self.log.warn, "refused connections", reactor)

    def start_protocols(self) -> None:
        """Call it before the first connection."""
        self.factory.doStart()
        self._refusing.doStart()

    def stop_protocols(self) -> None:
        """Call it when no more connections come."""
        self._log_refused.stop()
        self.factory.doStop()
        self._refusing.doStop()

    def serve(
        self,
        sock: socket.socket,
        kind: Any,
        peer: Any,
        host: str,
        where: Any,
        received: bytes = b"",
    ) -> None:
        """Serve a connection, or refuse it if there is no room.

        Args:
            sock: The socket.
            kind: The class of its transport (transports.py), or a function with its arguments.
            peer: The client's address for this class.
            host: The address that counts; empty for a Unix socket.
            where: The address as an object of Twisted.
            received: What has been read from the client.

        Raises:
            Exception: Its protocol cannot be made; the caller closes the socket.
        """
        reason = self.limits.admit(host, sock.fileno())
        if reason is not None:
            self._refuse(sock, peer, where, host, reason, received)
            return
        try:
            protocol = self.factory.buildProtocol(where)
            self.sessionno += 1
            transport = kind(sock, protocol, peer, self, self.sessionno, self.reactor)
        except Exception:
            self.limits.left(host)
            raise
        self._connect(protocol, transport, received)

    def _connect(self, protocol: Any, transport: Any, received: bytes) -> None:
        try:
            protocol.makeConnection(transport)
            if received:
                protocol.dataReceived(received)
        except Exception:
            # The reactor reads the socket already, so its transport has to close it.
            self.log.failure("cannot serve a new connection")
            transport.abortConnection()

    def _refuse(
        self, sock: socket.socket, peer: Any, where: Any, host: str, reason: str, received: bytes
    ) -> None:
        self.report_refusal(reason, host)
        if not self._refused.has_room():
            self.answer_and_close(sock)
            return
        protocol = self._refusing.buildProtocol(where)
        kind: Any = unix.Server if sock.family == socket.AF_UNIX else tcp.Server
        self.sessionno += 1
        transport = kind(sock, protocol, peer, self, self.sessionno, self.reactor)
        self._connect(protocol, transport, received)

    def answer_and_close(self, sock: socket.socket) -> None:
        """Refuse a connection without waiting for its request."""
        if self._is_plain:
            with suppress(OSError):
                sock.setblocking(False)
                sock.send(RESPONSE)
                sock.shutdown(socket.SHUT_WR)
                # Unread bytes would make the kernel reset the connection instead of closing it.
                sock.recv(1 << 16)
        sock.close()

    def report_refusal(self, reason: str, host: str) -> None:
        """Log that a connection was refused.

        Args:
            reason: The limit.
            host: The client's address; empty for a Unix socket.
        """
        text = "refused a connection of {host} because of the limit {reason!r}"
        self._log_refused(reason, text, host=host or "a Unix socket", reason=reason)
