"""The port of a listening socket: accepts connections within the limits of the node.

Twisted's own port closes connections without an answer when the process has no descriptors left.
This one asks SocketLimits before it makes a protocol, answers refused clients with 503, and counts
each socket until it is closed. When the kernel has no descriptor for a new connection, the port
closes a spare one, accepts with it, and answers.
"""

import errno
import os
import socket
from contextlib import suppress
from typing import Any

from twisted.internet import address
from twisted.internet.abstract import FileDescriptor

from cluster.net.accepting.accepted import AcceptedConnections
from cluster.net.accepting.socket_limits import DESCRIPTORS, SocketLimits
from cluster.net.accepting.transports import CountedTCP, CountedUnix

ACCEPTS_PER_TURN = 100
"""Connections that are accepted in one turn of the event loop; further ones wait for the next."""

ACCEPTS_OF_SHARED = 4
"""The same for a Unix socket, whose queue the nodes share: the others should have a part of it."""

PAUSE_S = 0.1
"""Seconds until a port without any descriptor tries to accept again."""

_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Port(AcceptedConnections, FileDescriptor):
    """Accepts the connections of one listening socket from ``startListening`` on.

    Args:
        reactor: The reactor of the node.
        listening: The socket. The port closes it.
        factory: Makes the protocols.
        limits: The limits of the node, which its ports share.
        tls: The factory of TLS contexts; None for plain connections.
    """

    def __init__(
        self,
        reactor: Any,
        listening: socket.socket,
        factory: Any,
        limits: SocketLimits,
        tls: Any = None,
    ) -> None:
        FileDescriptor.__init__(self, reactor)
        AcceptedConnections.__init__(self, reactor, factory, limits, tls)
        self.socket = listening
        listening.setblocking(False)
        name = listening.getsockname()
        is_unix = listening.family == socket.AF_UNIX
        self._realPortNumber = name if is_unix else name[1]
        self._accepts = ACCEPTS_OF_SHARED if is_unix else ACCEPTS_PER_TURN
        self._spare: int | None = None
        self._pause: Any = None

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        prefix: str = self.factory.logPrefix()
        return prefix

    def startListening(self) -> None:
        """Start to accept."""
        self.start_protocols()
        self._keep_spare()
        self.connected = 1
        self.startReading()

    def stopListening(self) -> None:
        """Accept no more, and close the descriptor. Open connections stay open."""
        if not self.connected:
            return
        self.stopReading()
        self.connected = 0
        self.socket.close()
        self._release_spare()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self.stop_protocols()

    def connectionLost(self, reason: Any) -> None:
        """Called by a reactor that stops."""
        self.stopListening()

    def doRead(self) -> None:
        """Accept what waits in the kernel's queue."""
        for _ in range(self._accepts):
            try:
                sock, peer = self.socket.accept()
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR:
                    self._refuse_without_descriptor()
                    return
                if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                    return
                continue  # the client has left, or the firewall has refused it (accept(2))
            try:
                self._accepted(sock, peer)
            except Exception:
                self.log.failure("cannot serve a new connection")
                sock.close()
            if not self.connected:
                return  # a protocol stopped the port

    def _accepted(self, sock: socket.socket, peer: Any) -> None:
        where: Any
        kind: Any = CountedTCP
        if sock.family == socket.AF_UNIX:
            host, where, kind, peer = "", address.UNIXAddress(None), CountedUnix, None
        elif len(peer) == 4:
            if peer[3]:  # a link-local address, which is incomplete without its scope
                host = socket.getnameinfo(peer, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
                peer = (host, *peer[1:])
            host, where = peer[0], address.IPv6Address("TCP", *peer)
        else:
            host, where = peer[0], address.IPv4Address("TCP", *peer)
        self.serve(sock, kind, peer, host, where)

    def _refuse_without_descriptor(self) -> None:
        """The process, or the machine, has no descriptor left, not even of the reserve."""
        answered = 0
        self._release_spare()
        try:
            while answered < ACCEPTS_PER_TURN:
                sock, peer = self.socket.accept()
                answered += 1
                self.limits.refuse_without_descriptor()
                self.answer_and_close(sock)
                self.report_refusal(DESCRIPTORS, peer[0] if peer else "")
        except OSError:
            pass  # no more clients wait, or another thread has taken the descriptor
        self._keep_spare()
        if not answered:
            # The socket stays readable, and the event loop would call doRead in each turn.
            self.stopReading()
            self._pause = self.reactor.callLater(PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._keep_spare()
        self.startReading()

    def _keep_spare(self) -> None:
        if self._spare is None:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _release_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
