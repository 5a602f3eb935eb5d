"""Memberships: the topics on which a connection is present, and those whose members it watches.

Made when the handler uses presence for the first time. ``members`` (api.topics) says which members
are on a topic of the whole cluster.
"""

from collections.abc import Callable

from twisted.python.failure import Failure

from cluster.core.interfaces import ClientConnection, Presence

Changed = Callable[[str, bool], None]


class Memberships:
    """The presence of one connection. Topics are bytes here, as they travel."""

    __slots__ = ("_connection", "_joined", "_presence", "_unwatch")

    def __init__(self, connection: ClientConnection, presence: Presence) -> None:
        self._connection = connection
        self._presence = presence
        self._joined: dict[bytes, str] = {}
        self._unwatch: list[Callable[[], None]] = []

    def join(self, topic: bytes, member: str) -> None:
        """Join under this name; it replaces an earlier one."""
        before = self._joined.get(topic)
        if before != member:
            # First the new name, so that a client that only changes it does not seem to be gone.
            self._presence.join(topic, member)
            self._joined[topic] = member
            if before is not None:
                self._presence.leave(topic, before)

    def leave(self, topic: bytes) -> None:
        """Leave a topic; ignored if the connection has not joined it."""
        member = self._joined.pop(topic, None)
        if member is not None:
            self._presence.leave(topic, member)

    def watch(self, topic: bytes, callback: Changed) -> None:
        """Call back with each member that joins or leaves; an error closes the connection."""

        def changed(member: str, joined: bool) -> None:
            try:
                callback(member, joined)
            except Exception:
                self._connection.fail(Failure())

        self._unwatch.append(self._presence.watch(topic, changed))

    def end(self) -> None:
        """The client is gone: watch nothing, then leave everything."""
        for unwatch in self._unwatch:
            unwatch()
        self._unwatch.clear()
        for topic, member in self._joined.items():
            self._presence.leave(topic, member)
        self._joined.clear()
