"""The subscribers of each topic on this node, and the changes that other nodes must receive.

A topic is wanted while it has a connection or a special subscriber (callback_subscribers.py).
"""

from collections.abc import Callable

from cluster.core.interfaces import Subscriber
from cluster.core.routing import RoutingTable
from cluster.pubsub.callback_subscribers import CallbackSubscriber, SpecialSubscribers


class SubscriberTable:
    """``schedule`` asks for a flush, at which the caller sends what ``take_changes`` returns.

    ``unwanted`` is called with each topic that has lost its last subscriber.
    """

    def __init__(self, schedule: Callable[[], None], unwanted: Callable[[bytes], None]) -> None:
        self.connections: RoutingTable[Subscriber] = RoutingTable()
        self.special: dict[bytes, SpecialSubscribers] = {}
        self._changes: dict[bytes, bool] = {}
        self._schedule = schedule
        self._unwanted = unwanted

    def __contains__(self, topic: bytes) -> bool:
        return topic in self.connections or topic in self.special

    def has_connection(self, connection: Subscriber, topic: bytes) -> bool:
        """Whether a connection subscribes to a topic and skips nothing."""
        return connection in (self.connections.get(topic) or ())

    def add(self, connection: Subscriber, topic: bytes) -> None:
        """Subscribe a connection."""
        if self.connections.add(topic, connection):
            self._add_topic(topic)

    def remove(self, connection: Subscriber, topic: bytes) -> None:
        """Unsubscribe a connection; does nothing if it does not subscribe."""
        if self.connections.remove(topic, connection):
            self._remove_topic_if_unused(topic)

    def drop(self, connection: Subscriber) -> None:
        """Unsubscribe a connection from all topics that it does not skip."""
        for topic in self.connections.drop(connection):
            self._remove_topic_if_unused(topic)

    def remove_skipping(self, connection: Subscriber, topic: bytes) -> bool:
        """Unsubscribe a skipping connection; returns False if it did not subscribe as one."""
        special = self.special.get(topic)
        if special is None or special.skipping.pop(connection, None) is None:
            return False
        self.remove_if_empty(topic, special)
        return True

    def add_callback(self, subscriber: CallbackSubscriber) -> None:
        """Subscribe a function until its ``stop`` is called."""
        special = self.special_of(subscriber.topic)
        special.callbacks[subscriber] = None
        special.clients += subscriber.for_client
        subscriber.leave = lambda: self._remove_callback(subscriber)

    def _remove_callback(self, subscriber: CallbackSubscriber) -> None:
        special = self.special.get(subscriber.topic)
        if special is not None and special.callbacks.pop(subscriber, True) is None:
            special.clients -= subscriber.for_client
            self.remove_if_empty(subscriber.topic, special)

    def special_of(self, topic: bytes) -> SpecialSubscribers:
        """The special subscribers of a topic, for adding one.

        Call ``remove_if_empty`` after removing one.
        """
        special = self.special.get(topic)
        if special is None:
            special = self.special[topic] = SpecialSubscribers()
            if topic not in self.connections:
                self._add_topic(topic)
        return special

    def remove_if_empty(self, topic: bytes, special: SpecialSubscribers) -> None:
        """Forget a topic's special subscribers if there are none left."""
        if special.empty and self.special.get(topic) is special:
            del self.special[topic]
            self._remove_topic_if_unused(topic)

    # For the other nodes.

    @property
    def changed(self) -> bool:
        """Whether ``take_changes`` has something to send."""
        return bool(self._changes)

    def take_changes(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Returns the changes since the last call: the topics that are wanted now, and those that
        are not wanted any more."""
        changes, self._changes = self._changes, {}
        added = tuple(topic for topic, wanted in changes.items() if wanted)
        return added, tuple(topic for topic, wanted in changes.items() if not wanted)

    def all_topics(self) -> tuple[bytes, ...]:
        """All wanted topics, for a bus that has just come up."""
        self._changes = {}
        return tuple(dict.fromkeys((*self.connections, *self.special)))

    def _add_topic(self, topic: bytes) -> None:
        if topic not in self.special or topic not in self.connections:  # else wanted already
            self._changes[topic] = True
            self._schedule()

    def _remove_topic_if_unused(self, topic: bytes) -> None:
        if topic not in self:
            self._changes[topic] = False
            self._unwanted(topic)
            self._schedule()
