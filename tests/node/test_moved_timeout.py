"""Tests of cluster.node.moved_timeout."""

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from cluster.node.moved_timeout import MovedTimeout


class Connection(MovedTimeout):
    def __init__(self, clock: Any) -> None:
        self.site = SimpleNamespace(clock=clock)
        self.callLater = clock.callLater
        self.ended: list[float] = []

    def timeoutConnection(self) -> None:
        self.ended.append(self.site.clock.seconds())


class MovedTimeoutTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connection = Connection(self.clock)

    def pass_to(self, seconds: float) -> list[float]:
        """Let the clock go, second by second; returns when the timeout was called."""
        while self.clock.seconds() < seconds:
            self.clock.advance(1)
        return self.connection.ended

    def test_it_ends_once(self) -> None:
        self.assertIsNone(self.connection.setTimeout(60))
        self.assertEqual(self.pass_to(59), [])
        self.assertEqual(self.pass_to(200), [60])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_requests_move_it_without_a_new_timer(self) -> None:
        self.connection.setTimeout(60)
        timers = self.clock.getDelayedCalls()
        for second in (10, 20, 30):
            self.pass_to(second)
            self.assertEqual(self.connection.setTimeout(None), 60)
            self.connection.setTimeout(60)
            self.assertEqual(self.clock.getDelayedCalls(), timers)
        self.assertEqual(self.pass_to(89), [])
        self.assertEqual(self.pass_to(200), [90])

    def test_a_shorter_one(self) -> None:
        self.connection.setTimeout(60)
        self.connection.setTimeout(5)
        self.assertEqual(self.pass_to(200), [5])

    def test_none(self) -> None:
        self.connection.setTimeout(60)
        self.connection.setTimeout(None)
        self.assertEqual(self.pass_to(200), [])
        self.connection.resetTimeout()
        self.assertEqual(self.pass_to(400), [])
        self.connection.setTimeout(10)
        self.assertEqual(self.pass_to(500), [410])

    def test_begin_again(self) -> None:
        self.connection.setTimeout(60)
        self.pass_to(50)
        self.connection.resetTimeout()
        self.assertEqual(self.pass_to(200), [110])

    def test_no_timer_is_left(self) -> None:
        self.connection.setTimeout(60)
        self.connection.cancel_timeout()
        self.connection.cancel_timeout()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.connection.setTimeout(60)
        self.assertEqual(self.pass_to(200), [60])
