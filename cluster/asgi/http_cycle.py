"""One HTTP request that an ASGI application answers in the event loop.

::

    client      header and body ...................................... leaves
    receive()   http.request (more_body) ... http.request             http.disconnect
    send()                     http.response.start   body ... body    raises ClientLeft

* The node has all of the body, within its limits, before the application starts.
* ``send`` waits while the client does not read. A client that reads nothing for STALLED_S of
  cluster.node.http_channel is disconnected.
* ``send`` and the start wait for the next turn of the event loop when the budget of this one is
  spent, so that a loop which only sends does not block other clients.
* When the client leaves, the application is cancelled, at once or after a grace period.
* An exception before the response becomes a 500. Later it cuts the connection, so that the client
  notices that the response is incomplete.

https://asgi.readthedocs.io/en/latest/specs/www.html#http
"""

import asyncio
import contextvars
from functools import partial
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES, datetimeToString
from twisted.web.http_headers import Headers

from cluster.asgi.scope import Application, Scope
from cluster.django.api.topics import set_result
from cluster.net.loop.turn_budget import TurnBudget

PIECE = 65536
"""Bytes of the request's body in one event."""

SET_BY_NODE = (b"server", b"transfer-encoding")
"""Headers of the response that an application cannot set."""

_log = Logger("django.request")


class ClientLeft(OSError):
    """The client has left: nothing can be sent to it any more."""


class HttpCycle:
    """Answers one request. Call ``start`` once.

    Args:
        request: A request of the node with all of its body (cluster.node.http_request).
        scope: Its scope.
        name: The name of the application, for the log.
        budget: That of the event loop's turns.
        clock: The reactor.
        grace: Seconds for which the application continues after its client has left.
    """

    http_request: Any = None
    """Django's request, for the log, if there is one."""

    has_left = False
    """Whether the client left before the response was complete."""

    def __init__(
        self,
        request: Any,
        scope: Scope,
        name: str,
        budget: TurnBudget,
        clock: Any,
        grace: float = 0.0,
    ) -> None:
        self._request = request
        self._scope = scope
        self._name = name
        self._budget = budget
        self._clock = clock
        self._grace = grace
        self._task: asyncio.Task[None] | None = None
        self._unread = request.body_size
        self._is_read = False
        self._is_begun = self._is_complete = False
        self._is_answered = False  # by the header alone
        self._expected: int | None = None  # bytes by Content-Length
        self._sent = 0
        self._is_paused = self._is_producer = False
        self._waiting: asyncio.Future[None] | None = None  # the application, in send
        self._listening: asyncio.Future[None] | None = None  # the application, in receive
        self._is_watched = False  # whether the channel disconnects a client that does not read

    def start(self, application: Application, context: contextvars.Context) -> "asyncio.Task[None]":
        """Run the application.

        Args:
            application: The application.
            context: The context variables with which it starts.

        Returns:
            The task. It ends without an exception.
        """
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(application), name=self._name, context=context)
        self._request.notifyFinish().addCallbacks(self._finished, self._client_left)
        return self._task

    async def _run(self, application: Application) -> None:
        try:
            if self._budget.is_spent():
                await self._next_turn()
            await application(self._scope, self.receive, self.send)
            if not self._is_complete and not self.has_left:
                raise RuntimeError(f"{self._name} ended before its response was complete")
        except GeneratorExit:
            raise
        except asyncio.CancelledError:  # because the client has left, or the node stops
            self._fail(503, b"The request was cancelled.\n")
        except ClientLeft:
            pass
        except BaseException:  # SystemExit, too, which would end the node
            self._log_error(Failure())
            self._fail(500, b"Internal Server Error\n")

    # Called by the application.

    async def receive(self) -> dict[str, Any]:
        """The next event of the client."""
        if not self._is_read and not self.has_left:
            piece = self._request.content.read(PIECE) if self._unread else b""
            self._unread -= len(piece)
            more = bool(self._unread and piece)
            self._is_read = not more
            return {"type": "http.request", "body": piece, "more_body": more}
        if not self.has_left and not self._is_complete:
            self._listening = asyncio.get_running_loop().create_future()
            await self._listening
        return {"type": "http.disconnect"}

    async def send(self, event: dict[str, Any]) -> None:
        """Send a part of the response.

        Raises:
            ClientLeft: The client has left, or has all that it needs: the header, for HEAD.
            RuntimeError: The event is not allowed here, or the body has not the length that the
                header says.
        """
        kind = event["type"]
        if self.has_left or self._is_answered:
            raise ClientLeft(f"{self._name}: the client has left, or needs no body")
        if kind == "http.response.start" and not self._is_begun:
            self._begin(event["status"], event.get("headers") or ())
        elif kind == "http.response.body" and self._is_begun and not self._is_complete:
            self._write(event.get("body", b""), event.get("more_body", False))
            if self._is_paused and not self._is_complete:
                await self._writable()
            elif self._budget.is_spent():
                await self._next_turn()
        else:
            raise RuntimeError(f"{kind!r} was sent where the response does not allow it")

    def _begin(self, status: int, headers: Any) -> None:
        request = self._request
        request.defaultContentType = None
        request.setResponseCode(status)
        add = request.responseHeaders.addRawHeader
        has_date = False
        for name, value in headers:
            lower = name.lower()
            if lower == b"content-length":
                self._expected = int(value)
            elif lower == b"date":
                has_date = True
            elif lower == b"connection":
                if b"close" in value.lower() and request.channel.persistent:
                    request.channel.persistent = False
                    add(b"connection", b"close")
                continue
            elif lower in SET_BY_NODE:
                continue
            add(name, value)
        if not has_date:
            add(b"date", datetimeToString())
        self._is_begun = True

    def _write(self, body: bytes, more: bool) -> None:
        request = self._request
        has_body = request.method != b"HEAD" and request.code not in NO_BODY_CODES
        self._sent += len(body)
        expected = self._expected
        if has_body:
            if expected is None:
                if not more and not request.startedWriting:
                    request.responseHeaders.addRawHeader(b"content-length", b"%d" % len(body))
            elif self._sent > expected or (self._sent < expected and not more):
                raise RuntimeError(
                    f"{self._name}: the body has {self._sent} bytes{' and more' if more else ''},"
                    f" but Content-Length is {expected}"
                )
        if more and not has_body:
            # Otherwise a HEAD request for an endless stream would not end.
            request.write(b"")
            self._is_answered = True
            self._finish()
        elif more:
            if not self._is_producer:
                self._is_producer = True
                self._is_paused = request.channel._waitingForTransport
                request.registerProducer(self, True)
            request.write(body)
        else:
            request.write(body)
            self._finish()

    def _finish(self) -> None:
        self._is_complete = True
        if self._is_producer:
            self._request.unregisterProducer()
        # The next request of the connection may begin in this call. It must not inherit the
        # context of this application.
        contextvars.Context().run(self._request.finish)

    # Back-pressure: called by the transport.

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._wake()

    def stopProducing(self) -> None:
        """Called when the connection is lost; ``_client_left`` follows."""

    async def _writable(self) -> None:
        """Wait until the client has read a part of what was sent.

        Raises:
            ClientLeft: It has left.
        """
        self._waiting = asyncio.get_running_loop().create_future()
        if not self._is_watched:
            self._is_watched = True
            self._request.channel.watch_reader()
        try:
            await self._waiting
        finally:
            self._waiting = None
        if self.has_left:
            raise ClientLeft(f"{self._name}: the client has left")

    async def _next_turn(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._budget.next_turn(partial(set_result, future))
        await future

    def _wake(self) -> None:
        if self._waiting is not None:
            set_result(self._waiting)
        if self._listening is not None and (self.has_left or self._is_complete):
            set_result(self._listening)

    # The end.

    def _finished(self, _: object) -> None:
        self._wake()

    def _client_left(self, _: Failure) -> None:
        if self._is_complete:
            return
        self.has_left = True
        self._wake()
        task = self._task
        if task is None or task.done():
            return
        if self._grace:
            cancel = self._clock.callLater(self._grace, task.cancel)
            task.add_done_callback(lambda _: cancel.active() and cancel.cancel())
        else:
            task.cancel()

    def _fail(self, status: int, text: bytes) -> None:
        """End a response that the application has not completed."""
        if self.has_left or self._is_complete:
            return
        request = self._request
        if request.startedWriting:
            if self._is_producer:
                request.unregisterProducer()
            self._is_complete = True
            request.channel.loseConnection()
            return
        request.responseHeaders = Headers()
        if not request.channel.persistent:
            request.setHeader(b"connection", b"close")
        request.setResponseCode(status)
        request.setHeader(b"date", datetimeToString())
        request.setHeader(b"content-type", b"text/plain")
        request.setHeader(b"content-length", b"%d" % len(text))
        request.write(text)
        self._finish()

    def _log_error(self, failure: Failure) -> None:
        values = {} if self.http_request is None else {"request": self.http_request}
        _log.failure(
            "{name} at {path!r} failed",
            failure,
            name=self._name,
            path=self._scope["path"],
            status_code=500,
            **values,
        )
