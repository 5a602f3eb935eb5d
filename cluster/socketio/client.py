"""Client: the sockets of one Engine.IO session, and the handlers that run for it.

Handlers are started in the order in which events arrive, and run at the same time: coroutines in
the event loop, plain functions in database threads. When too many run, further events wait and
nothing is read from the client. A handler that waits for an acknowledgement of the client does not
count, because it ends only with what the client sends.
"""

import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from twisted.logger import Logger

from cluster.core.exceptions import Disconnected
from cluster.core.socketio.engine_packets import InvalidPacket
from cluster.core.socketio.packets import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    DISCONNECT,
    EVENT,
    decode,
)
from cluster.core.socketio.reassembly import Reassembly
from cluster.django.api.database_threads import ain_database
from cluster.socketio.bus.addresses import new_socket_id
from cluster.socketio.bus.emits import connect_error_packet, connect_packet, disconnect_packet
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.engine.client import EngineClient
from cluster.socketio.exceptions import ConnectionRefused
from cluster.socketio.handlers import Handler, given
from cluster.socketio.held_packets import GONE
from cluster.socketio.interfaces import AnyNamespace, AnyServer
from cluster.socketio.recovery.receivers import ForwardedWithoutLog
from cluster.socketio.recovery.replay import replay
from cluster.socketio.recovery.session import taken_from
from cluster.socketio.socket import CLIENT_DISCONNECT, Socket

LOGGER = "django.request.socketio"
"""The logger of errors in handlers."""

PARSE_ERROR = "parse error"
FORCED_CLOSE = "forced close"

RECOVERABLE = frozenset(
    {"transport error", "transport close", "forced close", "ping timeout", "server shutting down"}
)
"""Reasons after which a client may come back, as in the reference server."""

INTERNAL_ERROR = 500

UNKNOWN_NAMESPACE = {"message": "Invalid namespace"}
TOO_MANY_NAMESPACES = {"message": "Too many namespaces"}
REJECTED = {"message": "Connection rejected by server"}
FAILED = {"message": "Internal server error"}

_log = Logger(LOGGER)

failure_observers: list[Callable[[BaseException], None]] = []
"""Called with each exception of a handler; for tests."""

_EVENTS = (EVENT, BINARY_EVENT)
_ACKS = (ACK, BINARY_ACK)

Call = tuple[Socket, Handler, Sequence[Any], int | None]
"""A handler's call that waits: the socket, the handler, arguments, the id of the event."""


class Client:
    """The sockets of a session.

    Args:
        server: The server.
        link: The server on this node.
        engine: The session.
    """

    __slots__ = (
        "_close_reason",
        "_is_starting",
        "_left",
        "_reassembly",
        "_running",
        "_waiting",
        "engine",
        "link",
        "server",
        "sockets",
    )

    def __init__(self, server: AnyServer, link: NodeLink, engine: EngineClient) -> None:
        self.server = server
        self.link = link
        self.engine = engine
        self.sockets: dict[str, Socket] = {}
        self._reassembly: Reassembly | None = None
        self._left: set[str] | None = None  # namespaces that the server has ended
        self._running = 0
        self._is_starting = False
        self._waiting: deque[Call] | None = None
        self._close_reason: str | None = None
        engine.on_message = self.receive
        engine.on_close = self.closed
        engine.on_closing = self._closing

    @property
    def address(self) -> str:
        """The address of the client."""
        return self.engine.address

    def is_full(self) -> bool:
        """Whether the client does not read fast enough."""
        return self.engine.queued_bytes > self.server.low_water

    # What the client sends.

    def receive(self, payload: bytes, is_binary: bool) -> None:
        """A message of the client."""
        limits = self.server.limits
        reassembly = self._reassembly
        try:
            if is_binary or reassembly is not None:
                if reassembly is None:
                    raise InvalidPacket("binary data that no packet has announced")
                packet = (
                    reassembly.attachment(payload)
                    if is_binary
                    else reassembly.add(decode(payload, limits.packets))
                )
                if packet is None:
                    return
                self._reassembly = None
            else:
                packet = decode(payload, limits.packets)
                if packet.attachments:
                    self._reassembly = reassembly = Reassembly(limits.packets)
                    packet = reassembly.add(packet)
                    if packet is None:
                        return
                    self._reassembly = None
        except InvalidPacket as error:
            self._invalid(str(error))
            return
        kind, namespace, data, id, _ = packet
        socket = self.sockets.get(namespace)
        if kind == CONNECT:
            self._connect(namespace, data)
        elif socket is None or not socket.connected:
            if self._left is None or namespace not in self._left:
                self._invalid("a packet for a namespace that the client is not connected to")
        elif kind in _EVENTS:
            self._event(socket, data, id)
        elif kind in _ACKS:
            if id is not None:
                socket.acknowledged(id, data)
        elif kind == DISCONNECT:
            del self.sockets[namespace]
            self._end(socket, CLIENT_DISCONNECT)
        else:
            self._invalid(f"a packet of type {kind}, which only servers send")

    def _invalid(self, why: str) -> None:
        self.link.count("socketio_invalid", f"it is invalid: {why}")
        self.engine.close(PARSE_ERROR)

    def _event(self, socket: Socket, data: Sequence[Any], id: int | None) -> None:
        event, *arguments = data
        handlers = socket.namespace.handlers
        handler = handlers.events.get(event) if event.__class__ is str else None
        if handler is None:
            handler = handlers.any
            if handler is None:
                return
            arguments.insert(0, event)
            count = len(arguments) - 1
        else:
            count = len(arguments)
        if not handler.least <= count <= handler.most:
            self.link.count(
                "socketio_arguments",
                f"a client sent {event!r:.100} with {count} arguments to {handler.name}",
            )
            return
        if self.link.pubsub.full:
            self.engine.pause("bus")  # until the node resumes all: a client's events may be emits
        if self._waiting is None and self._running < self.server.max_handlers:
            self._start(socket, handler, arguments, id)
            return
        if self._waiting is None:
            self._waiting = deque()
            self.engine.pause("handlers")
        self._waiting.append((socket, handler, arguments, id))

    # Handlers.

    def _start(
        self, socket: Socket, handler: Handler, arguments: Sequence[Any], id: int | None
    ) -> None:
        self._running += 1
        if handler.is_coroutine:
            call = handler.call(socket, *arguments)
        else:
            call = ain_database(handler.call, socket, *arguments)
        self.server.run(self._run(socket, handler, call, id))

    async def _run(
        self, socket: Socket, handler: Handler, call: Coroutine[Any, Any, Any], id: int | None
    ) -> None:
        try:
            result = await call
            if socket.recovery_session is not None and not handler.is_coroutine:
                socket.data_changes()  # a thread may have changed it after the end of a turn
            if id is not None:
                socket.acknowledge(id, result)
        except Disconnected:
            pass  # the client is gone, so there is nothing to acknowledge
        except Exception:
            self.log_failure("the handler of a Socket.IO event", handler, socket)
        finally:
            self._handler_ends()

    def _handler_ends(self) -> None:
        self._running -= 1
        if self._waiting is not None:
            self._start_waiting()
        self.server.task_ends()

    def _start_waiting(self) -> None:
        waiting = self._waiting
        limit = self.server.max_handlers
        if self._is_starting:
            return  # a handler that has ended at once
        self._is_starting = True
        try:
            while waiting and self._running < limit:
                call = waiting.popleft()
                if call[0].connected:
                    self._start(*call)
        finally:
            self._is_starting = False
        if not waiting and self._waiting is not None:
            self._waiting = None
            self.engine.resume("handlers")

    def handler_waits(self) -> None:
        """A handler waits for an acknowledgement, and does not count meanwhile."""
        self._running -= 1
        if self._waiting is not None:
            self._start_waiting()

    def handler_resumes(self) -> None:
        """The handler has its acknowledgement."""
        self._running += 1

    def log_failure(self, what: str, handler: Handler, socket: Socket) -> None:
        """Log the exception that a handler has raised."""
        error = sys.exception()
        if error is not None:
            for observe in failure_observers:
                observe(error)
        _log.failure(
            "{what} failed: {name} for {path!r}",
            what=what,
            name=handler.name,
            path=socket.namespace.path,
            request=socket.request,
            status_code=INTERNAL_ERROR,
        )

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
                self.server.run(self._continue_or_begin(socket, space, pid, offset))
                return
            if not space.all_checks and space.handlers.connect is None:
                self.link.local[namespace].add(socket, socket.receiver)
                if self.link.not_in_force is None:
                    self._accept(socket)
                    return
            self.server.run(self._admit(socket, space))

    async def _continue_or_begin(
        self, socket: Socket, space: AnyNamespace, pid: str | None, offset: Any
    ) -> None:
        try:
            await self._admit_with_recovery(socket, space, pid, offset)
        finally:
            self.server.task_ends()

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
            self.server.task_ends()

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

    @staticmethod
    async def _ask(handler: Handler, arguments: Sequence[Any]) -> Any:
        if handler.is_coroutine:
            return await handler.call(*arguments)
        return await ain_database(handler.call, *arguments)

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
        self._reassembly = self._waiting = None
        for socket in sockets.values():
            can_recover = reason in RECOVERABLE
            if socket.connected:
                self._end(socket, reason, can_recover)
            else:
                socket.gone(can_recover and socket.recovered)

    def _end(self, socket: Socket, reason: str, can_recover: bool = False) -> None:
        """The socket is not connected any more: call ``on_disconnect``."""
        socket.gone(can_recover)
        handler = socket.namespace.handlers.disconnect
        if handler is not None:
            # It counts as a handler of the client, which could connect and disconnect endlessly.
            self._running += 1
            if self._running >= self.server.max_handlers and self._waiting is None:
                self._waiting = deque()
                self.engine.pause("handlers")
            self.server.run(self._run_disconnect(handler, socket, reason))

    async def _run_disconnect(self, handler: Handler, socket: Socket, reason: str) -> None:
        try:
            await self._ask(handler, (socket, *given(handler, reason)))
        except Disconnected:
            pass
        except Exception:
            self.log_failure("on_disconnect", handler, socket)
        finally:
            self._handler_ends()
