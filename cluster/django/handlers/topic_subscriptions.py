"""Subscriptions: the topics whose messages a client receives.

Made when the handler subscribes for the first time. The node's topics know of plain subscriptions;
here are those that wait for a history, and those that skip messages while the client does not read.
"""

from collections.abc import Callable, Sequence

from twisted.python.failure import Failure

from cluster.core.interfaces import Callback, ClientConnection, History, PubSub
from cluster.django.api.payloads import Payload, as_frame, as_message
from cluster.django.api.positions import parse_since
from cluster.django.handlers.drained import when_drained
from cluster.django.handlers.lifetime import Lifetime
from cluster.django.handlers.subscription import Subscription

Replay = Callable[[list[Payload]], Sequence[Payload]]
SendRefresh = Callable[[], Sequence[Payload]]
OnGap = Callable[[], None]


class Subscriptions:
    """The subscriptions of one connection. Topics are bytes here, as they travel."""

    __slots__ = (
        "_connection",
        "_lifetime",
        "_on_gap",
        "_pubsub",
        "_skipped",
        "_skipping",
    )

    def __init__(self, connection: ClientConnection, pubsub: PubSub, lifetime: Lifetime) -> None:
        self._connection = connection
        self._pubsub = pubsub
        self._lifetime = lifetime
        self._skipping: dict[bytes, SendRefresh] = {}
        self._skipped: set[bytes] = set()
        self._on_gap: dict[bytes, OnGap] | None = None  # most connections have none

    @property
    def skipping(self) -> tuple[bytes, ...]:
        """The topics of which messages are skipped while the client does not read."""
        return tuple(self._skipping)

    def add(
        self,
        topic: bytes,
        since: str | None,
        replay: Replay | bool,
        refresh: SendRefresh | None,
        on_gap: OnGap | None = None,
    ) -> Subscription:
        """As WebSocket.subscribe, which must have checked that the connection is open."""
        position = parse_since(since)
        self._end_pending(topic)
        self._forget_on_gap(topic)
        if refresh is None and topic in self._skipping:
            self.remove(topic)
        if on_gap is not None:
            if self._on_gap is None:
                self._on_gap = {}
            self._on_gap[topic] = on_gap
        if on_gap is not None or refresh is not None:
            self._connection.on_frames_lost = self._frames_lost
        if refresh is not None:
            self._add_skipping(topic, refresh)
            return Subscription(True, self._connection, self._lifetime)
        if position is None and replay is True:
            self._pubsub.subscribe(self._connection, topic)
            return Subscription(
                False, self._connection, self._lifetime, lambda asked: self._ask(topic, asked)
            )
        subscription = Subscription(False, self._connection, self._lifetime)
        self._lifetime.at_end(topic, subscription.end)

        def begin(history: History) -> tuple[bytes, ...]:
            self._lifetime.not_at_end(topic)
            subscription.answer(history.recovered, history.epoch, history.offset)
            return frames_to_replay(history, replay)

        self._pubsub.subscribe_since(self._connection, topic, position, begin)
        return subscription

    def remove(self, topic: bytes) -> None:
        """Unsubscribe from a topic."""
        self._end_pending(topic)
        self._pubsub.unsubscribe(self._connection, topic)
        self._skipping.pop(topic, None)
        self._forget_on_gap(topic)

    def _forget_on_gap(self, topic: bytes) -> None:
        if self._on_gap is not None:
            self._on_gap.pop(topic, None)

    def _end_pending(self, topic: bytes) -> None:
        """End a subscription that waits for its history, because another one replaces it."""
        end = self._lifetime.not_at_end(topic)
        if end is not None:
            end()

    def _ask(self, topic: bytes, subscription: Subscription) -> None:
        """Find out the position of a topic that the connection has subscribed to.

        The frames of the subscription and the answer come from the same copy of the topic, so the
        answer is the position of the last frame that was sent when the copy became known.
        """
        lifetime = self._lifetime
        if lifetime.close_code is not None:
            subscription.end()
            return

        def answer(recovered: bool, epoch: str, offset: int) -> None:
            lifetime.not_at_end(subscription)
            subscription.answer(recovered, epoch, offset)
            if callback is not None:
                callback.stop()

        def end() -> None:
            subscription.end()
            if callback is not None:
                callback.stop()

        callback: Callback | None = None
        lifetime.at_end(subscription, end)
        callback = self._pubsub.follow(
            topic, lambda frame, offset: None, replay=False, answer=answer
        )
        if subscription.is_known:  # answered before there was a callback to stop
            callback.stop()

    def _add_skipping(self, topic: bytes, refresh: SendRefresh) -> None:
        if topic not in self._skipping:
            self._pubsub.unsubscribe(self._connection, topic)
        self._skipping[topic] = refresh
        self._pubsub.subscribe_skipping(self._connection, topic, lambda: self._skip(topic))

    def _skip(self, topic: bytes) -> None:
        """A message of the topic was skipped."""
        if not self._skipped:
            when_drained(self._connection, self._send_newest)
        self._skipped.add(topic)

    def _frames_lost(self, topic: bytes) -> None:
        """Messages of the topic were lost on the way to this node."""
        try:
            if self._on_gap is not None and topic in self._on_gap:
                self._on_gap[topic]()
            elif topic not in self._skipping:
                self._connection.on_frames_lost = None
                self._connection.frames_lost(topic)
            elif self._connection.blocked:
                self._skip(topic)
            else:
                self._send_refresh(topic)
        except Exception:
            self._connection.fail(Failure())

    def _send_refresh(self, topic: bytes) -> None:
        for message in self._skipping[topic]():
            self._connection.send_frame(as_frame(message))

    def _send_newest(self) -> None:
        """The client reads again: send what stands for the skipped messages."""
        topics, self._skipped = self._skipped, set()
        try:
            for topic in topics:
                if topic in self._skipping:
                    self._send_refresh(topic)
        except Exception:
            self._connection.fail(Failure())


def frames_to_replay(history: History, replay: Replay | bool) -> tuple[bytes, ...]:
    """The frames to send of what a topic retains."""
    if callable(replay):
        messages = tuple(map(as_message, history.frames))
        # All clients share the frame of a message that is sent as it is. The function receives a
        # copy, because an identity is that of another object when the first one is gone.
        frames = {id(each): frame for each, frame in zip(messages, history.frames, strict=True)}
        chosen = replay(list(messages))
        return tuple(frames.get(id(message)) or as_frame(message) for message in chosen)
    return history.frames if replay or history.recovered else ()
