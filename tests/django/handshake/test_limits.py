"""Limits of connections and of messages."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.django.conf import DEFAULTS
from cluster.django.handshake.limits import MessageRate, Occupancy, message_rate
from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.websocket.refusal import Refusal
from tests.django.fakes import RecordingConnection


class OccupancyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sockets = SocketLimits(per_client=1)
        self.occupancy = Occupancy({**DEFAULTS, "MAX_CONNECTIONS_PER_USER": 1}, self.sockets)

    def assert_refused(self, call: Any, *args: str) -> None:
        self.assertEqual(self.assertRaises(Refusal, call, *args).code, 429)

    def test_of_users(self) -> None:
        self.assertTrue(self.occupancy.limits_users)
        self.assertFalse(Occupancy(DEFAULTS, self.sockets).limits_users)

    def test_a_seat_whose_place_another_connection_takes(self) -> None:
        first, second = self.occupancy.enter(None), self.occupancy.enter(None)
        first.assign_user("1")
        first.lend_user()
        first.lend_user()
        second.assign_user("1")
        self.assert_refused(self.occupancy.enter(None).assign_user, "1")
        first.count_user_again()
        first.count_user_again()
        second.leave()
        self.assert_refused(self.occupancy.enter(None).assign_user, "1")
        first.lend_user()
        first.leave()
        first.count_user_again()
        self.occupancy.enter(None).assign_user("1")

    def test_of_a_proxys_client(self) -> None:
        seat = self.occupancy.enter("192.0.2.1")
        self.assert_refused(self.occupancy.enter, "192.0.2.1")
        self.assertEqual(self.occupancy.taken, 1, "a refused client takes no seat")
        self.occupancy.enter("192.0.2.2")
        seat.leave()
        seat.leave()
        self.occupancy.enter("192.0.2.1")
        self.assertEqual(self.sockets.refused, {"client": 1})

    def test_clients_whose_sockets_are_counted_are_not_counted_twice(self) -> None:
        for _ in range(3):
            self.occupancy.enter(None)
        self.assertEqual((self.occupancy.taken, self.sockets.refused), (3, {}))

    def test_of_a_user(self) -> None:
        first, second = self.occupancy.enter(None), self.occupancy.enter(None)
        first.assign_user("7")
        self.assert_refused(second.assign_user, "7")
        second.leave()
        second.assign_user("7")  # of a client that has left: not counted
        first.leave()
        self.occupancy.enter(None).assign_user("7")
        self.assertEqual(self.occupancy.refused, {"user": 1})

    def test_without_a_limit_of_users(self) -> None:
        occupancy = Occupancy(DEFAULTS, self.sockets)
        for _ in range(3):
            occupancy.enter(None).assign_user("7")
        self.assertEqual(occupancy.refused, {})

    def test_seats_that_were_left_are_forgotten(self) -> None:
        seat = self.occupancy.enter("192.0.2.1")
        seat.assign_user("7")
        seat.leave()
        self.assertEqual((dict(self.occupancy._users), self.occupancy.taken), ({}, 0))
        self.assertEqual(dict(self.sockets._clients), {})


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

    def test_other_frames_count_like_messages(self) -> None:
        self.connection.text("1")
        for _ in range(2):
            self.assertTrue(self.connection.count_frame())
        self.assertEqual(self.connection.closes, [])
        self.assertFalse(self.connection.count_frame())
        self.assertEqual(self.connection.closes, [(1008, "too many messages")])

    def test_silence_allows_no_more_than_the_burst(self) -> None:
        self.now += 1000
        self.connection.text("1", "2", "3", "4")
        self.assertEqual((len(self.received), len(self.connection.closes)), (3, 1))

    def test_messages_at_the_rate_are_allowed_indefinitely(self) -> None:
        for _ in range(50):
            self.connection.text("a")
            self.now += 0.5
        self.assertEqual((len(self.received), self.connection.closes), (50, []))
