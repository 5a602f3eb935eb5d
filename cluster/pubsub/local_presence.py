"""The members of topics, as this node knows them: its own, and those of other nodes.

Each node sends its members to all other nodes, so every node has the whole table. When a node is
gone, the members that only it held leave (core.broker_state.presence has the rules). When the bus
comes up, each node sends all of its members again.
"""

from collections import Counter
from collections.abc import Callable

from twisted.logger import Logger

from cluster.core import wire
from cluster.core.broker_state.presence import Change, Membership, PresenceTable

Watcher = Callable[[str, bool], None]
"""Called with a member, and whether it joined (True) or left."""


class LocalPresence:
    """Members on topics. ``name`` is that of this node; ``schedule`` asks for a flush.

    The caller of ``schedule`` sends what ``take_changes`` returns to the exchange.
    """

    log = Logger()

    def __init__(self, name: str, schedule: Callable[[], None]) -> None:
        self.name = name
        self.table = PresenceTable()
        self._schedule = schedule
        self._held: Counter[Membership] = Counter()
        self._changes: dict[Membership, bool] = {}
        self._watchers: dict[bytes, dict[object, Watcher]] = {}

    def join(self, topic: bytes, member: str) -> None:
        """Count one more connection of a member on a topic.

        Raises ValueError if the member's name cannot be encoded.
        """
        member.encode()  # raises for this caller, rather than in the flush of the whole node
        membership = (topic, member)
        self._held[membership] += 1
        if self._held[membership] == 1:
            self._change(membership, True)
            self._notify(self.table.join(self.name, membership))

    def leave(self, topic: bytes, member: str) -> None:
        """Count one connection less. Each call must follow a ``join``."""
        membership = (topic, member)
        self._held[membership] -= 1
        if self._held[membership] <= 0:
            del self._held[membership]
            self._change(membership, False)
            self._notify(self.table.leave(self.name, membership))

    def members(self, topic: bytes) -> tuple[str, ...]:
        """The members on any node, in the order in which they joined."""
        return self.table.members(topic)

    def watch(self, topic: bytes, watcher: Watcher) -> Callable[[], None]:
        """Call ``watcher(member, joined)`` for each change; returns a function that ends this."""
        key = object()
        self._watchers.setdefault(topic, {})[key] = watcher

        def stop() -> None:
            watchers = self._watchers.get(topic)
            if watchers is not None and watchers.pop(key, None) is not None and not watchers:
                del self._watchers[topic]

        return stop

    # To and from the other nodes.

    @property
    def changed(self) -> bool:
        """Whether ``take_changes`` has something to send."""
        return bool(self._changes)

    def take_changes(self) -> wire.PresenceUpdate:
        """The changes on this node since the last call."""
        changes, self._changes = self._changes, {}
        joined = tuple(membership for membership, is_here in changes.items() if is_here)
        left = tuple(membership for membership, is_here in changes.items() if not is_here)
        return wire.PresenceUpdate(self.name, False, joined, left)

    def all_held(self) -> wire.PresenceUpdate:
        """All members of this node, for a bus that has just come up."""
        self._changes = {}
        return wire.PresenceUpdate(self.name, True, tuple(self._held))

    def received(self, message: wire.PresenceUpdate) -> None:
        """Apply an update of another node."""
        if message.full:
            self._notify(*self.table.replace(message.node, message.joined))
            return
        for membership in message.left:
            self._notify(self.table.leave(message.node, membership))
        for membership in message.joined:
            self._notify(self.table.join(message.node, membership))

    def remote_node_left(self, node: str) -> None:
        """Remove another node that is gone."""
        self._notify(*self.table.drop(node))

    def _change(self, membership: Membership, is_here: bool) -> None:
        self._changes[membership] = is_here
        self._schedule()

    def _notify(self, *changes: Change | None) -> None:
        for change in changes:
            if change is None:
                continue
            for watcher in tuple(self._watchers.get(change.topic, {}).values()):
                try:
                    watcher(change.member, change.joined)
                except Exception:
                    self.log.failure("a watcher of presence failed")
