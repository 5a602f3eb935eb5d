"""Handover: passes a connection to the process that has the session of its request.

Other processes are found by the names of their Unix sockets, which contain their tokens. So nobody
keeps a list of them. Where no process listens, the one that has made the session is gone, and the
request is served here: it is answered that the session is unknown, and the client starts a new one.

What is sent to a process that dies meanwhile is lost, and the kernel closes the connection.
"""

import os
import socket
from collections import Counter
from contextlib import suppress
from typing import IO, Any

from twisted.internet import unix
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper

from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.accepting.transports import Counted, CountedTunnel, CountedUnix
from cluster.net.handover.messages import MAX_INPUT, Origin, encode
from cluster.net.handover.receiver import Receiver
from cluster.net.handover.session_ids import (
    TOKEN_SIZE,
    session_id_of,
    target_of,
    token_of_this_process,
)
from cluster.net.handover.tunnel import Tunnel
from cluster.net.runtime_directory import handover_socket, handover_sockets
from cluster.net.unbuffered_output import transport_bytes

PASSED = "passed"
TUNNELLED = "tunnelled"
"""How a connection was handed over."""

GONE = "owner_gone"
BUSY = "owner_busy"
DESCRIPTORS = "descriptors"
INTERRUPTED = "interrupted"
"""Why a handover failed: the process of the session is gone, it does not accept, this process has
no descriptor left, or the connection was lost on the way."""

PASSES_DESCRIPTORS = True
"""Whether descriptors are passed. benchmarks.handover measures what pipes cost instead."""


class Handover:
    """Hands connections over, and receives those of other processes from ``start`` to ``stop``.

    Args:
        folder: The runtime folder of the cluster; empty if there are no other processes.
        reactor: The reactor of the node.
        factory: Makes the protocols of the connections that are received.
        limits: The limits of the node.
        token: The token of this process.
    """

    def __init__(
        self,
        folder: str,
        reactor: Any,
        factory: Any,
        limits: SocketLimits,
        token: str | None = None,
    ) -> None:
        self.token = token or token_of_this_process()
        self.handed_over = Counter({PASSED: 0, TUNNELLED: 0})
        """Connections that were handed over, by how."""
        self.tunnels: set[Tunnel] = set()
        self._failed = Counter({GONE: 0, BUSY: 0, DESCRIPTORS: 0, INTERRUPTED: 0})
        self._folder = folder
        self._reactor = reactor
        self._limits = limits
        self._receiver: Receiver | None = None
        if folder:
            path = handover_socket(folder, self.token)
            self._receiver = Receiver(reactor, factory, limits, path)

    @property
    def received(self) -> int:
        """Connections that other processes have passed to this one."""
        return 0 if self._receiver is None else self._receiver.received

    @property
    def failed(self) -> dict[str, int]:
        """Handovers that failed, by reason."""
        lost = 0 if self._receiver is None else self._receiver.lost
        return {**self._failed, INTERRUPTED: self._failed[INTERRUPTED] + lost}

    def start(self) -> None:
        """Receive connections."""
        if self._receiver is not None:
            for path in handover_sockets(self._folder):
                alive = _connect(path, Counter())  # removes it if its process was killed
                if alive is not None:
                    alive.close()
            self._receiver.start()

    def stop(self) -> None:
        """Receive no more, and close the tunnels."""
        if self._receiver is not None:
            self._receiver.stop()
        for tunnel in list(self.tunnels):
            tunnel.close()

    def owner_of(self, sid: str) -> str | None:
        """The Unix socket of the process that has made a session.

        Args:
            sid: The session id.

        Returns:
            Its path; None if that is this process, or if it is gone.
        """
        token = sid[:TOKEN_SIZE]
        if token == self.token or not self._folder:
            return None
        path = handover_socket(self._folder, token)
        return path if os.path.exists(path) else None

    def first_request(self, transport: Any, received: bytes) -> bool:
        """Hand a new connection over if its first request belongs to another process.

        Args:
            transport: The connection. Its protocol is called no more if it is handed over.
            received: What has been read of it: a complete header, and what follows it.

        Returns:
            Whether it is handed over. Otherwise the caller serves it.
        """
        other = self.connect(target_of(received))
        if other is not None:
            self.give(transport, other, received)
        return other is not None

    def connect(self, target: bytes) -> socket.socket | None:
        """Connect to the process that has the session of a request.

        Args:
            target: The request target.

        Returns:
            The connection, to call ``give`` with at once; None if the request is served here.
        """
        sid = session_id_of(target)
        if sid is None or sid.startswith(self.token) or not self._folder:
            return None
        other = _connect(handover_socket(self._folder, sid[:TOKEN_SIZE]), self._failed)
        if other is not None and not self._limits.fits(other.fileno()):
            self._failed[DESCRIPTORS] += 1
            other.close()
            return None
        return other

    def give(
        self,
        transport: Any,
        other: socket.socket,
        request: bytes,
        body: IO[bytes] | None = None,
        body_size: int = 0,
        rest: bytes = b"",
    ) -> None:
        """Hand a connection over. Its protocol is called no more.

        Args:
            transport: The connection, without a producer.
            other: The connection to the other process.
            request: What the client has sent, as far as it has been read.
            body: A body that follows; closed when it is sent.
            body_size: Its bytes.
            rest: What follows the body.
        """
        origin = _origin_of(transport)
        size = len(request) + body_size + len(rest)
        if size > MAX_INPUT or not _can_pass(transport):
            self._pipe(transport, other, origin, request, body, rest)
            return
        if body is not None:
            request += body.read()
            body.close()
        self._pass(transport, other, origin, request + rest)

    def _pass(self, transport: Any, other: socket.socket, origin: Origin, sent: bytes) -> None:
        message = encode(origin, True, len(sent)) + sent
        try:
            taken = socket.send_fds(other, [message], [transport.socket.fileno()])
        except OSError:
            self._failed[INTERRUPTED] += 1
            other.close()
            transport.abortConnection()
            return
        transport.detach().close()
        self.handed_over[PASSED] += 1
        if taken == len(message):
            other.close()
        else:  # the administrator has set small buffers
            self._send_rest(other, message[taken:])

    def _send_rest(self, other: socket.socket, rest: bytes) -> None:
        protocol = Protocol()
        transport: Any = unix.Server(other, protocol, None, None, 0, self._reactor)
        protocol.makeConnection(transport)
        transport.write(rest)
        transport.loseConnection()

    def _pipe(
        self,
        transport: Any,
        other: socket.socket,
        origin: Origin,
        request: bytes,
        body: IO[bytes] | None,
        rest: bytes,
    ) -> None:
        if origin.server is None:
            server = transport.getHost()
            origin = origin._replace(server=(server.host, server.port))
        tunnel = Tunnel(transport, other, self._reactor, self.tunnels.discard)
        self.tunnels.add(tunnel)
        self.handed_over[TUNNELLED] += 1
        tunnel.start(encode(origin, False) + request, body, rest)


def _connect(path: str, failed: "Counter[str]") -> socket.socket | None:
    """Connect to a process; None if that is not possible, and the reason is counted."""
    try:
        other = socket.socket(socket.AF_UNIX)
    except OSError:
        failed[DESCRIPTORS] += 1
        return None
    other.setblocking(False)
    try:
        other.connect(path)
    except OSError as error:
        other.close()
        is_busy = isinstance(error, BlockingIOError)
        failed[BUSY if is_busy else GONE] += 1
        if isinstance(error, ConnectionRefusedError):  # its process was killed
            with suppress(OSError):
                os.unlink(path)
        return None
    return other


def _origin_of(transport: Any) -> Origin:
    is_secure = False
    while isinstance(transport, ProtocolWrapper):
        transport, is_secure = transport.transport, True
    if isinstance(transport, CountedTunnel):
        return Origin(transport.peer, transport.server_address, transport.is_secure)
    return Origin(None if isinstance(transport, CountedUnix) else transport.client, None, is_secure)


def _can_pass(transport: Any) -> bool:
    """Whether the descriptor of a connection can be passed: its bytes are plain, and the last
    response is sent."""
    return PASSES_DESCRIPTORS and isinstance(transport, Counted) and not transport_bytes(transport)
