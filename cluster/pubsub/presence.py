"""Who is on which topic, as this node knows it: through its own connections and through its peers.

Each node tells all others of its members; so everyone has the whole table, and a node that is gone
takes those along whom only it held (core.presence has the rules). When the bus comes up, each says
anew all that it holds.
"""

from collections import Counter
from collections.abc import Callable

from twisted.logger import Logger

from cluster.core import wire
from cluster.core.presence import Change, Membership, PresenceTable

Watcher = Callable[[str, bool], None]
"""Called with a member and whether it joined (or left)."""


class Presence:
    """``name`` is this node's; ``schedule`` asks for a flush, at which ``take_news`` is sent."""

    log = Logger()

    def __init__(self, name: str, schedule: Callable[[], None]) -> None:
        self.name = name
        self.table = PresenceTable()
        self._schedule = schedule
        self._held: Counter[Membership] = Counter()
        self._news: dict[Membership, bool] = {}
        self._watchers: dict[bytes, dict[object, Watcher]] = {}

    def join(self, topic: bytes, member: str) -> None:
        """One more connection of this node is the member."""
        member.encode()  # what cannot be sent fails here, not in everybody's next flush
        place = (topic, member)
        self._held[place] += 1
        if self._held[place] == 1:
            self._tell(place, True)
            self._changed(self.table.join(self.name, place))

    def leave(self, topic: bytes, member: str) -> None:
        """One less is. The caller has joined before."""
        place = (topic, member)
        self._held[place] -= 1
        if self._held[place] <= 0:
            del self._held[place]
            self._tell(place, False)
            self._changed(self.table.leave(self.name, place))

    def members(self, topic: bytes) -> tuple[str, ...]:
        """Who is on the topic, on any node."""
        return self.table.members(topic)

    def watch(self, topic: bytes, watcher: Watcher) -> Callable[[], None]:
        """Call back with each member that joins or leaves; returns what ends that."""
        key = object()
        self._watchers.setdefault(topic, {})[key] = watcher

        def stop() -> None:
            watchers = self._watchers.get(topic)
            if watchers is not None and watchers.pop(key, None) is not None and not watchers:
                del self._watchers[topic]

        return stop

    # What the others are told, and tell.

    @property
    def has_news(self) -> bool:
        """Whether take_news has anything to tell."""
        return bool(self._news)

    def take_news(self) -> wire.PresenceUpdate:
        """What has changed here since the last call."""
        news, self._news = self._news, {}
        joined = tuple(place for place, is_here in news.items() if is_here)
        left = tuple(place for place, is_here in news.items() if not is_here)
        return wire.PresenceUpdate(self.name, False, joined, left)

    def all_held(self) -> wire.PresenceUpdate:
        """All that this node holds, for a bus that has just come up."""
        self._news = {}
        return wire.PresenceUpdate(self.name, True, tuple(self._held))

    def said(self, message: wire.PresenceUpdate) -> None:
        """A peer tells of its members."""
        if message.full:
            self._changed(*self.table.replace(message.node, message.joined))
            return
        for place in message.left:
            self._changed(self.table.leave(message.node, place))
        for place in message.joined:
            self._changed(self.table.join(message.node, place))

    def remote_node_left(self, node: str) -> None:
        """A peer is gone."""
        self._changed(*self.table.drop(node))

    def _tell(self, place: Membership, is_here: bool) -> None:
        self._news[place] = is_here
        self._schedule()

    def _changed(self, *changes: Change | None) -> None:
        for change in changes:
            if change is None:
                continue
            for watcher in tuple(self._watchers.get(change.topic, {}).values()):
                try:
                    watcher(change.member, change.joined)
                except Exception:
                    self.log.failure("a watcher of presence failed")
