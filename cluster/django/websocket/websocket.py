"""WebSocket: what a handler gets, one for each connection.

Messages are str for text and bytes for binary, in both directions. Everything here belongs to the
reactor thread, in which handlers run.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from cluster.core.exceptions import Disconnected
from cluster.django.api.payloads import (
    NOT_GIVEN,
    Payload,
    as_frame,
    decode_json,
    encode_json,
    frame_of,
)
from cluster.django.api.topics import set_result
from cluster.django.handshake.requests import ReactorRequest, of_handshake
from cluster.django.handshake.url_resolver import resolve_path
from cluster.django.websocket.late_calls import LateCalls
from cluster.django.websocket.lifetime import SendRefresh
from cluster.django.websocket.subscribing import Subscriber
from cluster.net.websocket.autobahn_protocol import OPEN

CLOSE_NOT_TEXT = 1003
CLOSE_BAD_JSON = 1007


Receive = Callable[[bytes, bool], None]


class WebSocket(Subscriber):
    """One client's connection.

    ``path``: decoded path of the URL · ``query``: parameter -> values · ``headers``: name in lower
    case -> value · ``subprotocol``: the one agreed on, or None · ``client``: the client's address,
    with --proxy-headers that of the proxy's client.
    """

    __slots__ = (
        "_gate", "_is_full", "_limits", "_queue", "_queued", "_request", "_secure", "_waiter",
        "headers", "path", "query", "subprotocol",
    )  # fmt: skip

    def __init__(
        self,
        connection: Any,
        pubsub: Any,
        limits: tuple[int, int, int],
        *,
        path: str,
        query: Mapping[str, list[str]],
        headers: Mapping[str, str],
        client: str,
        subprotocol: str | None,
        secure: bool = False,
        gate: Callable[[Receive], Receive] | None = None,
    ) -> None:
        """``limits``: messages and bytes that wait for recv, bytes above which send waits;
        ``gate``: goes around whatever receives messages."""
        self.path = path
        self.query = query
        self.headers = headers
        self.client = client
        self.subprotocol = subprotocol
        self._secure = secure
        self._gate = gate
        self._request: ReactorRequest | None = None
        self.close_code: int | None = None
        self._connection = connection
        self._pubsub = pubsub
        self._limits = limits
        self._queue: deque[tuple[bytes, bool]] = deque()
        self._queued = 0
        self._is_full = False
        self._waiter: asyncio.Future[None] | None = None
        self._waiting = False
        self.task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._barriers: list[tuple[str, int]] | None = None
        self._joined: dict[bytes, str] | None = None
        self._endings: dict[object, Callable[[], None]] | None = None
        self._skipping: dict[bytes, SendRefresh] | None = None
        self._refresh: set[bytes] | None = None
        self._late: LateCalls | None = None
        connection.receive = self._received if gate is None else gate(self._received)

    # Who it is.

    @property
    def request(self) -> ReactorRequest:
        """The handshake as Django's HttpRequest: a GET with path, GET, COOKIES, META, headers, …"""
        if self._request is None:
            self._request = of_handshake(
                self._connection.http_request_uri,
                self.path,
                self.headers,
                secure=self._secure,
                client=self.client,
                match=resolve_path(self.path),
            )
        return self._request

    @request.setter
    def request(self, request: ReactorRequest) -> None:
        """Called by the node with the one whose session it has loaded."""
        self._request = request

    @property
    def identified_by(self) -> ReactorRequest | None:
        """The request whose cookie led to a session; None for a client without one."""
        request = self._request
        return None if request is None or request.session_cookie is None else request

    @property
    def user(self) -> Any:
        """Who was logged in at the handshake; else the AnonymousUser."""
        return self.request.user

    @property
    def session(self) -> Any:
        """The session at the handshake; empty without one. To save changes: ``asave()``."""
        return self.request.session

    # Receiving.

    async def recv(self) -> Payload:
        """The next message; raises Disconnected when the client is gone and none is left."""
        if not self._queue:
            await self._received_one()
        return self._next()

    async def recv_json(self) -> Any:
        """The next message, decoded from JSON.

        A client that sends anything else is closed with 1007 (or 1003 for a binary message), and
        Disconnected is raised. NaN and infinite numbers are no JSON; text that is no Unicode (half
        a surrogate pair) is none either.
        """
        message = await self.recv()
        if isinstance(message, bytes):
            code, reason = CLOSE_NOT_TEXT, "JSON must be sent as text"
        else:
            try:
                return decode_json(message)
            except (ValueError, RecursionError):
                code, reason = CLOSE_BAD_JSON, "not valid JSON"
        self._connection.close(code, reason)
        raise Disconnected(code, reason)

    def __aiter__(self) -> AsyncIterator[Payload]:
        """The messages until the client is gone."""
        return self

    # A generator around recv would be two frames more for each message.
    async def __anext__(self) -> Payload:
        if not self._queue:
            try:
                await self._received_one()
            except Disconnected:
                raise StopAsyncIteration from None
        return self._next()

    def on_message(self, callback: Callable[[bytes, bool], None]) -> None:
        """From now on call ``callback(payload, is_binary)`` for each message, instead of recv().

        The quick way for messages that need no coroutine: it costs nothing beyond the call. The
        payload of a text message is checked UTF-8, still encoded. The callback must not block; if
        it raises, the connection is closed with 1011.
        """
        self._connection.receive = callback if self._gate is None else self._gate(callback)
        while self._queue and self._connection.state == OPEN:  # the callback may close
            payload, is_binary = self._queue.popleft()
            callback(payload, is_binary)
        self._queue.clear()
        self._queued = 0
        self._connection.resume("recv")

    async def wait_closed(self) -> None:
        """Wait until the client is gone."""
        if self.close_code is None:
            if self._closed is None:
                self._closed = asyncio.get_running_loop().create_future()
            await self._wait(asyncio.shield(self._closed))

    # Sending.

    async def send(self, message: Payload) -> None:
        """Send; waits while the client does not read fast enough. Raises Disconnected."""
        await self._check_open()
        self._connection.send_frame(as_frame(message))
        while self._connection.blocked and self._connection.queued_bytes > self._limits[2]:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            self._connection.on_drained = self._on_drained
            await self._wait(asyncio.shield(self._drained))
            await self._check_open()

    async def send_json(self, value: Any) -> None:
        """Send a value as JSON text, with Django's encoder: dates, decimals, UUIDs, lazy texts.

        Waits like send. Raises TypeError or ValueError for what JSON cannot say, NaN too.
        """
        await self.send(encode_json(value))

    def send_frame(self, frame: bytes) -> None:
        """Queue a frame made by text_frame or binary_frame; ignored when the client is gone.

        Does not wait: whoever sends a lot to a client that does not read has it closed (1013).
        """
        self._connection.send_frame(frame)

    def send_now(self, message: Payload | None = None, *, json: Any = NOT_GIVEN) -> None:
        """Queue without waiting, for callbacks; ignored when the connection is closed."""
        frame = frame_of(message, json)
        if self.close_code is None:
            self._connection.send_frame(frame)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close after what is queued; a second close is ignored."""
        self._connection.close(code, reason)

    def close_now(self, code: int = 1000, reason: str = "") -> None:
        """Like close, for callbacks."""
        self._connection.close(code, reason)

    # Inside.

    async def _received_one(self) -> None:
        """Wait until a message waits for recv; raises Disconnected."""
        while not self._queue:
            if self.close_code is not None:
                await self._refuse()
            if self._waiter is not None:
                raise RuntimeError("two tasks recv() from one connection")
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            # What _wait does, without another frame.
            if asyncio.current_task() is self.task:
                self._waiting = True
                try:
                    await waiter
                finally:
                    self._waiter = None
                    self._waiting = False
            else:
                try:
                    await waiter
                finally:
                    self._waiter = None

    def _next(self) -> Payload:
        payload, is_binary = self._queue.popleft()
        self._queued -= len(payload)
        if self._is_full and not self._queue:
            self._is_full = False
            self._connection.resume("recv")
        return payload if is_binary else payload.decode()

    def _received(self, payload: bytes, is_binary: bool) -> None:
        self._queue.append((payload, is_binary))
        self._queued += len(payload)
        messages, octets, _ = self._limits
        if len(self._queue) >= messages or self._queued >= octets:
            self._is_full = True
            self._connection.pause("recv")
        if self._waiter is not None:
            set_result(self._waiter)

    def connection_closed(self, code: int) -> bool:
        """Called once by the node when the client is gone: wakes whoever waits, leaves everything.

        Returns True if the handler's own ``task`` (which the node sets) waits for the client, and
        so will learn of it by itself.
        """
        self.close_code = code
        for future in (self._waiter, self._drained, self._closed):
            if future is not None:
                set_result(future)
        self.leave_all()
        return self._waiting
