"""WebSocket: what a handler gets, one for each connection.

Messages are str for text and bytes for binary, in both directions. Everything here belongs to the
reactor thread, in which handlers run.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.python.failure import Failure

from cluster.core.exceptions import Disconnected
from cluster.django.topics import Payload, Topic, as_frame, as_topic, refuse, set_result
from cluster.net.handshake import OPEN

SendRefresh = Callable[[], Sequence[Payload]]


class WebSocket:
    """One client's connection.

    ``path``: decoded path of the URL · ``query``: parameter -> values · ``headers``: name in lower
    case -> value · ``subprotocol``: the one agreed on, or None · ``client``: "host:port".
    """

    __slots__ = (
        "_barriers", "_closed", "_drained", "_lane", "_limits", "_pubsub", "_queue", "_queued",
        "_refresh", "_skipping", "_waiter", "_waiting", "client", "close_code", "headers", "path",
        "query", "subprotocol", "task",
    )  # fmt: skip

    def __init__(
        self,
        lane: Any,
        pubsub: Any,
        limits: tuple[int, int, int],
        *,
        path: str,
        query: Mapping[str, list[str]],
        headers: Mapping[str, str],
        client: str,
        subprotocol: str | None,
    ) -> None:
        """``limits``: messages and bytes that wait for recv, bytes above which send waits."""
        self.path = path
        self.query = query
        self.headers = headers
        self.client = client
        self.subprotocol = subprotocol
        self.close_code: int | None = None
        self._lane = lane
        self._pubsub = pubsub
        self._limits = limits
        self._queue: deque[tuple[bytes, bool]] = deque()
        self._queued = 0
        self._waiter: asyncio.Future[None] | None = None
        self._waiting = False
        self.task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._barriers: list[tuple[str, int]] | None = None
        self._skipping: dict[bytes, SendRefresh] | None = None
        self._refresh: set[bytes] | None = None
        lane.receive = self._received

    # Receiving.

    async def recv(self) -> Payload:
        """The next message; raises Disconnected when the client is gone and none is left."""
        while not self._queue:
            if self.close_code is not None:
                raise Disconnected(self.close_code)
            if self._waiter is not None:
                raise RuntimeError("two tasks recv() from one connection")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._wait(self._waiter)
            finally:
                self._waiter = None
        payload, is_binary = self._queue.popleft()
        self._queued -= len(payload)
        if not self._queue:
            self._lane.resume("recv")
        return payload if is_binary else payload.decode()

    async def __aiter__(self) -> AsyncIterator[Payload]:
        """The messages until the client is gone."""
        while True:
            try:
                message = await self.recv()
            except Disconnected:
                return
            yield message

    def on_message(self, callback: Callable[[bytes, bool], None]) -> None:
        """From now on call ``callback(payload, is_binary)`` for each message, instead of recv().

        The quick way for messages that need no coroutine: it costs nothing beyond the call. The
        payload of a text message is checked UTF-8, still encoded. The callback must not block; if
        it raises, the connection is closed with 1011.
        """
        self._lane.receive = callback
        while self._queue and self._lane.state == OPEN:  # the callback may close
            payload, is_binary = self._queue.popleft()
            callback(payload, is_binary)
        self._queue.clear()
        self._queued = 0
        self._lane.resume("recv")

    async def wait_closed(self) -> None:
        """Wait until the client is gone."""
        if self.close_code is None:
            if self._closed is None:
                self._closed = asyncio.get_running_loop().create_future()
            await self._wait(asyncio.shield(self._closed))

    # Sending.

    async def send(self, message: Payload) -> None:
        """Send; waits while the client does not read fast enough. Raises Disconnected."""
        self._check_open()
        self._lane.send_frame(as_frame(message))
        while self._lane.blocked and self._lane.queued_bytes > self._limits[2]:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            self._lane.on_drained = self._on_drained
            await self._wait(asyncio.shield(self._drained))
            self._check_open()

    def send_frame(self, frame: bytes) -> None:
        """Queue a frame made by text_frame or binary_frame; ignored when the client is gone.

        Does not wait: whoever sends a lot to a client that does not read has it closed (1013).
        """
        self._lane.send_frame(frame)

    def send_now(self, message: Payload) -> None:
        """Queue without waiting, for callbacks; ignored when the connection is closed."""
        if self.close_code is None:
            self._lane.send_frame(as_frame(message))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close after what is queued; a second close is ignored."""
        self._lane.close(code, reason)

    def close_now(self, code: int = 1000, reason: str = "") -> None:
        """Like close, for callbacks."""
        self._lane.close(code, reason)

    # Topics.

    def subscribe(self, topic: Topic, *, refresh: SendRefresh | None = None) -> None:
        """Have the topic's messages sent to this client.

        Every message matters, so a client that does not read is closed (1013) when its queue is
        full. With ``refresh``, messages are skipped instead while it does not read, and when it
        does again it is sent what ``refresh()`` returns: the messages that stand for the newest
        state. Of two subscriptions to one topic the later counts.
        """
        if self.close_code is not None:
            return
        key = as_topic(topic)
        if refresh is None:
            if self._skipping and key in self._skipping:
                self.unsubscribe(key)
            self._pubsub.subscribe(self._lane, key)
            return
        if self._skipping is None:
            self._skipping, self._refresh = {}, set()
        if key not in self._skipping:
            self._pubsub.unsubscribe(self._lane, key)
        self._skipping[key] = refresh
        self._pubsub.subscribe_skipping(self._lane, key, lambda: self._skipped(key))

    def unsubscribe(self, topic: Topic) -> None:
        """Have the topic's messages sent no more."""
        key = as_topic(topic)
        self._pubsub.unsubscribe(self._lane, key)
        if self._skipping is not None:
            self._skipping.pop(key, None)

    def publish(self, topic: Topic, message: Payload) -> tuple[int, int]:
        """Send to all subscribers; returns (nodes, connections of this node) it was queued to.

        While the bus is full this client is not read any more: who publishes too much waits.
        """
        result: tuple[int, int] = self.publish_frame(as_topic(topic), as_frame(message))
        return result

    def publish_frame(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """The same with an encoded topic and a frame made by text_frame or binary_frame."""
        pubsub = self._pubsub
        result: tuple[int, int] = pubsub.publish(topic, frame)
        if pubsub.full:
            self._lane.pause("bus")
        return result

    # Barriers.

    async def barrier(self, name: str, parties: int, announce: Payload | None = None) -> None:
        """Be a party of a barrier, for as long as the connection lasts; returns at its release.

        ``announce`` is sent to the client at the release, ahead of anything that others publish
        because of it: this coroutine itself goes on only a little later.

        When it returns, every subscription made before any of the arrivals is in force on every
        node. Raises BarrierRefused if the barrier is full or released already, Disconnected if the
        client goes. A party that is cancelled leaves.
        """
        self._check_open()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def released() -> None:
            if announce is not None:
                self.send_now(announce)
            set_result(future)

        token = self._pubsub.barriers.arrive(
            name, parties, released, lambda why: refuse(future, name, why)
        )
        if self._barriers is None:
            self._barriers = []
        self._barriers.append((name, token))
        try:
            await self._or_closed(future)
        except asyncio.CancelledError:  # who no longer waits must not hold the others' place
            if self._barriers is not None:
                self._barriers.remove((name, token))
                self._pubsub.barriers.leave(name, token)
            raise

    # Inside.

    def _check_open(self) -> None:
        if self.close_code is not None:
            raise Disconnected(self.close_code)

    async def _wait(self, event: Awaitable[Any]) -> None:
        """Wait for something that also ends when the client goes."""
        if asyncio.current_task() is not self.task:
            await event
            return
        self._waiting = True
        try:
            await event
        finally:
            self._waiting = False

    async def _or_closed(self, future: Awaitable[None]) -> None:
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(future)
        either = asyncio.wait((waiting, self._closed), return_when=asyncio.FIRST_COMPLETED)
        await self._wait(either)
        if not waiting.done():
            waiting.cancel()
            self._check_open()
        waiting.result()

    def _received(self, payload: bytes, is_binary: bool) -> None:
        self._queue.append((payload, is_binary))
        self._queued += len(payload)
        messages, octets, _ = self._limits
        if len(self._queue) >= messages or self._queued >= octets:
            self._lane.pause("recv")
        if self._waiter is not None:
            set_result(self._waiter)

    def _skipped(self, topic: bytes) -> None:
        if self._refresh is not None:
            self._refresh.add(topic)
            self._lane.on_drained = self._on_drained

    def _on_drained(self) -> None:
        if self._drained is not None:
            set_result(self._drained)
            self._drained = None
        if self._refresh:
            topics, self._refresh = self._refresh, set()
            try:
                self._send_newest(topics)
            except Exception:
                self._lane.fail(Failure())

    def _send_newest(self, topics: set[bytes]) -> None:
        for topic in topics:
            if self._skipping and topic in self._skipping:
                for message in self._skipping[topic]():
                    self._lane.send_frame(as_frame(message))

    def connection_closed(self, code: int) -> bool:
        """Called once by the node when the client is gone: wakes whoever waits, leaves everything.

        Returns True if the handler's own ``task`` (which the node sets) waits for the client, and
        so will learn of it by itself.
        """
        self.close_code = code
        for future in (self._waiter, self._drained, self._closed):
            if future is not None:
                set_result(future)
        self._pubsub.drop(self._lane, tuple(self._skipping or ()))
        for name, token in self._barriers or ():
            self._pubsub.barriers.leave(name, token)
        self._barriers = None
        return self._waiting
