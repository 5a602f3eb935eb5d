"""Following: the topics that one client of a feed hears, and where it is in each.

The same for all three transports, which only differ in what they do with an answer and a message.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from cluster.core.retained import format_position
from cluster.django.api.topics import as_topic
from cluster.django.feeds.message_format import MessageMemo, encode, format_place
from cluster.django.websocket.subscription import NO_POSITION, place_after

clients: Counter[str] = Counter()
"""Clients of feeds in this process, by kind: "websocket", "stream", "poll"."""

_memo = MessageMemo()

Later = Callable[[Callable[[], None]], object]
"""Calls back in the reactor's next iteration."""


class FeedClient(Protocol):
    """Who hears. What is said is JSON of the envelope; the position is None without history."""

    def answered(self, topic: str, said: bytes, recovered: bool) -> None:
        """A subscription is in force; what was missed follows."""

    def took(self, topic: str, said: bytes) -> None:
        """A message."""


class _Topic:
    """One topic of one client."""

    __slots__ = ("_epoch", "_pending", "_subscriptions", "name", "subscriber")

    def __init__(self, following: "FeedSubscriptions", name: str) -> None:
        self.name = name
        self.subscriber: Any = None
        self._subscriptions = following
        self._epoch = ""
        self._pending: tuple[bool, int] | None = None

    def answer(self, recovered: bool, epoch: str, offset: int) -> None:
        # Where the client is depends on what follows, which it may never receive: if anything was
        # missed, it is just before the first of that.
        self._epoch = epoch
        self._pending = (recovered, offset)
        self._subscriptions.later(self.settle)

    def settle(self, first: int = 0) -> None:
        """Tell the answer; ``first`` is the number of the first message that was missed."""
        if self._pending is None:
            return
        (recovered, offset), self._pending = self._pending, None
        position = None
        if self._epoch:
            position = format_position(self._epoch, first - 1 if first else offset)
        self._subscriptions.answered(self.name, recovered, position)

    def take(self, frame: bytes, offset: int) -> None:
        if self._pending is not None:
            self.settle(offset)
        position = None
        if offset:
            if self.subscriber is not None:  # else the answer has just told the epoch
                self._epoch = self.subscriber.epoch
            position = format_position(self._epoch, offset)
        self._subscriptions.took(self.name, frame, position)

    def stop(self) -> None:
        self._pending = None
        if self.subscriber is not None:
            self.subscriber.stop()


class FeedSubscriptions:
    """``positions``: topic -> where the client is in it; ``waiting``: topics without an answer."""

    __slots__ = ("_client", "_pubsub", "_stopped", "_topics", "later", "positions", "waiting")

    def __init__(self, pubsub: Any, client: FeedClient, later: Later) -> None:
        self.positions: dict[str, str] = {}
        self.waiting: set[str] = set()
        self.later = later
        self._stopped = False
        self._pubsub = pubsub
        self._client = client
        self._topics: dict[str, _Topic] = {}

    @property
    def place(self) -> str:
        """Where the client is in the whole feed."""
        return format_place(self.positions)

    def begin(self, topics: Iterable[str], since: Mapping[str, str]) -> None:
        """Follow topics, each after its position in ``since`` if it has one there."""
        places = {name: self._start(name, since.get(name)) for name in topics}
        for name, place in places.items():  # now that the place in all of them is known
            self._follow(name, place)

    def add(self, name: str, since: str | None = None) -> None:
        """Follow one more topic, after ``since``; one that is followed already begins anew."""
        self.remove(name)
        self._follow(name, self._start(name, since))

    def remove(self, name: str) -> None:
        """Follow a topic no longer; ignored if it is not."""
        topic = self._topics.pop(name, None)
        if topic is not None:
            topic.stop()
            self.waiting.discard(name)
            self.positions.pop(name, None)

    def stop(self) -> None:
        """Follow nothing any more, whatever is added."""
        self._stopped = True
        for name in tuple(self._topics):
            self.remove(name)

    def _start(self, name: str, since: str | None) -> tuple[str, int] | None:
        """Until a topic's answer is there, the client is where it was."""
        self.waiting.add(name)
        place = place_after(since)
        if place is not None and place != NO_POSITION:
            self.positions[name] = format_position(*place)
        return place

    def _follow(self, name: str, place: tuple[str, int] | None) -> None:
        if self._stopped:  # closed by what it has heard of another
            return
        topic = self._topics[name] = _Topic(self, name)
        subscriber = self._pubsub.follow(
            as_topic(name), topic.take, since=place, answer=topic.answer, for_client=True
        )
        if self._topics.get(name) is topic:
            topic.subscriber = subscriber
        else:  # closed by what it has just heard
            subscriber.stop()

    # What topics call.

    def answered(self, name: str, recovered: bool, position: str | None) -> None:
        self.waiting.discard(name)
        if position is None:
            self.positions.pop(name, None)
        else:
            self.positions[name] = position
        said = encode(topic=name, recovered=recovered, id=position)
        self._client.answered(name, said, recovered)

    def took(self, name: str, frame: bytes, position: str | None) -> None:
        if position is not None:
            self.positions[name] = position
        self._client.took(name, _memo.encode(name, frame, position))
