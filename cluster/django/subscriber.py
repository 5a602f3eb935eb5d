"""Subscriber: what a WebSocket connection does with topics and barriers.

The half of WebSocket that other clients notice; connection.py has the half that its own client
does. Everything here belongs to the reactor thread.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.python.failure import Failure

from cluster.core.exceptions import Disconnected
from cluster.django.patterns import kept_by_setting
from cluster.django.publishing import Receipt
from cluster.django.subscription import Subscription, place_after
from cluster.django.topics import (
    Payload,
    Topic,
    as_frame,
    as_message,
    as_topic,
    refuse,
    set_result,
)

SendRefresh = Callable[[], Sequence[Payload]]
Replay = Callable[[list[Payload]], Sequence[Payload]]


class Subscriber:
    """The base of WebSocket, which sets what is declared here."""

    __slots__ = (
        "_barriers", "_closed", "_drained", "_endings", "_joined", "_lane", "_pubsub", "_refresh",
        "_skipping", "_waiting", "close_code", "task",
    )  # fmt: skip

    close_code: int | None
    task: asyncio.Task[None] | None
    _lane: Any
    _pubsub: Any
    _waiting: bool
    _closed: asyncio.Future[None] | None
    _drained: asyncio.Future[None] | None
    _barriers: list[tuple[str, int]] | None
    _skipping: dict[bytes, SendRefresh] | None
    _refresh: set[bytes] | None
    _joined: dict[bytes, str] | None
    _endings: dict[object, Callable[[], None]] | None

    def send_now(self, message: Payload) -> None:
        """Queue a message without waiting."""
        raise NotImplementedError

    # Topics.

    def subscribe(
        self,
        topic: Topic,
        *,
        since: str | None = None,
        replay: Replay | bool = True,
        refresh: SendRefresh | None = None,
    ) -> Subscription:
        """Have the topic's messages sent to this client, those that are kept first.

        Every message matters, so a client that does not read is closed (1013) when its queue is
        full. With ``refresh``, messages are skipped instead while it does not read, and when it
        does again it is sent what ``refresh()`` returns: the messages that stand for the newest
        state. Of two subscriptions to one topic the later counts.

        ``since``: a position that the client knows; then of what is kept it is sent only what came
        after it, and ``(await ws.subscribe(…)).recovered`` is False if some of that is gone, or if
        it is no position.
        ``replay``: False to leave out what is kept (unless it was missed since then); or a function
        of these messages that returns the messages to send in their place.
        """
        place = place_after(since)
        if self.close_code is not None:
            return Subscription(known=True)
        key = as_topic(topic)
        self._give_up(key)
        if refresh is not None:
            self._subscribe_skipping(key, refresh)
            return Subscription(known=True)
        if self._skipping and key in self._skipping:
            self.unsubscribe(key)
        if place is None and replay is True:
            self._pubsub.subscribe(self._lane, key)
            return Subscription(known=False, ask=lambda subscription: self._ask(key, subscription))
        subscription = Subscription(known=False)
        if self._endings is None:
            self._endings = {}
        self._endings[key] = subscription.end

        def begin(history: Any) -> Sequence[bytes]:
            if self._endings is not None:
                self._endings.pop(key, None)
            subscription.answer(history.recovered, history.epoch, history.offset)
            return frames_to_replay(history, replay)

        self._pubsub.subscribe_since(self._lane, key, place, begin)
        return subscription

    def unsubscribe(self, topic: Topic) -> None:
        """Have the topic's messages sent no more."""
        key = as_topic(topic)
        self._give_up(key)
        self._pubsub.unsubscribe(self._lane, key)
        if self._skipping is not None:
            self._skipping.pop(key, None)

    def publish(self, topic: Topic, message: Payload, *, echo: bool = True) -> Receipt:
        """Send to all subscribers; without ``echo`` to all but this client itself. The message is
        kept if C10K["TOPICS"] says so.

        Returns (nodes, connections of this node) it was queued to. While the bus is full this
        client is not read any more: who publishes too much waits.
        """
        key, frame = as_topic(topic), as_frame(message)
        kept = kept_by_setting(key)
        pubsub = self._pubsub
        if kept.depth:
            receipt = pubsub.publish_retained(key, frame, *kept, None if echo else self._lane)
        elif echo:
            receipt = pubsub.publish(key, frame)
        else:
            receipt = pubsub.publish_except(self._lane, key, frame)
        if pubsub.full:
            self._lane.pause("bus")
        return Receipt(*receipt)

    def publish_frame(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """The quick way: an encoded topic, and a frame made by text_frame or binary_frame. It is
        not kept, whatever the settings say."""
        pubsub = self._pubsub
        result: tuple[int, int] = pubsub.publish(topic, frame)
        if pubsub.full:
            self._lane.pause("bus")
        return result

    # Presence.

    def join(self, topic: Topic, member: str) -> None:
        """Be a member of a topic, under this name, until the connection is gone or leaves.

        A member that several connections are, on whatever nodes, joins with the first and leaves
        with the last. Joining does not subscribe. A second join to a topic replaces the first.
        Raises TypeError for what is no name, such as a primary key.
        """
        if not isinstance(member, str):
            raise TypeError(f"a member is a str, not {type(member).__name__}")
        if self.close_code is not None:
            return
        key = as_topic(topic)
        if self._joined is None:
            self._joined = {}
        before = self._joined.get(key)
        if before != member:
            self._pubsub.presence.join(key, member)
            self._joined[key] = member
            if before is not None:
                self._pubsub.presence.leave(key, before)

    def leave(self, topic: Topic) -> None:
        """Be a member of the topic no more."""
        key = as_topic(topic)
        member = self._joined.pop(key, None) if self._joined else None
        if member is not None:
            self._pubsub.presence.leave(key, member)

    def on_presence(self, topic: Topic, callback: Callable[[str, bool], None]) -> None:
        """Call ``callback(member, joined)`` for each member that joins or leaves the topic, on any
        node, this connection's own included, until the connection is gone. It must not block."""
        if self.close_code is not None:
            return
        if self._endings is None:
            self._endings = {}

        def changed(member: str, joined: bool) -> None:
            try:
                callback(member, joined)
            except Exception:
                self._lane.fail(Failure())

        self._endings[changed] = self._pubsub.presence.watch(as_topic(topic), changed)

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

    def leave_all(self) -> None:
        """The client is gone: leave all topics and barriers."""
        self._pubsub.drop(self._lane, tuple(self._skipping or ()))
        for end in tuple((self._endings or {}).values()):
            end()
        for topic, member in (self._joined or {}).items():
            self._pubsub.presence.leave(topic, member)
        self._endings = self._joined = None
        for name, token in self._barriers or ():
            self._pubsub.barriers.leave(name, token)
        self._barriers = None

    # Inside.

    def _give_up(self, key: bytes) -> None:
        """A subscription that waits to be let in will not be: something else takes its place."""
        end = self._endings.pop(key, None) if self._endings else None
        if end is not None:
            end()

    def _ask(self, key: bytes, subscription: Subscription) -> None:
        """Find out where a topic is that the connection has subscribed to.

        Its frames and the answer come from the same copy: the answer is the place of the last one
        that has been sent when the copy is known.
        """
        if self.close_code is not None:
            subscription.end()
            return
        if self._endings is None:
            self._endings = {}
        endings = self._endings

        def answer(recovered: bool, epoch: str, offset: int) -> None:
            endings.pop(subscription, None)
            subscription.answer(recovered, epoch, offset)
            if follower is not None:
                follower.stop()

        def end() -> None:
            subscription.end()
            if follower is not None:
                follower.stop()

        follower: Any = None
        endings[subscription] = end
        follower = self._pubsub.follow(key, lambda frame, offset: None, replay=False, answer=answer)
        if subscription not in endings:  # answered at once
            follower.stop()

    def _subscribe_skipping(self, key: bytes, refresh: SendRefresh) -> None:
        if self._skipping is None:
            self._skipping, self._refresh = {}, set()
        if key not in self._skipping:
            self._pubsub.unsubscribe(self._lane, key)
        self._skipping[key] = refresh
        self._pubsub.subscribe_skipping(self._lane, key, lambda: self._skipped(key))

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


def frames_to_replay(history: Any, replay: Replay | bool) -> Sequence[bytes]:
    """The frames to send for what was missed."""
    if callable(replay):
        messages = replay([as_message(frame) for frame in history.frames])
        return [as_frame(message) for message in messages]
    frames: Sequence[bytes] = history.frames
    return frames if replay or history.recovered else ()
