"""HandlerRuns: the handlers that run for a client.

Handlers are started in the order in which events arrive, and run at the same time: coroutines in
the event loop, plain functions in database threads. When too many run, further events wait and
nothing is read from the client. A handler that waits for an acknowledgement of the client does not
count, because it ends only with what the client sends.
"""

import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.logger import Logger

from cluster.core.exceptions import Disconnected
from cluster.django.api.database_threads import ain_database
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.client.tasks import run, task_ends
from cluster.socketio.engine.client import EngineClient
from cluster.socketio.handlers import Handler, given
from cluster.socketio.interfaces import AnyServer
from cluster.socketio.sockets.socket import Socket

LOGGER = "django.request.socketio"
"""The logger of errors in handlers."""

INTERNAL_ERROR = 500

_log = Logger(LOGGER)

failure_observers: list[Callable[[BaseException], None]] = []
"""Called with each exception of a handler; for tests."""

Call = tuple[Socket, Handler, Sequence[Any], int | None]
"""A handler's call that waits: the socket, the handler, arguments, the id of the event."""


class HandlerRuns:
    """Runs handlers for the sockets of a client.

    Args:
        server: The server.
        link: The server on this node.
        engine: The session of the client.
    """

    __slots__ = ("_is_starting", "_running", "_waiting", "engine", "link", "server")

    def __init__(self, server: AnyServer, link: NodeLink, engine: EngineClient) -> None:
        self.server = server
        self.link = link
        self.engine = engine
        self._running = 0
        self._is_starting = False
        self._waiting: deque[Call] | None = None

    @property
    def address(self) -> str:
        """The address of the client."""
        return self.engine.address

    def is_full(self) -> bool:
        """Whether the client does not read fast enough."""
        return self.engine.queued_bytes > self.server.low_water

    # Events.

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

    def _start(
        self, socket: Socket, handler: Handler, arguments: Sequence[Any], id: int | None
    ) -> None:
        self._running += 1
        if handler.is_coroutine:
            call = handler.call(socket, *arguments)
        else:
            call = ain_database(handler.call, socket, *arguments)
        run(self._run(socket, handler, call, id), self.link.loop)

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
        task_ends(self.link.loop)

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

    # Other handlers.

    @staticmethod
    async def _ask(handler: Handler, arguments: Sequence[Any]) -> Any:
        if handler.is_coroutine:
            return await handler.call(*arguments)
        return await ain_database(handler.call, *arguments)

    def _run_disconnect(self, socket: Socket, reason: str) -> None:
        """Call ``on_disconnect``.

        It counts as a handler of the client, which could connect and disconnect endlessly.
        """
        handler = socket.namespace.handlers.disconnect
        if handler is None:
            return
        self._running += 1
        if self._running >= self.server.max_handlers and self._waiting is None:
            self._waiting = deque()
            self.engine.pause("handlers")
        run(self._disconnected(handler, socket, reason), self.link.loop)

    async def _disconnected(self, handler: Handler, socket: Socket, reason: str) -> None:
        try:
            await self._ask(handler, (socket, *given(handler, reason)))
        except Disconnected:
            pass
        except Exception:
            self.log_failure("on_disconnect", handler, socket)
        finally:
            self._handler_ends()
