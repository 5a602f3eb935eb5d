"""Who is on a topic, as a node knows it."""

from typing import Any

from cluster.core import wire
from tests.pubsub.test_pubsub import PubSubTestCase


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

    def test_a_name_that_cannot_be_sent_is_no_member(self) -> None:
        """Else it would be found out at a flush, which has what everybody else sends."""
        self.assertRaises(UnicodeEncodeError, self.presence.join, b"t", "\ud800")
        self.assertEqual(self.presence.members(b"t"), ())
        self.assertEqual((self.flushed(), self.changes), ([], []))

    def test_peers_tell_of_their_members(self) -> None:
        self.presence.join(b"t", "ada")
        self.hear(
            wire.PresenceUpdate("a", False, ((b"t", "bob"), (b"t", "ada"))),
            wire.PresenceUpdate("b", True, ((b"t", "cid"),)),
            wire.PresenceUpdate("a", False, (), ((b"t", "ada"),)),
            wire.PresenceUpdate("b", True),
        )
        self.assertEqual(self.presence.members(b"t"), ("ada", "bob"))
        self.assertEqual(
            self.changes, [("ada", True), ("bob", True), ("cid", True), ("cid", False)]
        )

    def test_a_peer_that_dies_takes_its_members_along(self) -> None:
        self.hear(wire.PresenceUpdate("a", False, ((b"t", "bob"),)), wire.Left("a"))
        self.assertEqual(self.changes, [("bob", True), ("bob", False)])
        self.assertEqual(self.presence.members(b"t"), ())

    def test_everything_is_said_anew_to_another_broker(self) -> None:
        self.presence.join(b"t", "ada")
        self.bus.down()
        self.presence.join(b"u", "ada")
        self.bus.up("second", "a", "b")
        said = [item for item in self.bus.take() if isinstance(item, wire.PresenceUpdate)]
        self.assertEqual(said, [wire.PresenceUpdate("here", True, ((b"t", "ada"), (b"u", "ada")))])
        self.assertEqual(self.flushed(), [])

    def test_members_of_peers_stay_while_the_broker_is_away(self) -> None:
        self.hear(wire.PresenceUpdate("a", False, ((b"t", "bob"),)))
        self.bus.down()
        self.bus.up("second", "a", "b")
        self.hear(wire.PresenceUpdate("a", True, ((b"t", "bob"),)))
        self.assertEqual(self.changes, [("bob", True)])

    def test_who_stops_watching_is_not_told(self) -> None:
        self.stop()
        self.stop()
        self.presence.join(b"t", "ada")
        self.assertEqual(self.changes, [])

    def test_a_watcher_that_fails_hurts_no_other(self) -> None:
        self.stop()
        self.presence.watch(b"t", lambda member, joined: 1 // 0)
        self.presence.watch(b"t", lambda *change: self.changes.append(change))
        self.presence.join(b"t", "ada")
        self.assertEqual(self.changes, [("ada", True)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
