"""ReceiveQueue: the messages of a client that its handler has not received yet."""

import asyncio
from collections import deque
from collections.abc import Callable

from cluster.core.interfaces import ClientConnection
from cluster.django.api.payloads import Payload
from cluster.django.api.topics import set_result
from cluster.django.handlers.lifetime import Lifetime
from cluster.net.websocket.autobahn_protocol import OPEN

Receive = Callable[[bytes, bool], None]


class ReceiveQueue:
    """Stops reading from the client when it is full, until the handler has received everything.

    Call ``put`` for each message, ``closed`` when the client is gone. To receive: ``wait`` unless
    ``first`` is a message, then ``take``. ``rest`` has the messages after the first.

    Args:
        connection: The client's connection.
        lifetime: The connection's.
        messages: How many messages may wait.
        octets: How many bytes they may have together.
    """

    # This runs for every message of a handler that uses recv. A handler that keeps up has one
    # message here at a time, so most connections never need the deque, which takes 760 bytes.
    __slots__ = (
        "_connection",
        "_is_full",
        "_lifetime",
        "_octets",
        "_queued",
        "_room",
        "_waiter",
        "first",
        "rest",
    )

    def __init__(
        self, connection: ClientConnection, lifetime: Lifetime, messages: int, octets: int
    ) -> None:
        self.first: tuple[bytes, bool] | None = None
        self.rest: deque[tuple[bytes, bool]] | None = None
        self._queued = 0
        self._is_full = False
        self._waiter: asyncio.Future[None] | None = None
        self._connection = connection
        self._lifetime = lifetime
        self._room = messages - 1  # besides the first
        self._octets = octets if self._room else 0

    def put(self, payload: bytes, is_binary: bool) -> None:
        """A message of the client."""
        self._queued += len(payload)
        if self._queued >= self._octets:
            self._pause()
        if self.first is None:
            self.first = (payload, is_binary)
            if self._waiter is not None:
                set_result(self._waiter)
            return
        rest = self.rest
        if rest is None:
            rest = self.rest = deque()
        rest.append((payload, is_binary))
        if len(rest) >= self._room:
            self._pause()

    def take(self) -> Payload:
        """The first message, which there must be."""
        assert self.first is not None
        payload, is_binary = self.first
        rest = self.rest
        self.first = rest.popleft() if rest else None
        self._queued -= len(payload)
        if self._is_full and self.first is None:
            self._is_full = False
            self._connection.resume("recv")
        return payload if is_binary else payload.decode()

    async def wait(self) -> None:
        """Wait for a message. Raises Disconnected when the client is gone."""
        lifetime = self._lifetime
        while self.first is None:
            if lifetime.close_code is not None:
                await lifetime.refuse()
            if self._waiter is not None:
                raise RuntimeError("two tasks wait in recv() of one WebSocket")
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            # As Lifetime.wait, without its coroutine and its list: this is for each message.
            is_handler = asyncio.current_task() is lifetime.task
            if is_handler:
                lifetime.is_waiting = True
            try:
                await waiter
            finally:
                self._waiter = None
                if is_handler:
                    lifetime.is_waiting = False

    def _pause(self) -> None:
        self._is_full = True
        self._connection.pause("recv")

    def closed(self) -> None:
        """The client is gone: wake the task that waits."""
        if self._waiter is not None:
            set_result(self._waiter)

    def pass_to(self, callback: Receive) -> None:
        """Call back with all messages, and read from the client again.

        The callback may close the connection, which drops the other messages, or call this.
        """
        while self.first is not None and self._connection.state == OPEN:
            payload, is_binary = self.first
            self.first = self.rest.popleft() if self.rest else None
            callback(payload, is_binary)
        self.first = self.rest = None
        self._queued = 0
        self._is_full = False
        self._connection.resume("recv")
