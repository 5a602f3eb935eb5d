"""What an operator can ask a node: its topics and clients, and to disconnect some of them.

A node may have tens of thousands of clients. So a search gives other clients their turn after each
SEARCHED, and its answer has at most ``limit`` rows beside the total.

All answers are JSON: dicts of str, int, float, list and None.

This module imports from ``cluster.django``, so import it after Django is loaded.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from heapq import nlargest
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, succeed

from cluster.core.interfaces import Subscriber
from cluster.core.socketio.engine_session import POLLING
from cluster.django.api.history_settings import kept_by_setting
from cluster.django.api.payloads import as_frame, as_public_topic
from cluster.django.feeds.feed_subscriptions import of_websockets
from cluster.django.handlers.websocket import WebSocket, known_request, skipping_topics
from cluster.node.assembly import HttpParts, WebSocketParts
from cluster.pubsub.subscriptions import Subscriptions
from cluster.socketio.engine.registry import sessions

SEARCHED = 500
"""Clients that a search looks at in one turn of the loop."""

GROUPED = 10
"""Topics with the same beginning that are shown one by one."""

MAX_TOPICS_SHOWN = 20
"""Topics that the row of one client has; it has their number, too."""

CLOSE_BY_OPERATOR = 1008
"""Policy violation (RFC 6455, section 7.4.1): c10k.js does not reconnect."""

REASON = "disconnected by an operator"


class Filter(NamedTuple):
    """Which clients are meant: those that fit everything that is not empty.

    Attributes:
        id: The ``id`` of one client, as ``clients`` returns it.
        user: A user's primary key or name.
        topic: A topic to which the client subscribes.
        address: The client's address.
        path: The beginning of the URL's path.
    """

    id: str = ""
    user: str = ""
    topic: str = ""
    address: str = ""
    path: str = ""


class _Client(NamedTuple):
    """A WebSocket, a stream or a poll; ``close(code, reason)`` disconnects it."""

    id: str
    kind: str
    path: str
    address: str
    user: str
    user_key: str
    topics: Callable[[], tuple[bytes, ...]]
    queued: int
    close: Callable[[int, str], Any]

    def fits(self, wanted: Filter) -> bool:
        return (
            (not wanted.id or wanted.id == self.id)
            and (not wanted.user or wanted.user in (self.user, self.user_key))
            and (not wanted.address or wanted.address == self.address)
            and self.path.startswith(wanted.path)
            and (not wanted.topic or wanted.topic.encode() in self.topics())
        )

    def as_row(self) -> dict[str, Any]:
        topics = self.topics()
        return {
            "id": self.id,
            "kind": self.kind,
            "path": self.path,
            "address": self.address,
            "user": self.user,
            "topics": [topic.decode(errors="replace") for topic in topics[:MAX_TOPICS_SHOWN]],
            "topics_total": len(topics),
            "queued_bytes": self.queued,
        }


QUESTIONS = ("clients", "disconnect", "publish", "topics")


class Inspection:
    """The inspection of one node. Belongs to the reactor thread.

    Args:
        websockets: The WebSocket parts of the node.
        http: The other parts.
    """

    def __init__(self, websockets: WebSocketParts, http: HttpParts) -> None:
        self._websockets = websockets
        self._http = http

    def ask(self, what: str, arguments: dict[str, Any]) -> "Deferred[Any]":
        """Answer a question.

        Args:
            what: One of QUESTIONS.
            arguments: The keyword arguments of the method of this name; those of ``clients`` and
                ``disconnect`` include the attributes of Filter.

        Returns:
            A Deferred with a JSON value.

        Raises:
            ValueError: The question is not known, or an argument is wrong.
        """
        if what not in QUESTIONS:
            raise ValueError(f"this node does not know the command {what!r}")
        wanted = {name: arguments[name] for name in Filter._fields if name in arguments}
        rest = {name: value for name, value in arguments.items() if name not in wanted}
        if what in ("clients", "disconnect"):
            rest["wanted"] = Filter(**wanted)
        elif what == "publish":
            rest |= wanted  # its topic
        answer = getattr(self, what)(**rest)
        if not asyncio.iscoroutine(answer):
            return succeed(answer)
        return Deferred.fromFuture(asyncio.get_running_loop().create_task(answer))

    def publish(self, topic: str, message: str) -> dict[str, Any]:
        """Publish a message.

        Args:
            topic: The name of the topic.
            message: Text.

        Returns:
            ``nodes`` and ``connections_here``, as in a receipt.

        Raises:
            ValueError: The topic is reserved.
        """
        key, frame = as_public_topic(topic), as_frame(message)
        kept, pubsub = kept_by_setting(key), self._websockets.pubsub
        if kept.depth:
            nodes, here = pubsub.publish_retained(key, frame, *kept)
        else:
            nodes, here = pubsub.publish(key, frame)
        return {"nodes": nodes, "connections_here": here}

    def topics(self, limit: int = 20, grouped: bool = False) -> dict[str, Any]:
        """The topics with the most subscribers on this node.

        Args:
            limit: How many rows.
            grouped: Whether more than GROUPED topics with the same beginning up to a slash, such as
                ``user/``, are one row.

        Returns:
            ``total``, the number of topics, and ``topics``, the rows: ``topic``, ``subscribers``,
            ``history``, how many messages are retained, and ``topics``, how many topics it is.
        """
        subscriptions = self._websockets.pubsub.subscriptions
        counts = subscriptions.counts()
        total = len(counts)
        sizes: dict[bytes, int] = {}
        if grouped:
            counts, sizes = _group(counts)
        rows: list[dict[str, Any]] = []
        for topic, subscribers in nlargest(limit, counts.items(), key=lambda item: item[1]):
            size = sizes.get(topic, 1)
            kept = subscriptions.history_cache.get(topic) if size == 1 else None
            rows.append(
                {
                    "topic": topic.decode(errors="replace"),
                    "subscribers": subscribers,
                    "history": 0 if kept is None else len(kept.frames) - kept.gaps,
                    "topics": size,
                }
            )
        return {"total": total, "topics": rows}

    async def clients(self, wanted: Filter, limit: int = 100) -> dict[str, Any]:
        """The clients that fit a filter.

        Args:
            wanted: The filter.
            limit: How many rows.

        Returns:
            ``total``, the number of clients that fit, and ``clients``, the rows.
        """
        total = 0
        rows: list[dict[str, Any]] = []
        async for client in self._search(wanted):
            total += 1
            if len(rows) < limit:
                rows.append(client.as_row())
        return {"total": total, "clients": rows}

    async def disconnect(
        self, wanted: Filter, code: int = CLOSE_BY_OPERATOR, reason: str = ""
    ) -> dict[str, Any]:
        """Disconnect the clients that fit a filter.

        Args:
            wanted: The filter; at least one of its attributes must not be empty.
            code: The close code.
            reason: The reason, up to 123 bytes of UTF-8; empty: REASON.

        Returns:
            ``disconnected``, their number.

        Raises:
            ValueError: The filter is empty, which would mean all clients.
        """
        if not any(wanted):
            raise ValueError("a filter is needed: id, user, topic, address or path")
        count = 0
        async for client in self._search(wanted):
            client.close(code, reason or REASON)
            count += 1
        return {"disconnected": count}

    async def _search(self, wanted: Filter) -> AsyncIterator[_Client]:
        """The clients that fit, among those that were connected when the search began."""
        for searched, client in enumerate(self._all_clients(), 1):
            if searched % SEARCHED == 0:
                await asyncio.sleep(0)
            if client is not None and client.fits(wanted):
                yield client

    def _all_clients(self) -> Iterator[_Client | None]:
        yield from self._websocket_clients()
        yield from self._polling_clients()
        for each in self._http.feeds.describe_clients():
            client = each.client
            yield _Client(
                f"{id(client):x}",
                each.kind,
                each.path,
                each.address,
                each.user,
                each.user_key,
                client.subscriptions.topics,
                client.queued_bytes,
                client.close,
            )

    @staticmethod
    def _polling_clients() -> Iterator[_Client | None]:
        """The sessions of Socket.IO over polling."""
        for client in tuple(sessions.clients.values()):
            if client.transport_name != POLLING:
                continue  # it is among the WebSockets
            yield _Client(
                f"{id(client):x}",
                "socketio",
                client.path,
                client.address,
                client.request.user_name,
                client.request.user_key or "",
                tuple,
                client.queued_bytes,
                client.close_with,
            )

    def _websocket_clients(self) -> Iterator[_Client | None]:
        subscriptions = self._websockets.pubsub.subscriptions
        for connection in tuple(self._websockets.connection_factory.connections):
            websocket: Any = connection.owner
            if websocket is None:  # it has left meanwhile
                yield None
                continue
            request = known_request(websocket)
            yield _Client(
                f"{id(connection):x}",
                "websocket",
                websocket.path,
                websocket.client,
                "" if request is None else request.user_name,
                "" if request is None else request.user_key or "",
                partial(_topics_of, subscriptions, connection, websocket),
                connection.queued_bytes,
                connection.close,
            )


def _group(counts: dict[bytes, int]) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """The counts of topics and groups, and the number of topics of each group."""
    members = Counter(topic.partition(b"/")[0] for topic in counts if b"/" in topic)
    grouped: Counter[bytes] = Counter()
    sizes: Counter[bytes] = Counter()
    for topic, count in counts.items():
        prefix, slash, _ = topic.partition(b"/")
        if slash and members[prefix] > GROUPED:
            topic = prefix + b"/*"
            sizes[topic] += 1
        grouped[topic] += count
    return grouped, sizes


def _topics_of(
    subscriptions: Subscriptions, connection: Subscriber, websocket: WebSocket
) -> tuple[bytes, ...]:
    """Those that the connection receives directly, those that it may skip, and those of a feed."""
    feed = of_websockets.get(websocket)
    direct = subscriptions.connections.topics(connection) + skipping_topics(websocket)
    return direct if feed is None else direct + feed.topics()
