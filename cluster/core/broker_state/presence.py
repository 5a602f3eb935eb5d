"""PresenceTable: which members are on a topic, through which nodes.

The rules:

* a member is on a topic as long as at least one node holds it there;
* a node holds a member once, however many connections of it the node has;
* methods return the changes of the table: members that no node held before (joined), and members
  that no node holds now (left).

Members are names that the application chooses. Two names are the same member if they are equal.
"""

from collections.abc import Iterable
from typing import NamedTuple

Membership = tuple[bytes, str]
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
        self._by_node: dict[str, dict[Membership, None]] = {}

    def members(self, topic: bytes) -> tuple[str, ...]:
        """The members of a topic, in the order in which they joined."""
        return tuple(self._by_topic.get(topic, ()))

    def memberships(self, node: str) -> tuple[Membership, ...]:
        """The memberships that a node holds, the oldest first."""
        return tuple(self._by_node.get(node, ()))

    def join(self, node: str, membership: Membership) -> Change | None:
        """Record that a node holds a member."""
        held = self._by_node.setdefault(node, {})
        if membership in held:
            return None
        held[membership] = None
        topic, member = membership
        holders = self._by_topic.setdefault(topic, {}).setdefault(member, set())
        holders.add(node)
        return Change(topic, member, True) if len(holders) == 1 else None

    def leave(self, node: str, membership: Membership) -> Change | None:
        """Record that a node does not hold a member any more."""
        held = self._by_node.get(node)
        if held is None or membership not in held:
            return None
        del held[membership]
        if not held:
            del self._by_node[node]
        topic, member = membership
        members = self._by_topic[topic]
        members[member].discard(node)
        if members[member]:
            return None
        del members[member]
        if not members:
            del self._by_topic[topic]
        return Change(topic, member, False)

    def replace(self, node: str, memberships: Iterable[Membership]) -> list[Change]:
        """Replace all memberships that a node holds."""
        wanted = dict.fromkeys(memberships)
        gone = [each for each in self.memberships(node) if each not in wanted]
        changes = [self.leave(node, each) for each in gone]
        changes += [self.join(node, each) for each in wanted]
        return [change for change in changes if change is not None]

    def drop(self, node: str) -> list[Change]:
        """Remove all memberships of a node that is gone."""
        return self.replace(node, ())
