"""Limits of connections and of messages."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.django.conf import DEFAULTS
from cluster.django.handshake.limits import MessageRate, Occupancy, message_rate, network_of
from cluster.net.websocket.refusal import Refusal
from tests.django.fakes import RecordingConnection


class OccupancyTests(SynchronousTestCase):
    def occupancy(self, **limits: int) -> Occupancy:
        return Occupancy({**DEFAULTS, **limits})

    def assert_refused(self, status: int, call: Any, *args: str) -> None:
        self.assertEqual(self.assertRaises(Refusal, call, *args).code, status)

    def test_off_by_default(self) -> None:
        self.assertFalse(self.occupancy().is_limited)
        for key in ("MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_CLIENT", "MAX_CONNECTIONS_PER_USER"):
            self.assertTrue(self.occupancy(**{key: 1}).is_limited, key)

    def test_of_the_node(self) -> None:
        occupancy = self.occupancy(MAX_CONNECTIONS=2)
        first = occupancy.enter("a")
        occupancy.enter("b")
        self.assert_refused(503, occupancy.enter, "c")
        first.leave()
        first.leave()
        occupancy.enter("c")
        self.assert_refused(503, occupancy.enter, "d")
        self.assertEqual(occupancy.refused, {"connections": 2})
        self.assertEqual(occupancy.taken, 2)

    def test_of_an_address(self) -> None:
        occupancy = self.occupancy(MAX_CONNECTIONS_PER_CLIENT=1)
        seat = occupancy.enter("a")
        self.assert_refused(429, occupancy.enter, "a")
        self.assertEqual(occupancy.taken, 1, "a refused client takes no seat")
        occupancy.enter("b")
        seat.leave()
        occupancy.enter("a")
        self.assertEqual(occupancy.refused, {"client": 1})

    def test_ipv6_by_its_network(self) -> None:
        occupancy = self.occupancy(MAX_CONNECTIONS_PER_CLIENT=1)
        seat = occupancy.enter("2001:db8:1:2::1")
        self.assert_refused(429, occupancy.enter, "2001:db8:1:2:ffff::9")
        occupancy.enter("2001:db8:1:3::1")
        seat.leave()
        occupancy.enter("2001:db8:1:2:ffff::9")

    def test_ipv4_mapped_addresses(self) -> None:
        occupancy = self.occupancy(MAX_CONNECTIONS_PER_CLIENT=1)
        occupancy.enter("::ffff:192.0.2.1")
        occupancy.enter("::ffff:192.0.2.2")
        self.assert_refused(429, occupancy.enter, "192.0.2.1")

    def test_networks(self) -> None:
        for client, network in {
            "192.0.2.1": "192.0.2.1",
            "::1": "::/64",
            "fe80::1%eth0": "fe80::/64",
            "": "",
            "what:ever": "what:ever",
        }.items():
            self.assertEqual(network_of(client), network, client)

    def test_of_a_user(self) -> None:
        occupancy = self.occupancy(MAX_CONNECTIONS_PER_USER=1)
        first, second = occupancy.enter("a"), occupancy.enter("a")
        first.assign("user", "7")
        self.assert_refused(429, second.assign, "user", "7")
        second.leave()
        first.leave()
        occupancy.enter("b").assign("user", "7")
        self.assertEqual(occupancy.refused, {"user": 1})

    def test_seats_that_were_left_are_forgotten(self) -> None:
        occupancy = self.occupancy(MAX_CONNECTIONS_PER_CLIENT=5, MAX_CONNECTIONS_PER_USER=5)
        seat = occupancy.enter("a")
        seat.assign("user", "7")
        seat.leave()
        self.assertEqual((dict(occupancy._seats), occupancy.taken), ({}, 0))


class MessageRateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.connection = RecordingConnection()
        self.received: list[bytes] = []
        self.rate = MessageRate(2.0, 3, lambda: self.now)
        around = self.rate.gate(self.connection)
        self.connection.receive = around(lambda payload, is_binary: self.received.append(payload))

    def test_no_gate_without_a_limit(self) -> None:
        self.assertIsNone(message_rate(DEFAULTS))
        self.assertIsNotNone(message_rate({**DEFAULTS, "MESSAGE_RATE": 1}))

    def test_a_burst_and_then_the_rate(self) -> None:
        self.connection.text("1", "2", "3")
        self.now += 0.5
        self.connection.text("4")
        self.assertEqual(self.connection.closes, [])
        self.connection.text("5")
        self.assertEqual(self.connection.closes, [(1008, "too many messages")])
        self.assertEqual(self.received, [b"1", b"2", b"3", b"4"])
        self.assertEqual(self.rate.closed_total, 1)

    def test_silence_allows_no_more_than_the_burst(self) -> None:
        self.now += 1000
        self.connection.text("1", "2", "3", "4")
        self.assertEqual((len(self.received), len(self.connection.closes)), (3, 1))

    def test_messages_at_the_rate_are_allowed_indefinitely(self) -> None:
        for _ in range(50):
            self.connection.text("a")
            self.now += 0.5
        self.assertEqual((len(self.received), self.connection.closes), (50, []))
