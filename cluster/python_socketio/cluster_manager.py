"""ClusterManager: the servers of all nodes share their clients.

::

    sio.emit() --> this server's clients
               --> the topic of the channel --> every other node --> its server's clients

A server acts upon the messages of the others in a task, one after another. What waits for it is
bounded: beyond MAX_WAITING messages or MAX_WAITING_BYTES new ones are dropped, counted as
``socketio_queue_full`` and logged.

Engine.IO queues messages for each client without a limit. So a client that does not read is closed
with 1013 at the first emit that finds ``max_queued`` messages waiting for it.

python-socketio works in the event loop of the node. In another thread (``async_to_sync`` in a plain
view), nothing of the server is touched: the message goes to all servers, this one included.
"""

import asyncio
import json as standard_json
from collections import deque
from collections.abc import Iterator
from typing import Any

from socketio.async_pubsub_manager import AsyncPubSubManager
from twisted.logger import Logger

from cluster.core.exceptions import NotRunning
from cluster.django.api import topics
from cluster.django.api.publication import Publication
from cluster.django.api.publishing import publish_all, wait_while_full
from cluster.logs.rate_limit import LimitedLog
from cluster.python_socketio.bus_messages import (
    EXTERNAL,
    MAX_SIZE,
    InvalidMessage,
    checked_limit,
    decode_message,
    encode_message,
    topic_of,
)

MAX_WAITING = 10_000
"""Messages that wait for a server, which may be busy with the disconnect handlers of a site."""

MAX_WAITING_BYTES = 64 << 20
"""Characters of these messages together: four of MAX_SIZE."""

IN_A_ROW = 16
"""Messages after which the other clients of the node have their turn."""

MAX_QUEUED = 1000
"""Messages that wait for one client, besides the bytes of its connection's send queue."""

CLOSE_TRY_AGAIN = 1013

_log = Logger()
_log_dropped = LimitedLog(_log.error, "messages for Socket.IO servers dropped")


class ClusterManager(AsyncPubSubManager):
    """The client manager of a ``socketio.AsyncServer`` that runs on all nodes.

    It takes the place of ``socketio.AsyncRedisManager(url)``::

        sio = socketio.AsyncServer(async_mode="asgi", client_manager=ClusterManager())

    Emits, rooms, ``disconnect`` and acknowledgements reach clients on every node and machine. With
    ``write_only``, a coroutine of any process with the site's settings may await ``emit``.

    Args:
        channel: Servers of one channel share their clients.
        write_only: Whether it only emits, without a server.
        logger: A logger in place of the server's.
        json: A module with ``dumps`` and ``loads``; a server uses its own.
        max_size: Bytes of one message to the other nodes.
        max_queued: Messages that may wait for a client that does not read.

    ``emit`` and the others raise TypeError for data that is not JSON, ValueError for a message that
    is too large for the cluster, and what ``publish`` raises. The clients of this node receive the
    message even so.
    """

    name = "c10k"

    def __init__(
        self,
        channel: str = "socketio",
        write_only: bool = False,
        logger: Any = None,
        json: Any = None,
        *,
        max_size: int = MAX_SIZE,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self._topic = topic_of(channel)
        self._max_size = checked_limit("max_size", max_size)
        self._max_queued = checked_limit("max_queued", max_queued)
        self._closing: set[asyncio.Task[None]] = set()  # closes clients that do not read
        self._waiting: deque[str] = deque()
        self._characters = 0  # in _waiting
        self._arrived = asyncio.Event()
        self._is_started = False
        super().__init__(channel=channel, write_only=write_only, logger=logger)
        self.json = json or standard_json

    # Called by the server.

    def set_server(self, server: Any) -> None:
        """The server is made. From now on this node receives the messages of the others."""
        super().set_server(server)
        if not self.write_only:
            topics.listen(self._topic, self._take)

    def initialize(self) -> None:
        """The first client connects. Idempotent."""
        if not self._is_started:
            self._is_started = True
            super().initialize()

    async def emit(self, *args: Any, **kwargs: Any) -> None:
        """As ``AsyncServer.emit``.

        Raises:
            RuntimeError: A callback in another thread than the node's event loop.
        """
        if kwargs.get("callback") is not None and self.server is not None:
            if self._is_in_another_thread():
                raise RuntimeError(
                    "acknowledgements need the node's event loop: emit with a callback, or call(),"
                    " in a handler or an async view"
                )
            # The answer may come from another node before a client connects here.
            self.initialize()
        await super().emit(*args, **kwargs)

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """The clients of this node in a room: (sid, Engine.IO's id).

        One that does not read is not among them, and is disconnected.
        """
        sockets = {} if self.server is None else self.server.eio.sockets
        for sid, eio_sid in super().get_participants(namespace, room):
            socket = sockets.get(eio_sid)
            if socket is None or socket.queue.qsize() < self._max_queued:
                yield sid, eio_sid
            else:
                self._evict(eio_sid, socket)

    # Called by the base class.

    async def _publish(self, data: dict[str, Any]) -> None:
        sender = EXTERNAL if self._is_in_another_thread() else self.host_id
        publication = encode_message(self._topic, sender, data, self.json, self._max_size)
        node = topics.node
        if node is not None:
            await wait_while_full(node)
            _publish_now(publication)
        else:  # this waits for a node of the running cluster
            await asyncio.to_thread(_publish_now, publication)

    async def _listen(self) -> Any:
        count = 0
        while True:
            while self._waiting:
                text = self._waiting.popleft()
                self._characters -= len(text)
                try:
                    message = decode_message(text, self.json)
                except InvalidMessage as error:
                    topics.running_node().pubsub.dropped["malformed"] += 1
                    self._log_dropped("malformed", str(error))
                else:
                    yield message
                count += 1
                if count % IN_A_ROW == 0:
                    await asyncio.sleep(0)
            self._arrived.clear()
            await self._arrived.wait()

    async def _handle_emit(self, message: dict[str, Any]) -> None:
        if not self._is_in_another_thread():
            await super()._handle_emit(message)

    async def _handle_disconnect(self, message: dict[str, Any]) -> None:
        if self.server is not None and not self._is_in_another_thread():
            await super()._handle_disconnect(message)

    async def _handle_close_room(self, message: dict[str, Any]) -> None:
        if not self._is_in_another_thread():
            await super()._handle_close_room(message)

    # Inside.

    @staticmethod
    def _is_in_another_thread() -> bool:
        """Whether there is a node, and the caller is not in its event loop."""
        if topics.node is None:
            return False
        try:
            topics.node_of_this_loop()
        except NotRunning:
            return True
        return False

    def _take(self, text: str | bytes) -> None:
        """Called in the node's event loop with each message of the topic."""
        # Without a start there are no clients, and nobody waits for an acknowledgement.
        if not self._is_started or not isinstance(text, str) or text.startswith(self.host_id):
            return
        if len(self._waiting) >= MAX_WAITING or self._characters + len(text) > MAX_WAITING_BYTES:
            topics.running_node().pubsub.dropped["socketio_queue_full"] += 1
            self._log_dropped("full", "too many wait for the server")
            return
        self._waiting.append(text)
        self._characters += len(text)
        self._arrived.set()

    def _evict(self, eio_sid: str, socket: Any) -> None:
        """Close a client that does not read, and drop what waits for it."""
        queue = socket.queue
        topics.running_node().pubsub.dropped["slow_consumer"] += 1 + queue.qsize()
        self._log_dropped("slow", f"a client does not read, and {queue.qsize():,} wait for it")
        while not queue.empty():
            queue.get_nowait()
            queue.task_done()
        closing = asyncio.ensure_future(self._close(self.server.environ[eio_sid], socket))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    @staticmethod
    async def _close(environ: dict[str, Any], socket: Any) -> None:
        # Engine.IO cannot close the WebSocket now: its writer waits for the client.
        close = {"type": "websocket.close", "code": CLOSE_TRY_AGAIN, "reason": "too slow"}
        await environ["asgi.send"](close)
        await socket.close(wait=False, abort=True)  # calls the server's disconnect handler

    def _log_dropped(self, kind: str, why: str) -> None:
        _log_dropped(
            kind,
            "a message for the Socket.IO servers of the channel {channel!r} is dropped: {why}",
            channel=self.channel,
            why=why,
        )


def _publish_now(publication: Publication) -> None:
    publish_all([publication], immediate=True, using=None)
