"""What a connection does with presence."""

from typing import Any

from tests.django.handlers.test_topic_subscriptions import SubscriberTestCase


class PresenceTests(SubscriberTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.seen: list[Any] = []
        self.ws.on_presence("t", lambda *change: self.seen.append(change))

    def test_while_the_connection_lasts(self) -> None:
        self.other.join("t", "ada")
        self.other.join("t", "ada")
        self.other.connection_closed(1000)
        self.assertEqual(self.seen, [("ada", True), ("ada", False)])

    def test_until_it_leaves(self) -> None:
        self.other.join("t", "ada")
        self.other.leave("t")
        self.other.leave("t")
        self.other.connection_closed(1000)
        self.assertEqual(self.seen, [("ada", True), ("ada", False)])

    def test_by_another_name(self) -> None:
        self.other.join("t", "guest")
        self.other.join("t", "ada")
        self.assertEqual(self.seen, [("guest", True), ("ada", True), ("guest", False)])

    def test_two_connections_of_one_member(self) -> None:
        self.ws.join("t", "ada")
        self.other.join("t", "ada")
        self.ws.leave("t")
        self.assertEqual(self.seen, [("ada", True)])
        self.assertEqual(self.pubsub.presence.members(b"t"), ("ada",))

    def test_a_callback_sends_a_value(self) -> None:
        self.ws.on_presence("t", lambda member, joined: self.ws.send_now(json={member: joined}))
        self.other.join("t", "ada")
        self.assertEqual(self.ws.connection.texts, ['{"ada":true}'])
        self.assertRaises(TypeError, self.ws.send_now)
        self.assertRaises(TypeError, self.ws.send_now, "text", json=1)

    def test_a_primary_key_is_no_name(self) -> None:
        with self.assertRaises(TypeError):
            self.ws.join("t", 7)  # type: ignore[arg-type]
        self.ws.connection_closed(1000)
        self.assertEqual(self.seen, [])

    def test_a_closed_connection_neither_joins_nor_watches(self) -> None:
        self.ws.connection_closed(1000)
        self.ws.connection_closed(1000)
        self.ws.join("t", "ada")
        self.ws.on_presence("t", lambda *change: self.seen.append(change))
        self.other.join("t", "bob")
        self.assertEqual(self.seen, [])
        self.assertEqual(self.pubsub.presence.members(b"t"), ("bob",))

    def test_a_callback_that_fails_closes_its_own_connection(self) -> None:
        self.other.on_presence("t", lambda member, joined: 1 // 0)
        self.other.join("t", "ada")
        self.assertIsInstance(self.other.connection.failures[0], ZeroDivisionError)
        self.assertEqual(self.seen, [("ada", True)])
