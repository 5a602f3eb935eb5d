"""WebSocket: one client's connection, as a handler receives it.

It has the public methods. What they need is kept in its parts, of which most are made when they are
first used, so that an idle connection costs little memory:

    _received        the messages that the handler has not received yet
    _lifetime        how long the client stays; what ends when it leaves
    _subscriptions   the topics whose messages go to the client
    _memberships     presence
    _parties         barriers
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cluster.core.exceptions import Disconnected
from cluster.core.interfaces import ClientConnection, LaterFrame, PubSub
from cluster.django.api.history_settings import kept_by_setting
from cluster.django.api.json_messages import decode_json, encode_json
from cluster.django.api.payloads import (
    NOT_GIVEN,
    Payload,
    Topic,
    as_frame,
    as_public_topic,
    as_topic,
    frame_of,
    reserved,
)
from cluster.django.api.receipt import Receipt
from cluster.django.api.topics import set_result
from cluster.django.handlers.barrier_parties import Parties
from cluster.django.handlers.drained import drained
from cluster.django.handlers.giving_way import give_way, give_way_within_queue
from cluster.django.handlers.lifetime import Lifetime
from cluster.django.handlers.memberships import Memberships
from cluster.django.handlers.receive_queue import Receive, ReceiveQueue
from cluster.django.handlers.subscription import Subscription
from cluster.django.handlers.topic_subscriptions import OnGap, Replay, SendRefresh, Subscriptions
from cluster.django.handshake.requests import ReactorRequest, of_handshake
from cluster.django.handshake.url_resolver import resolve_path

CLOSE_NOT_TEXT = 1003
"""Unsupported data (RFC 6455, section 7.4.1)."""

CLOSE_BAD_JSON = 1007
"""The data is not consistent with the type of the message (RFC 6455, section 7.4.1)."""


LOOK_EVERY = 8
"""Queued messages that a handler receives between two looks at the clock, so that it does not block
the loop when a client has sent many."""

SENT_IN_A_TURN = 32
"""Messages that a handler sends to its client in a turn before it looks at the clock."""


class WebSocket:
    """One client's connection. You do not create it yourself: a handler receives it.

    A message is ``str`` for text and ``bytes`` for binary, in both directions. Call the methods in
    the thread of the node's event loop only, where handlers run. Coroutines wait; the other methods
    return at once.

    Attributes:
        path: The decoded path of the URL.
        query: The parameters of the URL: name -> values.
        headers: The headers of the handshake: name in lower case -> value.
        client: The client's address; with ``--proxy-headers`` the address that the proxy saw.
        secure: Whether the client uses TLS, as far as the node or a trusted proxy knows.
        subprotocol: The subprotocol that both sides use, or None.
    """

    __slots__ = (
        "_connection",
        "_gate",
        "_lifetime",
        "_low_water",
        "_memberships",
        "_parties",
        "_pubsub",
        "_received",
        "_request",
        "_subscriptions",
        "client",
        "headers",
        "path",
        "query",
        "secure",
        "subprotocol",
    )

    def __init__(
        self,
        connection: ClientConnection,
        pubsub: PubSub,
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
        # limits: messages and bytes that wait for recv, bytes above which send waits.
        # gate: wraps the function that receives messages, to limit their rate.
        self.path = path
        self.query = query
        self.headers = headers
        self.client = client
        self.subprotocol = subprotocol
        self.secure = secure
        self._gate = gate
        self._request: ReactorRequest | None = None
        self._connection = connection
        self._pubsub = pubsub
        messages, octets, self._low_water = limits
        self._lifetime = Lifetime(client)
        self._received = ReceiveQueue(connection, self._lifetime, messages, octets)
        self._subscriptions: Subscriptions | None = None
        self._memberships: Memberships | None = None
        self._parties: Parties | None = None
        put = self._received.put
        connection.receive = put if gate is None else gate(put)

    # The handshake.

    @property
    def request(self) -> ReactorRequest:
        """The handshake as Django's HttpRequest: a GET request, with its user and session."""
        if self._request is None:
            self._request = of_handshake(
                self._connection.http_request_uri,
                self.path,
                self.headers,
                secure=self.secure,
                client=self.client,
                match=resolve_path(self.path),
            )
        return self._request

    @request.setter
    def request(self, request: ReactorRequest) -> None:
        # The node sets the one whose session it has loaded.
        self._request = request

    @property
    def user(self) -> Any:
        """The user who was logged in at the handshake, or AnonymousUser."""
        return self.request.user

    @property
    def session(self) -> Any:
        """The session at the handshake; empty without one. ``await session.asave()`` saves it."""
        return self.request.session

    @property
    def close_code(self) -> int | None:
        """The close code once the client is gone (1006: without one); None before."""
        return self._lifetime.close_code

    # Receiving.

    async def recv(self) -> Payload:
        """Receive the next message.

        Let Disconnected end the handler; a loop must not catch it (see the reference of handlers).
        Only one task may wait at a time.

        Returns:
            The message: str for text, bytes for binary.

        Raises:
            Disconnected: The client is gone, and no message is left.
            RuntimeError: Another task waits already.
        """
        received = self._received
        if received.first is None:
            await received.wait()
        elif received.rest and not len(received.rest) % LOOK_EVERY:
            await give_way_within_queue(self._connection, self._lifetime)
        return received.take()

    async def recv_json(self) -> Any:
        """Receive the next message, decoded from JSON.

        A client that sends anything else is disconnected with code 1007 (1003 for a binary
        message). NaN, infinite numbers and unpaired surrogates are not accepted.

        Returns:
            The value.

        Raises:
            Disconnected: The client is gone, or is disconnected because of its message.
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
        return self

    # A generator around recv would take two more frames for each message.
    async def __anext__(self) -> Payload:
        received = self._received
        if received.first is None:
            try:
                await received.wait()
            except Disconnected:
                raise StopAsyncIteration from None
        elif received.rest and not len(received.rest) % LOOK_EVERY:
            await give_way_within_queue(self._connection, self._lifetime)
        return received.take()

    def on_message(self, callback: Receive) -> None:
        """Call back with each message from now on, in place of recv: the fast path.

        The callback must not block. An error in it closes the connection with code 1011 and is
        logged. Messages that wait already come first.

        Args:
            callback: Called with the payload in bytes, and whether the message is binary. The
                payload of a text message is valid UTF-8, not decoded.
        """
        self._connection.receive = callback if self._gate is None else self._gate(callback)
        self._received.pass_to(callback)

    def pause_reading(self) -> None:
        """Read no further message of the client in this turn of the event loop.

        For callbacks of on_message that queue so much that the limit of the send queue must be
        checked before the next message.
        """
        self._connection.pause("turn")
        asyncio.get_running_loop().call_soon(self._connection.resume, "turn")

    async def wait_closed(self) -> None:
        """Wait until the client is gone."""
        if self._lifetime.close_code is None:
            with suppress(Disconnected):
                # Without a name here, for the same reason as in Lifetime.wait.
                await self._lifetime.wait(asyncio.get_running_loop().create_future())

    # Sending.

    async def send(self, message: Payload) -> None:
        """Send a message; waits while the client does not read fast enough.

        It waits when more than ``SEND_QUEUE_LOW_WATER`` bytes wait for the client.

        Args:
            message: Text or bytes, for a text or a binary message.

        Raises:
            Disconnected: The client is gone.
        """
        lifetime = self._lifetime
        if lifetime.close_code is not None:
            await lifetime.refuse()
        connection = self._connection
        connection.send_frame(as_frame(message))
        # None are queued if many or large ones were sent at once, or the connection closes.
        if not 0 < len(connection.out) < SENT_IN_A_TURN:
            await give_way(connection, lifetime)
        while connection.blocked and connection.queued_bytes > self._low_water:
            await lifetime.wait(drained(connection))

    async def send_json(self, value: Any) -> None:
        """Send a value as JSON text by Django's encoder; waits like send.

        Args:
            value: Also with dates, decimals, UUIDs and lazy texts.

        Raises:
            Disconnected: The client is gone.
            TypeError: The value cannot be encoded.
            ValueError: The value has a NaN.
        """
        await self.send(encode_json(value))

    def send_now(self, message: Payload | None = None, *, json: Any = NOT_GIVEN) -> None:
        """Queue a message without waiting, for callbacks.

        Ignored when the client is gone. A client for which more than ``SEND_QUEUE_HIGH_WATER``
        bytes wait is disconnected with code 1013.

        Args:
            message: Text or bytes, for a text or a binary message.
            json: In place of a message, a value that is sent as JSON text by Django's encoder.

        Raises:
            TypeError: Both message and json are given, or neither, or one that cannot be encoded.
            ValueError: ``json`` has a NaN.
        """
        frame = frame_of(message, json)
        if self._lifetime.close_code is None:
            self._connection.send_frame(frame)

    def send_frame(self, frame: bytes) -> None:
        """Queue an encoded message without waiting: the fast path of send_now.

        Args:
            frame: What ``text_frame`` or ``binary_frame`` returned.
        """
        self._connection.send_frame(frame)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection after everything that is queued; a second close is ignored.

        It does not wait for the client's answer; ``wait_closed`` does.

        Args:
            code: The close code (RFC 6455, section 7.4): 1000, 1001, 1003, 1007 to 1013, or one of
                your own from 3000 to 4999.
            reason: Text for the client, cut at 123 bytes of UTF-8.

        Raises:
            ValueError: The code must not be sent.
        """
        self._connection.close(code, reason)
        if self._connection.budget.is_spent():
            await asyncio.sleep(0)

    def close_now(self, code: int = 1000, reason: str = "") -> None:
        """Close as ``close`` does, in a callback.

        Args:
            code: The close code, as for ``close``.
            reason: Text for the client, as for ``close``.

        Raises:
            ValueError: The code must not be sent.
        """
        self._connection.close(code, reason)

    # Topics.

    def subscribe(
        self,
        topic: Topic,
        *,
        since: str | None = None,
        replay: Replay | bool = True,
        refresh: SendRefresh | None = None,
        on_gap: OnGap | None = None,
    ) -> Subscription:
        """Send the messages of a topic to this client, the retained ones first.

        The client receives every message; one that does not read is disconnected (1013) when its
        queue is full. With ``refresh``, messages are skipped instead while it does not read. If
        messages are lost because the node was cut off from the others for too long, the client is
        disconnected (1012), so that it connects again, unless ``refresh`` or ``on_gap`` is given.
        Of two subscriptions to one topic the later counts.

        Args:
            topic: The name of the topic.
            since: A position that the client knows: of the retained messages, send only those after
                it.
            replay: False to send no retained messages, except those after ``since`` if all of them
                are there; or a function of the retained messages that returns the messages to send
                in their place.
            refresh: Called when a client that has skipped messages reads again; returns the
                messages that stand for the newest state. Nothing is sent of the topic's history.
            on_gap: Called when messages of the topic are lost; those that come next are not. Send
                the client the newest state, or tell it to load that.

        Returns:
            The subscription. ``await`` it to know whether everything after ``since`` was there;
            that raises Disconnected when the client is gone.

        Raises:
            TypeError: ``topic`` or ``since`` has a wrong type.
            ValueError: The topic is reserved.
        """
        key = as_public_topic(topic)
        if self._lifetime.close_code is not None:
            return Subscription(True, self._connection, self._lifetime)
        if self._subscriptions is None:
            self._subscriptions = Subscriptions(self._connection, self._pubsub, self._lifetime)
        return self._subscriptions.add(key, since, replay, refresh, on_gap)

    def unsubscribe(self, topic: Topic) -> None:
        """Send no more messages of a topic to this client; ignored if it is not subscribed.

        Args:
            topic: The name of the topic.
        """
        key = as_topic(topic)
        if self._subscriptions is not None:
            self._subscriptions.remove(key)

    def publish(
        self,
        topic: Topic,
        message: Payload | None = None,
        *,
        json: Any = NOT_GIVEN,
        echo: bool = True,
    ) -> Receipt:
        """Send a message to all subscribers of a topic, on every node, without waiting.

        ``C10K["TOPICS"]`` decides whether the topic retains the message. While the bus takes no
        more, the node does not read from this client: a client that causes too many publications
        waits.

        Args:
            topic: The name of the topic. Names that begin with ``c10k/`` are reserved.
            message: Text or bytes, for a text or a binary message.
            json: In place of a message, a value that is sent as JSON text by Django's encoder.
            echo: Whether this client receives the message too, if it is subscribed.

        Returns:
            The receipt: how many nodes have subscribers.

        Raises:
            TypeError: Both message and json are given, or neither, or one that cannot be encoded.
            ValueError: The topic is reserved, or ``json`` has a NaN.
            NotPublished: The topic retains messages, and too many wait for the broker.
        """
        key, frame = as_public_topic(topic), frame_of(message, json)
        kept = kept_by_setting(key)
        pubsub = self._pubsub
        if kept.depth:
            counts = pubsub.publish_retained(key, frame, *kept, None if echo else self._connection)
        elif echo:
            counts = pubsub.publish(key, frame)
        else:
            counts = pubsub.publish_except(self._connection, key, frame)
        if pubsub.full:
            self._connection.pause("bus")
        return Receipt(*counts)

    def publish_frame(self, topic: Topic, frame: bytes) -> tuple[int, int]:
        """Send an encoded message to all subscribers of a topic, on every node: the fast path.

        The topic does not retain the message, whatever ``C10K["TOPICS"]`` says.

        Args:
            topic: The name of the topic; as bytes (UTF-8) it need not be encoded each time.
            frame: What ``text_frame`` or ``binary_frame`` returned.

        Returns:
            The counts of a receipt: nodes with subscribers, connections of this node.

        Raises:
            ValueError: The topic is reserved.
        """
        if topic.__class__ is not bytes:
            topic = as_topic(topic)
        # As as_public_topic, written out: this runs for every message of the fast path.
        if b"c10k/" <= topic < b"c10k0":
            raise reserved(as_topic(topic))
        pubsub = self._pubsub
        counts = pubsub.publish(topic, frame)
        if pubsub.full:
            self._connection.pause("bus")
        return counts

    # Presence.

    def join(self, topic: Topic, member: str) -> None:
        """Be present on a topic, under a name, until the client leaves.

        A member with several connections, on any nodes, joins with the first and leaves with the
        last. Joining does not subscribe. A second join to a topic replaces the name.

        Args:
            topic: The name of the topic.
            member: The name of the member.

        Raises:
            TypeError: ``member`` is not a name, for example a primary key.
        """
        if not isinstance(member, str):
            raise TypeError(f"a member is a str, not {type(member).__name__}")
        key = as_topic(topic)
        if self._lifetime.close_code is None:
            self._with_presence().join(key, member)

    def leave(self, topic: Topic) -> None:
        """Be no longer present on a topic; ignored if this connection has not joined it.

        Args:
            topic: The name of the topic.
        """
        key = as_topic(topic)
        if self._memberships is not None:
            self._memberships.leave(key)

    def on_presence(self, topic: Topic, callback: Callable[[str, bool], None]) -> None:
        """Call back for each member that joins or leaves a topic, until the client leaves.

        This connection's own member counts, too. The callback must not block; use ``send_now`` in
        it. An error in it closes the connection with code 1011 and is logged.

        Args:
            topic: The name of the topic.
            callback: Called with the name of the member, and whether it has joined.
        """
        key = as_topic(topic)
        if self._lifetime.close_code is None:
            self._with_presence().watch(key, callback)

    def _with_presence(self) -> Memberships:
        if self._memberships is None:
            self._memberships = Memberships(self._connection, self._pubsub.presence)
        return self._memberships

    # Barriers.

    async def barrier(
        self, name: str, parties: int, announce: Payload | None = None, *, json: Any = NOT_GIVEN
    ) -> None:
        """Arrive at a barrier and wait until enough parties have, on all nodes together.

        When it returns, every subscription made before any of the arrivals is in force on every
        node. The connection stays a party until the client leaves, unless the task that waits is
        cancelled.

        Args:
            name: The name of the barrier, the same for all its parties.
            parties: How many parties it waits for; EVERY_NODE for one on each node.
            announce: A message for the client at the release, sent before anything that other
                parties publish because of it.
            json: In place of ``announce``, a value that is sent as JSON text.

        Raises:
            BarrierRefused: The barrier is full, or was released already.
            Disconnected: The client is gone.
            TypeError: Both ``announce`` and ``json`` are given.
        """
        is_silent = announce is None and json is NOT_GIVEN
        frame = None if is_silent else frame_of(announce, json)
        if self._lifetime.close_code is not None:
            await self._lifetime.refuse()

        def released() -> None:
            if frame is not None:
                self._connection.send_frame(frame)

        if self._parties is None:
            self._parties = Parties(self._pubsub.barriers, self._lifetime)
        await self._parties.wait(name, parties, released)

    # Called by feeds.

    def send_history(self, frames: Sequence[bytes | LaterFrame]) -> None:
        """Queue what a topic retains, which does not count for the limit of the send queue.

        Args:
            frames: Encoded messages, or some that are encoded when they are sent.
        """
        self._connection.send_history(frames)

    # Called by the node.

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The handler's task."""
        return self._lifetime.task

    @task.setter
    def task(self, task: "asyncio.Task[None]") -> None:
        self._lifetime.task = task

    def connection_closed(self, code: int) -> bool:
        """The client is gone: wake all tasks that wait for it, and leave everything.

        Args:
            code: The close code.

        Returns:
            Whether the handler's task waits for the client, and so need not be cancelled.
        """
        lifetime = self._lifetime
        lifetime.closed(code)
        self._received.closed()
        subscriptions = self._subscriptions
        self._pubsub.drop(self._connection, () if subscriptions is None else subscriptions.skipping)
        lifetime.run_endings()
        if self._parties is not None:
            self._parties.end()
        if self._memberships is not None:
            self._memberships.end()
        return lifetime.is_waiting


def known_request(websocket: WebSocket) -> ReactorRequest | None:
    """The request, if it was needed before; for operators, whose questions must cost little."""
    return websocket._request


def connection_of(websocket: WebSocket) -> Any:
    """The connection itself, for other protocols over WebSocket."""
    return websocket._connection


def skipping_topics(websocket: WebSocket) -> tuple[bytes, ...]:
    """The topics whose messages the client skips while it does not read; for operators."""
    subscriptions = websocket._subscriptions
    return () if subscriptions is None else subscriptions.skipping


async def while_connected(websocket: WebSocket, future: "asyncio.Future[None]") -> None:
    """Wait for a future, which is resolved, too, when the client leaves."""
    # Lifetime.wait raises Disconnected, whose traceback would be a reference cycle.
    lifetime = websocket._lifetime
    if lifetime.close_code is not None:
        return
    lifetime.at_end(future, lambda: set_result(future))
    lifetime.is_waiting = True
    try:
        await future
    finally:
        lifetime.is_waiting = False
        lifetime.not_at_end(future)
