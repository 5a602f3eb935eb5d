"""RoutingTable: topic -> subscribers.

The rules:

* topics are opaque byte strings; two topics are the same if their bytes are;
* a subscriber is in a topic at most once, whatever often it subscribes;
* a topic without subscribers is not in the table: ``get`` then returns None;
* subscribers of a topic keep the order in which they came.

A node holds one table for its connections and one for its peers' interest, the broker one for the
nodes. Subscribers are any hashable objects; this file never looks into them.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


class RoutingTable(Generic[S]):
    """Who wants which topic, in both directions."""

    __slots__ = ("_by_subscriber", "_by_topic", "get")

    def __init__(self) -> None:
        self._by_topic: dict[bytes, dict[S, None]] = {}
        self._by_subscriber: dict[S, dict[bytes, None]] = {}
        # Bound once: publishing looks a topic up for every message, and this saves a Python call.
        # Callers iterate over what it returns at once and never change it.
        self.get = self._by_topic.get

    def add(self, topic: bytes, subscriber: S) -> bool:
        """Subscribe; True if the topic had no subscriber before."""
        subscribers = self._by_topic.get(topic)
        first = subscribers is None
        if subscribers is None:
            subscribers = self._by_topic[topic] = {}
        subscribers[subscriber] = None
        self._by_subscriber.setdefault(subscriber, {})[topic] = None
        return first

    def remove(self, topic: bytes, subscriber: S) -> bool:
        """Unsubscribe; True if the topic has no subscriber any more because of this."""
        topics = self._by_subscriber.get(subscriber)
        if topics is None or topic not in topics:
            return False
        del topics[topic]
        if not topics:
            del self._by_subscriber[subscriber]
        return self._take_out(topic, subscriber)

    def drop(self, subscriber: S) -> list[bytes]:
        """Unsubscribe from everything; returns the topics left without subscribers."""
        topics = self._by_subscriber.pop(subscriber, {})
        return [topic for topic in topics if self._take_out(topic, subscriber)]

    def topics(self, subscriber: S) -> tuple[bytes, ...]:
        """The topics of one subscriber, oldest subscription first."""
        return tuple(self._by_subscriber.get(subscriber, ()))

    def all_topics(self) -> tuple[bytes, ...]:
        """Every topic that has a subscriber."""
        return tuple(self._by_topic)

    def clear(self) -> None:
        """Forget everything."""
        self._by_topic.clear()
        self._by_subscriber.clear()

    def __contains__(self, topic: bytes) -> bool:
        return topic in self._by_topic

    def __len__(self) -> int:
        """How many topics have subscribers."""
        return len(self._by_topic)

    def _take_out(self, topic: bytes, subscriber: S) -> bool:
        subscribers = self._by_topic[topic]
        del subscribers[subscriber]
        if subscribers:
            return False
        del self._by_topic[topic]
        return True
