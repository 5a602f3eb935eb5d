"""Subscriber: what a WebSocket connection does with topics.

With presence.py and barriers.py the half of WebSocket that other clients notice; connection.py has
the half that its own client does.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.python.failure import Failure

from cluster.django.api.payloads import (
    AFTER_RESERVED,
    NOT_GIVEN,
    RESERVED,
    Payload,
    Topic,
    as_frame,
    as_message,
    as_public_topic,
    as_topic,
    frame_of,
    reserved,
)
from cluster.django.api.receipt import Receipt
from cluster.django.api.retention import kept_by_setting
from cluster.django.api.topics import set_result
from cluster.django.websocket.barriers import Party
from cluster.django.websocket.lifetime import SendRefresh
from cluster.django.websocket.presence import Member
from cluster.django.websocket.subscription import Subscription, place_after

Replay = Callable[[list[Payload]], Sequence[Payload]]


class Subscriber(Member, Party):
    """The base of WebSocket."""

    __slots__ = ()

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
            self._pubsub.subscribe(self._connection, key)
            return Subscription(known=False, ask=lambda subscription: self._ask(key, subscription))
        subscription = Subscription(known=False)
        self._at_end(key, subscription.end)

        def begin(history: Any) -> Sequence[bytes]:
            self._not_at_end(key)
            subscription.answer(history.recovered, history.epoch, history.offset)
            return frames_to_replay(history, replay)

        self._pubsub.subscribe_since(self._connection, key, place, begin)
        return subscription

    def unsubscribe(self, topic: Topic) -> None:
        """Have the topic's messages sent no more."""
        key = as_topic(topic)
        self._give_up(key)
        self._pubsub.unsubscribe(self._connection, key)
        if self._skipping is not None:
            self._skipping.pop(key, None)

    def publish(
        self,
        topic: Topic,
        message: Payload | None = None,
        *,
        json: Any = NOT_GIVEN,
        echo: bool = True,
    ) -> Receipt:
        """Send a message to all subscribers of a topic, on every node, without waiting.

        The topic retains the message if C10K["TOPICS"] says so. While the bus takes no more, this
        client is not read, so a client that causes too many publications waits.

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

        Encode a message once with ``text_frame`` or ``binary_frame`` for any number of calls. The
        topic does not retain it, whatever C10K["TOPICS"] says.

        Args:
            topic: The name of the topic; as bytes (UTF-8) it need not be encoded each time.
            frame: What ``text_frame`` or ``binary_frame`` returned.

        Returns:
            The counts of a receipt: nodes with subscribers, connections of this node.

        Raises:
            ValueError: The topic is reserved.
        """
        key = topic.encode() if isinstance(topic, str) else topic
        if RESERVED <= key < AFTER_RESERVED:
            raise reserved(key)
        pubsub = self._pubsub
        counts: tuple[int, int] = pubsub.publish(key, frame)
        if pubsub.full:
            self._connection.pause("bus")
        return counts

    def leave_all(self) -> None:
        self._pubsub.drop(self._connection, tuple(self._skipping or ()))
        super().leave_all()

    # Inside.

    def _give_up(self, key: bytes) -> None:
        """A subscription that waits to be let in will not be: something else takes its place."""
        end = self._not_at_end(key)
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

        def answer(recovered: bool, epoch: str, offset: int) -> None:
            self._not_at_end(subscription)
            subscription.answer(recovered, epoch, offset)
            if subscriber is not None:
                subscriber.stop()

        def end() -> None:
            subscription.end()
            if subscriber is not None:
                subscriber.stop()

        subscriber: Any = None
        self._at_end(subscription, end)
        subscriber = self._pubsub.follow(
            key, lambda frame, offset: None, replay=False, answer=answer
        )
        if not self._endings or subscription not in self._endings:  # answered at once
            subscriber.stop()

    def _subscribe_skipping(self, key: bytes, refresh: SendRefresh) -> None:
        if self._skipping is None:
            self._skipping, self._refresh = {}, set()
        if key not in self._skipping:
            self._pubsub.unsubscribe(self._connection, key)
        self._skipping[key] = refresh
        self._pubsub.subscribe_skipping(self._connection, key, lambda: self._skipped(key))

    def _skipped(self, topic: bytes) -> None:
        if self._refresh is not None:
            self._refresh.add(topic)
            self._connection.on_drained = self._on_drained

    def _on_drained(self) -> None:
        if self._drained is not None:
            set_result(self._drained)
            self._drained = None
        if self._refresh:
            topics, self._refresh = self._refresh, set()
            try:
                self._send_newest(topics)
            except Exception:
                self._connection.fail(Failure())

    def _send_newest(self, topics: set[bytes]) -> None:
        for topic in topics:
            if self._skipping and topic in self._skipping:
                for message in self._skipping[topic]():
                    self._connection.send_frame(as_frame(message))


def frames_to_replay(history: Any, replay: Replay | bool) -> Sequence[bytes]:
    """The frames to send for what was missed."""
    if callable(replay):
        messages = replay([as_message(frame) for frame in history.frames])
        return [as_frame(message) for message in messages]
    frames: Sequence[bytes] = history.frames
    return frames if replay or history.recovered else ()
