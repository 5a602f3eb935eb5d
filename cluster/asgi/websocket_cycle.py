"""One WebSocket client of an ASGI application.

::

    client      handshake ............ 101 ... message ......... Close
    receive()   connect                        receive           disconnect(code, reason)
    send()                   accept                   send

The application runs in a task of its own, from the handshake on: it decides on the handshake with
its first ``send``. Then ``serve`` is the handler of the connection, with the limits, the receive
queue and the send queue of any handler:

* ``receive`` returns the messages of the client in order. While they wait for it, the node reads
  at most the receive queue's limit from the client.
* ``send`` waits while the client does not read. For synchronous code it does not: a few clients
  that do not read would keep all threads. They are disconnected at the send queue's limit.
* Synchronous code of all applications shares a few threads. The calls of one client run one after
  the other.
* When the client has left, ``receive`` returns websocket.disconnect once, and ``send`` does
  nothing, so that the clean-up of the application runs. After LATE_SENDS it raises OSError. An
  application that has not ended after GRACE_S is cancelled.

https://asgi.readthedocs.io/en/latest/specs/www.html#websocket
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from twisted.logger import Logger

from cluster.asgi.async_threads import AsyncThreads
from cluster.asgi.http_cycle import ClientLeft
from cluster.asgi.scope import Application, Scope
from cluster.core.exceptions import Disconnected
from cluster.django.api.topics import set_result
from cluster.django.handlers.handler_decorator import Accept
from cluster.django.handlers.websocket import WebSocket, while_connected
from cluster.logs.rate_limit import LimitedLog
from cluster.net.websocket.refusal import Refusal

Message = dict[str, Any]
"""An event of ASGI: its "type", and more keys by type."""

GRACE_S = 10.0
"""Seconds that an application has for its clean-up after its client has left."""

CANCEL_S = 1.0
"""Seconds that it has after it was cancelled."""

LATE_SENDS = 100
"""Sends after the client has left that do nothing. A loop that only sends has made more: each
further one raises ClientLeft, after LATE_S, so that a loop that catches it blocks no others."""

LATE_S = 0.1

MAX_REFUSAL = 1 << 20
"""Bytes of the body with which an application may refuse a handshake."""

CLOSE_NORMAL = 1000

CLOSE_ABNORMAL = 1006
"""There was no Close frame (RFC 6455, section 7.1.5)."""

FORBIDDEN = 403
"""The status for websocket.close in place of websocket.accept, as the specification says."""

NOT_FOUND = 404

NO_ROUTE = "No route found"
"""The error of Channels' URLRouter for an unknown path. With a 500 for it, any
client could fill the log with tracebacks."""

APPLICATION_REFUSED = "refused by the application"

SET_BY_NODE = ("content-length", "connection", "transfer-encoding")
"""Headers of a refusal that the node sets itself."""

FROM_THREAD = "AsyncToSync.main_wrap"
"""The coroutine of a task that asgiref makes for a thread."""

_log_cancelled = LimitedLog(Logger().warn, "ASGI applications cancelled after their client left")


class WebSocketCycle:
    """Runs an application for one client. Call ``decide``, then ``serve`` or ``abandon``.

    Args:
        application: The application.
        scope: The scope of the handshake.
        name: The name of the application, for the log.
        reason_of: Returns the text of the client's Close frame, when the client has left.
        threads: For the application's ``sync_to_async``; None for the one thread that asgiref has.
    """

    __slots__ = (
        "_body",
        "_code",
        "_decision",
        "_is_connected",
        "_is_notified",
        "_late_sends",
        "_name",
        "_opened",
        "_reason",
        "_reason_of",
        "_refusal",
        "_running",
        "_subprotocols",
        "_task",
        "_threads",
        "_websocket",
    )

    def __init__(
        self,
        application: Application,
        scope: Scope,
        name: str,
        reason_of: Callable[[], str] = str,
        threads: AsyncThreads | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._name = name
        self._subprotocols = scope["subprotocols"]
        self._running: Awaitable[None] | None = application(scope, self._receive, self._send)
        self._task: asyncio.Task[None] | None = None
        self._decision: asyncio.Future[Accept] = loop.create_future()
        self._opened: asyncio.Future[None] = loop.create_future()  # or the client has left
        self._websocket: WebSocket | None = None
        self._reason_of = reason_of
        self._threads = threads
        self._is_connected = self._is_notified = False  # whether receive returned the event
        self._code: int | None = None  # the close code, when the client has left
        self._reason = ""
        self._late_sends = 0
        self._refusal: tuple[int, list[tuple[str, str]]] | None = None
        self._body = b""

    # Called by the handler.

    async def decide(self) -> Accept:
        """Start the application, and wait until it answers the handshake. Call it once.

        Returns:
            The application accepts the client.

        Raises:
            Refusal: It does not.
            Exception: It failed, or ended without an answer.
        """
        assert self._running is not None
        running, self._running = self._running, None
        self._task = asyncio.get_running_loop().create_task(self._run(running), name=self._name)
        self._task.add_done_callback(self._ended)
        return await self._decision

    async def serve(self, websocket: WebSocket) -> None:
        """Serve an accepted client until the application ends.

        Args:
            websocket: The open connection.

        Raises:
            Exception: The application failed.
        """
        task = self._task
        assert task is not None
        self._websocket = websocket
        set_result(self._opened)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task.add_done_callback(lambda _: set_result(ended))
        try:
            await while_connected(websocket, ended)
        except asyncio.CancelledError:
            task.cancel()
            raise
        code = websocket.close_code
        if code is None:
            task.result()
            return
        self._leave(code)
        await self._end_in_time(task)
        if task.done() and not task.cancelled():
            with suppress(ClientLeft):
                task.result()

    def abandon(self) -> None:
        """The client is not served after all: the application receives websocket.disconnect.

        Ignored after ``serve`` was called.
        """
        if self._task is None or self._websocket is not None:
            return
        self._leave(CLOSE_ABNORMAL)
        if not self._task.done():
            ending = asyncio.get_running_loop().create_task(self._end_in_time(self._task))
            _abandoned.add(ending)
            ending.add_done_callback(_abandoned.discard)

    # Called by the application.

    async def _receive(self) -> Message:
        if not self._is_connected:
            self._is_connected = True
            return {"type": "websocket.connect"}
        await asyncio.shield(self._opened)
        websocket = self._websocket
        if websocket is not None and not self._is_notified:
            try:
                message = await websocket.recv()
            except Disconnected as gone:
                self._leave(gone.code)
            else:
                kind = "text" if isinstance(message, str) else "bytes"
                return {"type": "websocket.receive", kind: message}
        if self._is_notified:  # until the application ends or is cancelled
            await asyncio.get_running_loop().create_future()
        self._is_notified = True
        return {"type": "websocket.disconnect", "code": self._code, "reason": self._reason}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._code is None and not self._decision.done():
            self._answer(kind, message)
            return
        if kind not in ("websocket.send", "websocket.close"):
            raise RuntimeError(f"{kind!r} was sent after the answer to the handshake")
        await asyncio.shield(self._opened)
        websocket = self._websocket
        try:
            if websocket is None or self._code is not None:
                await self._send_late()
            elif kind == "websocket.close":
                await websocket.close(
                    message.get("code", CLOSE_NORMAL), message.get("reason") or ""
                )
            elif _has_thread():
                websocket.send_now(_payload(message))
            else:
                await websocket.send(_payload(message))
        except Disconnected as gone:
            self._leave(gone.code)

    async def _run(self, running: Awaitable[None]) -> None:
        try:
            if self._threads is None:
                await running
                return
            with self._threads.for_request():
                await running
        except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the node
            raise RuntimeError(f"{self._name} raised {error!r}") from error

    # The handshake.

    def _answer(self, kind: str, message: Message) -> None:
        """Decide by what the application has sent in answer to the handshake."""
        if self._refusal is not None:
            if kind != "websocket.http.response.body":
                raise RuntimeError(f"{kind!r} was sent in place of the body of a response")
            self._body += message.get("body", b"")
            if len(self._body) > MAX_REFUSAL:
                raise RuntimeError(f"a refusal may have {MAX_REFUSAL} bytes")
            if not message.get("more_body", False):
                status, headers = self._refusal
                self._refuse(Refusal(status, APPLICATION_REFUSED, headers, self._body))
        elif kind == "websocket.accept":
            self._accept(message.get("subprotocol"), message.get("headers") or ())
        elif kind == "websocket.close":
            self._refuse(Refusal(FORBIDDEN, APPLICATION_REFUSED))
        elif kind == "websocket.http.response.start":
            status = message["status"]
            if not 200 <= status < 600:
                raise ValueError(f"a handshake cannot be refused with the status {status!r}")
            headers = [_as_text(pair) for pair in message.get("headers") or ()]
            self._refusal = status, [pair for pair in headers if pair[0].lower() not in SET_BY_NODE]
        else:
            raise RuntimeError(f"{kind!r} is no answer to a handshake")

    def _accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if subprotocol is not None and subprotocol not in self._subprotocols:
            raise ValueError(
                f"the subprotocol {subprotocol!r} was accepted; the client offers"
                f" {self._subprotocols}"
            )
        values: dict[str, list[str]] = {}
        for name, value in map(_as_text, headers):
            values.setdefault(name, []).append(value)
        self._decision.set_result(Accept(subprotocol, values))

    def _refuse(self, refusal: Refusal) -> None:
        self._decision.set_exception(refusal)

    # The end.

    def _leave(self, code: int) -> None:
        """The client has left."""
        if self._code is None:
            self._code = code
            self._reason = self._reason_of()
            set_result(self._opened)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """The application has ended; its error is raised where its end is awaited."""
        error = None if task.cancelled() else task.exception()
        if not self._decision.done():
            if error is None:
                error = RuntimeError(f"{self._name} ended without an answer to the handshake")
            elif isinstance(error, ValueError) and str(error).startswith(NO_ROUTE):
                error = Refusal(NOT_FOUND, "the application has no route for this path")
            self._decision.set_exception(error)

    async def _end_in_time(self, task: "asyncio.Task[None]") -> None:
        """Wait for the clean-up of an application whose client has left; at last, cancel it."""
        try:
            await asyncio.wait([task], timeout=GRACE_S)
        finally:
            if not task.done():
                _log_cancelled(
                    self._name,
                    "{name} was cancelled: it still ran {seconds:.0f} s after its client had left",
                    name=self._name,
                    seconds=GRACE_S,
                )
                task.cancel()
        await asyncio.wait([task], timeout=CANCEL_S)

    async def _send_late(self) -> None:
        self._late_sends += 1
        if self._late_sends <= LATE_SENDS:
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(LATE_S)
            raise ClientLeft("the client has left")


def _has_thread() -> bool:
    """Whether a thread waits for the current task: synchronous code calls it by async_to_sync."""
    task = asyncio.current_task()
    return task is not None and getattr(task.get_coro(), "__qualname__", "") == FROM_THREAD


def _payload(message: Message) -> str | bytes:
    """The content of websocket.send."""
    text = message.get("text")
    payload: str | bytes | None = message.get("bytes") if text is None else text
    if payload is None:
        raise ValueError("websocket.send needs text or bytes")
    return payload


def _as_text(header: tuple[bytes, bytes]) -> tuple[str, str]:
    name, value = header
    return bytes(name).decode("latin-1"), bytes(value).decode("latin-1")


_abandoned: "set[asyncio.Task[None]]" = set()
"""The tasks that wait for applications whose client left during the handshake."""
