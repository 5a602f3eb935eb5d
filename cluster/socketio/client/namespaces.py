"""ClientNamespaces: connects a client to namespaces, and disconnects it."""

from typing import Any

from django.core.exceptions import PermissionDenied
from twisted.logger import Logger

from cluster.core.exceptions import Disconnected
from cluster.socketio.bus.addresses import new_socket_id
from cluster.socketio.bus.emits import connect_error_packet, connect_packet, disconnect_packet
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.client.handler_runs import LOGGER, HandlerRuns
from cluster.socketio.client.tasks import run, task_ends
from cluster.socketio.engine.client import EngineClient
from cluster.socketio.exceptions import ConnectionRefused
from cluster.socketio.handlers import Handler, given
from cluster.socketio.interfaces import AnyNamespace, AnyServer
from cluster.socketio.recovery.receivers import ForwardedWithoutLog
from cluster.socketio.recovery.replay import replay
from cluster.socketio.recovery.session import taken_from
from cluster.socketio.sockets.held_packets import GONE
from cluster.socketio.sockets.socket import Socket

PARSE_ERROR = "parse error"
FORCED_CLOSE = "forced close"

RECOVERABLE = frozenset(
    {"transport error", "transport close", "forced close", "ping timeout", "server shutting down"}
)
"""Reasons after which a client may come back, as in the reference server."""

UNKNOWN_NAMESPACE = {"message": "Invalid namespace"}
TOO_MANY_NAMESPACES = {"message": "Too many namespaces"}
REJECTED = {"message": "Connection rejected by server"}
FAILED = {"message": "Internal server error"}

_log = Logger(LOGGER)


class ClientNamespaces(HandlerRuns):
    """The namespaces of a client.

    Attributes:
        sockets: Its sockets by the names of their namespaces.
    """

    __slots__ = ("_close_reason", "_left", "sockets")

    def __init__(self, server: AnyServer, link: NodeLink, engine: EngineClient) -> None:
        super().__init__(server, link, engine)
        self.sockets: dict[str, Socket] = {}
        self._left: set[str] | None = None  # namespaces that the server has ended
        self._close_reason: str | None = None

    def _invalid(self, why: str) -> None:
        self.link.count("socketio_invalid", f"it is invalid: {why}")
        self.engine.close(PARSE_ERROR)

    # Connect.

    def _connect(self, namespace: str, auth: Any) -> None:
        space = self.server.namespaces.get(namespace)
        if namespace in self.sockets:
            self._invalid("the client is connected to the namespace already")
        elif space is None:
            self.engine.send(connect_error_packet(namespace, UNKNOWN_NAMESPACE))
        elif len(self.sockets) >= self.server.limits.namespaces:
            self.link.count("socketio_namespaces", "a client is in too many namespaces")
            self.engine.send(connect_error_packet(namespace, TOO_MANY_NAMESPACES))
        else:
            pid = offset = None
            if self.link.recovery is not None:
                auth, pid, offset = taken_from(auth)
            socket = Socket(new_socket_id(self.link.token), space, self, self.link, auth)
            self.sockets[namespace] = socket
            if self._left is not None:
                self._left.discard(namespace)
            if self.link.recovery is not None:
                run(self._continue_or_begin(socket, space, pid, offset), self.link.loop)
                return
            if not space.all_checks and space.handlers.connect is None:
                self.link.local[namespace].add(socket, socket.receiver)
                if self.link.topics.not_in_force is None:
                    self._accept(socket)
                    return
            run(self._admit(socket, space), self.link.loop)

    async def _continue_or_begin(
        self, socket: Socket, space: AnyNamespace, pid: str | None, offset: Any
    ) -> None:
        try:
            await self._admit_with_recovery(socket, space, pid, offset)
        finally:
            task_ends(self.link.loop)

    async def _admit_with_recovery(
        self, socket: Socket, space: AnyNamespace, pid: str | None, offset: Any
    ) -> None:
        """Continue the session that the client names, or begin one; then send what it missed."""
        recovery = self.link.recovery
        assert recovery is not None
        try:
            is_found = await recovery.find(socket, pid, offset)
        except Exception:
            _log.failure("finding the session of a Socket.IO client")
            is_found = False
        if not is_found:
            self.engine.close(FORCED_CLOSE)  # the client tries again
            return
        if self._close_reason is not None:
            socket.gone(socket.recovered)
            return
        await self._decide(socket, space)
        if socket.connected:
            log = recovery.logs[space.path]
            if not await replay(socket, self.engine, log, self.server.low_water):
                self.link.count("socketio_replay", "a client was too slow for what it had missed")
                self.engine.close(FORCED_CLOSE)

    async def _admit(self, socket: Socket, space: AnyNamespace) -> None:
        try:
            await self._decide(socket, space)
        finally:
            task_ends(self.link.loop)

    async def _decide(self, socket: Socket, space: AnyNamespace) -> None:
        """Ask the checks and ``on_connect`` of a namespace, and answer the client."""
        content: Any = None
        handler: Handler | None = None
        try:
            for handler in space.all_checks:
                result = await self._ask(handler, given(handler, socket, socket.auth))
                if result is False:
                    raise ConnectionRefused(REJECTED["message"])
            if self._close_reason is None:
                socket.add()
            handler = space.handlers.connect
            if handler is not None:
                result = await self._ask(handler, (socket, *given(handler, socket.auth)))
                if result is False:
                    raise ConnectionRefused(REJECTED["message"])
            await socket.connecting()
        except ConnectionRefused as refused:
            content = refused.content
        except PermissionDenied as denied:
            content = {"message": str(denied) or "Forbidden"}
        except Exception as error:
            content = FAILED
            if handler is not None and not isinstance(error, Disconnected):
                self.log_failure("accepting a Socket.IO client", handler, socket)
        if content is not None:
            self._refuse(socket, content)
        elif self._close_reason is not None:
            self._end(socket, self._close_reason)  # its on_connect has accepted it
        elif socket.receiver is GONE:  # on_connect has disconnected it
            self._refuse(socket, REJECTED)
        else:
            self._accept(socket)

    def _accept(self, socket: Socket) -> None:
        self.server.no_deadline(self)
        path, session = socket.namespace.path, socket.recovery_session
        if session is None:
            socket.connect(self.engine, connect_packet(path, socket.id))
        else:
            first = connect_packet(path, socket.id, session.pid)
            socket.connect(ForwardedWithoutLog(self.engine), first)

    def _refuse(self, socket: Socket, content: Any) -> None:
        socket.gone()
        namespace = socket.namespace.path
        if self.sockets.get(namespace) is socket:
            del self.sockets[namespace]
        try:
            packet = connect_error_packet(namespace, content)
        except (TypeError, ValueError):
            _log.failure("the data of a refused Socket.IO client is not JSON")
            packet = connect_error_packet(namespace, {"message": content["message"]})
        self.engine.send(packet)

    # Disconnect.

    def disconnect(self, socket: Socket, close: bool, reason: str) -> None:
        """Disconnect the client from the namespace of a socket, or close it."""
        namespace = socket.namespace.path
        if self.sockets.get(namespace) is socket:
            if socket.connected:
                self.engine.send(disconnect_packet(namespace))
                del self.sockets[namespace]
                self._left = {*(self._left or ()), namespace}
                self._end(socket, reason)
            else:
                socket.gone()
        if close:
            self.engine.close(FORCED_CLOSE)

    def _closing(self) -> None:
        for namespace, socket in self.sockets.items():
            if socket.connected:
                self.engine.send(disconnect_packet(namespace))
            if self.link.recovery is not None:
                self.link.recovery.ended(socket, False)

    def closed(self, reason: str) -> None:
        """The session has ended."""
        self._close_reason = reason
        self.server.no_deadline(self)
        sockets, self.sockets = self.sockets, {}
        self._waiting = None
        for socket in sockets.values():
            can_recover = reason in RECOVERABLE
            if socket.connected:
                self._end(socket, reason, can_recover)
            else:
                socket.gone(can_recover and socket.recovered)

    def _end(self, socket: Socket, reason: str, can_recover: bool = False) -> None:
        """The socket is not connected any more."""
        socket.gone(can_recover)
        self._run_disconnect(socket, reason)
