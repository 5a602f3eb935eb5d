"""The members of topics, as one node knows them."""

from typing import Any

from cluster.core import wire
from tests.pubsub.node_case import PubSubTestCase


class PresenceTests(PubSubTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.presence = self.pubsub.presence
        self.changes: list[Any] = []
        self.stop = self.presence.watch(b"t", lambda *change: self.changes.append(change))

    def test_the_first_connection_joins_and_the_last_leaves(self) -> None:
        self.presence.join(b"t", "ada")
        self.presence.join(b"t", "ada")
        self.assertEqual(self.flushed(), [wire.PresenceUpdate("here", False, ((b"t", "ada"),))])
        self.presence.leave(b"t", "ada")
        self.assertEqual(self.flushed(), [])
        self.presence.leave(b"t", "ada")
        self.assertEqual(self.flushed(), [wire.PresenceUpdate("here", False, (), ((b"t", "ada"),))])
        self.assertEqual(self.changes, [("ada", True), ("ada", False)])

    def test_a_name_that_cannot_be_encoded_is_refused(self) -> None:
        """Otherwise it would raise in a flush, which sends the changes of all members."""
        self.assertRaises(UnicodeEncodeError, self.presence.join, b"t", "\ud800")
        self.assertEqual(self.presence.members(b"t"), ())
        self.assertEqual((self.flushed(), self.changes), ([], []))

    def test_members_of_other_nodes(self) -> None:
        self.presence.join(b"t", "ada")
        self.receive(
            wire.PresenceUpdate("a", False, ((b"t", "bob"), (b"t", "ada"))),
            wire.PresenceUpdate("b", True, ((b"t", "cid"),)),
            wire.PresenceUpdate("a", False, (), ((b"t", "ada"),)),
            wire.PresenceUpdate("b", True),
        )
        self.assertEqual(self.presence.members(b"t"), ("ada", "bob"))
        self.assertEqual(
            self.changes, [("ada", True), ("bob", True), ("cid", True), ("cid", False)]
        )

    def test_the_members_of_a_node_that_is_gone_leave(self) -> None:
        self.receive(wire.PresenceUpdate("a", False, ((b"t", "bob"),)), wire.Left("a"))
        self.assertEqual(self.changes, [("bob", True), ("bob", False)])
        self.assertEqual(self.presence.members(b"t"), ())

    def test_all_members_are_sent_to_another_broker(self) -> None:
        self.presence.join(b"t", "ada")
        self.bus.down()
        self.presence.join(b"u", "ada")
        self.bus.up("second", "a", "b")
        updates = [item for item in self.bus.take() if isinstance(item, wire.PresenceUpdate)]
        self.assertEqual(
            updates, [wire.PresenceUpdate("here", True, ((b"t", "ada"), (b"u", "ada")))]
        )
        self.assertEqual(self.flushed(), [])

    def test_members_of_other_nodes_stay_while_the_broker_is_down(self) -> None:
        self.receive(wire.PresenceUpdate("a", False, ((b"t", "bob"),)))
        self.bus.down()
        self.bus.up("second", "a", "b")
        self.receive(wire.PresenceUpdate("a", True, ((b"t", "bob"),)))
        self.assertEqual(self.changes, [("bob", True)])

    def test_a_stopped_watcher_is_not_called(self) -> None:
        self.stop()
        self.stop()
        self.presence.join(b"t", "ada")
        self.assertEqual(self.changes, [])

    def test_a_watcher_that_fails_does_not_affect_others(self) -> None:
        self.stop()
        self.presence.watch(b"t", lambda member, joined: 1 // 0)
        self.presence.watch(b"t", lambda *change: self.changes.append(change))
        self.presence.join(b"t", "ada")
        self.assertEqual(self.changes, [("ada", True)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
