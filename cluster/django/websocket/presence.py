"""Presence: the topics that a connection is a member of.

Who is on a topic, cluster-wide, is ``members`` (topics.py); pubsub/presence.py counts.
"""

from collections.abc import Callable

from twisted.python.failure import Failure

from cluster.django.api.payloads import Topic, as_topic
from cluster.django.websocket.lifetime import Attached


class Member(Attached):
    """What ``ws`` can do with presence."""

    __slots__ = ()

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

        def changed(member: str, joined: bool) -> None:
            try:
                callback(member, joined)
            except Exception:
                self._connection.fail(Failure())

        self._at_end(changed, self._pubsub.presence.watch(as_topic(topic), changed))

    def leave_all(self) -> None:
        super().leave_all()  # it does not hear of itself
        for topic, member in (self._joined or {}).items():
            self._pubsub.presence.leave(topic, member)
        self._joined = None
