"""RoutingTable: topic -> subscribers.

The rules:

* topics are opaque byte strings;
* a subscriber is in a topic at most once, however often it subscribes;
* a topic without subscribers is not in the table: ``get`` then returns None;
* subscribers of a topic keep the order in which they subscribed.

A node has one table for its connections and one for the remote nodes; the broker has one for all
nodes. Subscribers are any hashable objects.
"""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


class RoutingTable(Generic[S]):
    """Topics and their subscribers, in both directions."""

    __slots__ = ("_by_subscriber", "_by_topic", "get")

    def __init__(self) -> None:
        self._by_topic: dict[bytes, dict[S, None]] = {}
        self._by_subscriber: dict[S, dict[bytes, None]] = {}
        # The dict's own method: publishing looks up a topic for every message, and this saves a
        # Python call. Callers iterate over the result at once, and never change it.
        self.get = self._by_topic.get

    def add(self, topic: bytes, subscriber: S) -> bool:
        """Subscribe; returns True if the topic had no subscriber."""
        subscribers = self._by_topic.get(topic)
        first = subscribers is None
        if subscribers is None:
            subscribers = self._by_topic[topic] = {}
        subscribers[subscriber] = None
        self._by_subscriber.setdefault(subscriber, {})[topic] = None
        return first

    def remove(self, topic: bytes, subscriber: S) -> bool:
        """Unsubscribe; returns True if this was the last subscriber of the topic."""
        topics = self._by_subscriber.get(subscriber)
        if topics is None or topic not in topics:
            return False
        del topics[topic]
        if not topics:
            del self._by_subscriber[subscriber]
        return self._remove_from(topic, subscriber)

    def drop(self, subscriber: S) -> list[bytes]:
        """Unsubscribe from all topics; returns those that have no subscriber now."""
        topics = self._by_subscriber.pop(subscriber, {})
        return [topic for topic in topics if self._remove_from(topic, subscriber)]

    def topics(self, subscriber: S) -> tuple[bytes, ...]:
        """The topics of a subscriber, the oldest subscription first."""
        return tuple(self._by_subscriber.get(subscriber, ()))

    def __iter__(self) -> Iterator[bytes]:
        """Over all topics that have subscribers."""
        return iter(self._by_topic)

    def clear(self) -> None:
        """Remove all subscriptions."""
        self._by_topic.clear()
        self._by_subscriber.clear()

    def __contains__(self, topic: bytes) -> bool:
        return topic in self._by_topic

    def __len__(self) -> int:
        """The number of topics that have subscribers."""
        return len(self._by_topic)

    def _remove_from(self, topic: bytes, subscriber: S) -> bool:
        subscribers = self._by_topic[topic]
        del subscribers[subscriber]
        if subscribers:
            return False
        del self._by_topic[topic]
        return True
