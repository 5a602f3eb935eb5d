"""Takes the connections that other processes pass to this one (messages.py has the format).

A connection that is received is served as one that a port has accepted: it counts for the limits of
this node, with the address of its client, and its first request is what the other process has read.
"""

import errno
import os
import socket
import struct
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.abstract import FileDescriptor

from cluster.core.exceptions import WireError
from cluster.net.accepting.accepted import AcceptedConnections
from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.accepting.transports import CountedTCP, CountedTunnel, CountedUnix, address_of
from cluster.net.handover.messages import Head, Origin, decode
from cluster.net.runtime_watch import SocketFileWatch

ACCEPTS_PER_TURN = 50
"""Connections that are received in one turn of the event loop."""

READ_SIZE = 65536

TIMEOUT_S = 10.0
"""Seconds that a process has to send a connection, which usually arrives at once."""

PAUSE_S = 0.1
"""Seconds until the receiver tries again if this process has no descriptor left."""

BACKLOG = 1024
"""Connections that wait while the event loop is busy."""

_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): process, user, group


class Receiver(AcceptedConnections, FileDescriptor):
    """Receives connections from ``start`` to ``stop``.

    Args:
        reactor: The reactor of the node.
        factory: Makes the protocols, as for a port.
        limits: The limits of the node.
        path: Path of the Unix socket.
    """

    def __init__(self, reactor: Any, factory: Any, limits: SocketLimits, path: str) -> None:
        FileDescriptor.__init__(self, reactor)
        AcceptedConnections.__init__(self, reactor, factory, limits)
        self._realPortNumber = self.path = path
        self.received = 0
        """Connections that other processes have passed to this one."""
        self.lost = 0
        """Connections that did not arrive whole."""
        self.arrivals: set[_Arrival] = set()
        self._listening: socket.socket | None = None
        self._is_started = False
        self._pause: Any = None
        self._watch = SocketFileWatch(path, self._listen_again, reactor)

    def start(self) -> None:
        """Listen. Replaces the file that a killed process has left.

        Raises:
            OSError: The socket cannot be made.
        """
        self._listen()
        self._is_started = True
        self.start_protocols()
        self._watch.start()

    def stop(self) -> None:
        """Receive no more. Connections that have been received stay open."""
        if not self._is_started:
            return
        self._is_started = False
        self._watch.stop()
        self._close()
        with suppress(OSError):
            os.unlink(self.path)
        for arrival in list(self.arrivals):
            arrival.give_up()
        self.stop_protocols()

    def _listen(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        listening = socket.socket(socket.AF_UNIX)
        listening.setblocking(False)
        before = os.umask(0o177)
        try:
            listening.bind(self.path)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        finally:
            os.umask(before)
        self._listening = listening
        self.connected = 1
        self.startReading()

    def _listen_again(self) -> None:
        self._close()
        self._listen()

    def _close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self.stopReading()
        self.connected = 0
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def fileno(self) -> int:
        return -1 if self._listening is None else self._listening.fileno()

    def logPrefix(self) -> str:
        return "handover"

    def connectionLost(self, reason: Any) -> None:
        """Called by a reactor that stops."""
        self.stop()

    def doRead(self) -> None:
        """Called by the reactor: receive the connections that wait."""
        for _ in range(ACCEPTS_PER_TURN):
            if self._listening is None:
                return  # a protocol has stopped the node
            try:
                sock, _peer = self._listening.accept()
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR:
                    self.stopReading()
                    self._pause = self.reactor.callLater(PAUSE_S, self._resume)
                return
            if _is_of_this_user(sock):
                sock.setblocking(False)
                _Arrival(sock, self).begin()
            else:
                sock.close()

    def _resume(self) -> None:
        self._pause = None
        self.startReading()

    def arrived(self, sock: socket.socket, origin: Origin, received: bytes) -> None:
        """Serve a connection.

        Args:
            sock: Its socket, or the other end of its tunnel.
            origin: Where it comes from.
            received: What its client has sent.
        """
        self.received += 1
        peer = origin.peer
        kind: Any = CountedTCP if peer else CountedUnix
        if origin.server is not None:
            kind = partial(_tunnel, origin)
        host = peer[0] if peer else ""
        try:
            self.serve(sock, kind, peer, host, address_of(peer), received)
        except Exception:
            self.log.failure("cannot serve a connection of another process")
            sock.close()


def _tunnel(origin: Origin, *args: Any) -> CountedTunnel:
    tunnel = CountedTunnel(*args)
    tunnel.is_secure, tunnel.server_address = origin.is_secure, origin.server
    return tunnel


def _is_of_this_user(sock: socket.socket) -> bool:
    """Whether the process at the other end is of the same user: the folder may be shared by
    mistake."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(found)[1]
    return user == os.geteuid()


class _Arrival(FileDescriptor):
    """One connection that another process is sending."""

    def __init__(self, sock: socket.socket, receiver: Receiver) -> None:
        super().__init__(receiver.reactor)
        self._socket = sock
        self._receiver = receiver
        self._received = bytearray()
        self._descriptor = -1
        self._timeout: Any = None

    def begin(self) -> None:
        """Read what has been sent already, and wait for the rest."""
        self.connected = 1
        self._receiver.arrivals.add(self)
        self.doRead()
        if self.connected:
            self.startReading()
            self._timeout = self._receiver.reactor.callLater(TIMEOUT_S, self.give_up)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "handover"

    def connectionLost(self, reason: Any) -> None:
        """Called by a reactor that stops."""
        self.give_up()

    def doRead(self) -> None:
        """Called by the reactor: read all that there is, until the connection is complete."""
        while self.connected:
            try:
                data, extra, flags, _ = self._socket.recvmsg(
                    READ_SIZE, socket.CMSG_LEN(4), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError:
                data, extra, flags = b"", [], 0
            for _level, _type, content in extra:
                self._drop_descriptor()
                (self._descriptor,) = struct.unpack("i", content)
            self._received += data
            try:
                head = decode(self._received)
            except WireError as error:
                self._receiver.log.warn("refused a connection: {error}", error=error)
                self.give_up()
                return
            if head is not None and not head.is_passed:
                self._finish(head, self._socket)
            elif head is not None and len(self._received) >= head.end and self._descriptor >= 0:
                self._socket.close()
                self._finish(head, self._take_descriptor(head.origin))
            elif not data or flags & socket.MSG_CTRUNC:
                self.give_up()  # the sender has died, or this process has no descriptor left

    def _take_descriptor(self, origin: Origin) -> socket.socket:
        descriptor, self._descriptor = self._descriptor, -1
        family = socket.AF_UNIX
        if origin.peer is not None and origin.server is None:
            family = socket.AF_INET if len(origin.peer) == 2 else socket.AF_INET6
        return socket.socket(family, socket.SOCK_STREAM, 0, descriptor)

    def _finish(self, head: Head, sock: socket.socket) -> None:
        self._leave()
        end = head.end if head.is_passed else None
        self._receiver.arrived(sock, head.origin, bytes(self._received[head.begin : end]))

    def give_up(self) -> None:
        """Close all; so the client's connection ends."""
        if self.connected:
            if self._received:  # otherwise a process has only looked whether this one is alive
                self._receiver.lost += 1
            self._leave()
            self._socket.close()

    def _leave(self) -> None:
        self.stopReading()
        self.connected = 0
        self._drop_descriptor()
        self._receiver.arrivals.discard(self)
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()

    def _drop_descriptor(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
