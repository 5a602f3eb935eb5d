"""The topics of one client of a feed, and its position in each.

The same for all three transports, which differ only in how they send an answer and a message.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from cluster.core.broker_state.retained_topic import format_position
from cluster.core.interfaces import Callback, Position, PubSub
from cluster.django.api.payloads import as_topic
from cluster.django.api.positions import NO_POSITION, parse_since
from cluster.django.feeds.message_format import encode, format_feed_position

clients: Counter[str] = Counter()
"""Clients of feeds in this process, by kind: "websocket", "stream", "poll"."""

of_websockets: dict[object, "FeedSubscriptions"] = {}
"""The subscriptions of the clients of feeds over WebSocket, by their WebSocket."""

CallLater = Callable[[Callable[[], None]], object]
"""Calls a function in the reactor's next iteration."""


class FeedClient(Protocol):
    """A client on one of the transports. It encodes what it sends (message_format), the messages of
    a history only as the client reads them."""

    def send_answer(self, topic: str, recovered: bool, answer: bytes, at_once: bool) -> None:
        """Send that a subscription is active, and the missed messages follow; or that messages are
        lost. ``at_once``: the client must know even if no message follows."""

    def send_message(self, topic: str, frame: bytes, position: str | None) -> None:
        """Send a message of a topic. ``position`` is None without history."""


class _Topic:
    """One topic of one client."""

    __slots__ = ("_answer", "_epoch", "_history_end", "_subscriptions", "callback", "name")

    def __init__(self, subscriptions: "FeedSubscriptions", name: str) -> None:
        self.name = name
        self.callback: Callback | None = None
        self._subscriptions = subscriptions
        self._epoch = ""
        self._history_end = 0  # the offset of the newest message when the history became known
        self._answer: tuple[bool, int] | None = None  # until it is passed on

    def answered(self, recovered: bool, epoch: str, offset: int) -> None:
        """The history is known; its frames follow, if there are any."""
        # The client may never receive those frames. So its position is the one before the first of
        # them, and not ``offset``; that is known when the first one comes, or none does.
        self._epoch = epoch
        self._answer = (recovered, offset)
        self._history_end = offset
        self._subscriptions.call_later(self.pass_on_answer)

    def pass_on_answer(self, first: int = 0) -> None:
        """Have the answer sent, once.

        Args:
            first: The offset of the first missed message; 0 if there is none.
        """
        if self._answer is None:
            return
        (recovered, offset), self._answer = self._answer, None
        position = None
        if self._epoch:
            position = format_position(self._epoch, first - 1 if first else offset)
        self._subscriptions.answered(self.name, recovered, position)

    def take(self, frame: bytes, offset: int) -> None:
        """Called with each frame of the topic."""
        if self._answer is not None:
            self.pass_on_answer(offset)
        position = None
        if offset:
            # Without a callback yet, this is a missed frame, and ``answered`` was given the epoch.
            if self.callback is not None:
                self._epoch = self.callback.epoch
            position = format_position(self._epoch, offset)
        self._subscriptions.is_history = 0 < offset <= self._history_end
        self._subscriptions.received(self.name, frame, position)

    def stop(self) -> None:
        self._answer = None
        if self.callback is not None:
            self.callback.stop()


class FeedSubscriptions:
    """The subscriptions of one client.

    Args:
        pubsub: The topics of the node.
        client: Sends answers and messages.
        call_later: Calls in the reactor's next iteration.

    ``positions`` has the client's position by topic, ``waiting`` the topics without an answer yet.
    ``is_history`` is whether the message that is sent was retained before the client subscribed.
    """

    __slots__ = (
        "_client", "_pubsub", "_stopped", "_topics",
        "call_later", "is_history", "positions", "waiting",
    )  # fmt: skip

    def __init__(self, pubsub: PubSub, client: FeedClient, call_later: CallLater) -> None:
        self.positions: dict[str, str] = {}
        self.waiting: set[str] = set()
        self.is_history = False
        self.call_later = call_later
        self._stopped = False
        self._pubsub = pubsub
        self._client = client
        self._topics: dict[str, _Topic] = {}

    @property
    def feed_position(self) -> str:
        """The client's position in the whole feed."""
        return format_feed_position(self.positions)

    def topics(self) -> tuple[bytes, ...]:
        """The topics to which the client is subscribed."""
        return tuple(map(as_topic, self._topics))

    def begin(self, topics: Iterable[str], since: Mapping[str, str]) -> None:
        """Subscribe to topics, each after its position in ``since`` if it has one there."""
        starts = {name: self._start(name, since.get(name)) for name in topics}
        # Only now, when all positions are known: each message is sent with that of the whole feed.
        for name, start in starts.items():
            self._subscribe(name, start)

    def add(self, name: str, since: str | None = None) -> None:
        """Subscribe to one more topic, after ``since``, or again to one of the present topics."""
        self.remove(name)
        self._subscribe(name, self._start(name, since))

    def remove(self, name: str) -> None:
        """Unsubscribe from a topic. Idempotent."""
        topic = self._topics.pop(name, None)
        if topic is not None:
            topic.stop()
            self.waiting.discard(name)
            self.positions.pop(name, None)

    def stop(self) -> None:
        """Unsubscribe from all topics, and ignore any that is added later."""
        self._stopped = True
        for name in tuple(self._topics):
            self.remove(name)

    def _start(self, name: str, since: str | None) -> Position | None:
        """Until a topic's answer has come, the client's position is the one that it named."""
        self.waiting.add(name)
        start = parse_since(since)
        if start is not None and start != NO_POSITION:
            self.positions[name] = format_position(*start)
        return start

    def _subscribe(self, name: str, start: Position | None) -> None:
        if self._stopped:  # a message of another topic closed the client
            return
        topic = self._topics[name] = _Topic(self, name)
        callback = self._pubsub.follow(
            as_topic(name), topic.take, since=start, answer=topic.answered, for_client=True
        )
        if self._topics.get(name) is topic:
            topic.callback = callback
        else:  # a message of the topic's history closed the client
            callback.stop()

    # Called by topics.

    def answered(self, name: str, recovered: bool, position: str | None) -> None:
        """A subscription is active, or messages of an active one are lost."""
        lost = name not in self.waiting
        self.waiting.discard(name)
        if position is None:
            self.positions.pop(name, None)
        else:
            self.positions[name] = position
        answer = encode(topic=name, recovered=recovered, id=position)
        # A client that polls must learn its position, too.
        at_once = not recovered and (lost or position is not None)
        self._client.send_answer(name, recovered, answer, at_once)

    def received(self, name: str, frame: bytes, position: str | None) -> None:
        """A topic has a message."""
        if position is not None:
            self.positions[name] = position
        self._client.send_message(name, frame, position)
