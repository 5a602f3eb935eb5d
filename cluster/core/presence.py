"""PresenceTable: who is on a topic, by the nodes that say so.

The rules:

* a member is on a topic as long as at least one node holds it there;
* a node holds a member once, however many connections of it the node has;
* what changes is returned: members that nobody held before (joined), and that nobody holds any
  more (left). Whatever changes nothing returns nothing.

Members are names that the application gives; two are the same if their text is.
"""

from collections.abc import Iterable
from typing import NamedTuple

Place = tuple[bytes, str]
"""A topic and a member on it."""


class Change(NamedTuple):
    """A member joined or left a topic."""

    topic: bytes
    member: str
    joined: bool


class PresenceTable:
    """Topic -> members -> the nodes that hold them."""

    __slots__ = ("_by_node", "_by_topic")

    def __init__(self) -> None:
        self._by_topic: dict[bytes, dict[str, set[str]]] = {}
        self._by_node: dict[str, dict[Place, None]] = {}

    def members(self, topic: bytes) -> tuple[str, ...]:
        """Who is there, whoever came first in front."""
        return tuple(self._by_topic.get(topic, ()))

    def places(self, node: str) -> tuple[Place, ...]:
        """All that a node holds, in the order in which it came."""
        return tuple(self._by_node.get(node, ()))

    def join(self, node: str, place: Place) -> Change | None:
        """A node holds a member."""
        held = self._by_node.setdefault(node, {})
        if place in held:
            return None
        held[place] = None
        topic, member = place
        holders = self._by_topic.setdefault(topic, {}).setdefault(member, set())
        holders.add(node)
        return Change(topic, member, True) if len(holders) == 1 else None

    def leave(self, node: str, place: Place) -> Change | None:
        """A node holds a member no more."""
        held = self._by_node.get(node)
        if held is None or place not in held:
            return None
        del held[place]
        if not held:
            del self._by_node[node]
        topic, member = place
        members = self._by_topic[topic]
        members[member].discard(node)
        if members[member]:
            return None
        del members[member]
        if not members:
            del self._by_topic[topic]
        return Change(topic, member, False)

    def replace(self, node: str, places: Iterable[Place]) -> list[Change]:
        """A node says anew all that it holds."""
        wanted = dict.fromkeys(places)
        gone = [place for place in self.places(node) if place not in wanted]
        changes = [self.leave(node, place) for place in gone]
        changes += [self.join(node, place) for place in wanted]
        return [change for change in changes if change is not None]

    def drop(self, node: str) -> list[Change]:
        """A node is gone, and whoever only it held."""
        return self.replace(node, ())
