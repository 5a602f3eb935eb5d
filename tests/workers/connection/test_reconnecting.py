"""Clients that have lost their connections reconnect without a rush."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from workers.connection.reconnecting import (
    FEW,
    FEW_STUCK_AFTER,
    FIRST_DELAY,
    LAST_DELAY,
    STUCK_AFTER,
    Handshakes,
    Reconnecting,
    delay,
)


class DelayTests(SynchronousTestCase):
    def test_the_delay_is_random_and_its_limit_doubles(self) -> None:
        for attempt, limit in ((0, FIRST_DELAY), (1, 2 * FIRST_DELAY), (50, LAST_DELAY)):
            delays = [delay(attempt) for _ in range(1000)]
            self.assertTrue(0 <= min(delays) < limit / 10)
            self.assertTrue(limit * 0.9 < max(delays) <= limit)

    def test_a_handshake_is_stuck_if_later_ones_are_complete(self) -> None:
        handshakes = Handshakes()
        late = 1.0 + STUCK_AFTER
        self.assertFalse(handshakes.is_stuck(1.0, late + 9, FEW + 1))
        handshakes.opened(0.9)
        self.assertFalse(handshakes.is_stuck(1.0, late + 9, FEW + 1))
        handshakes.opened(1.1)
        handshakes.opened(0.8)
        self.assertTrue(handshakes.is_stuck(1.0, late, FEW + 1))
        self.assertFalse(handshakes.is_stuck(1.0, late - 0.1, FEW + 1))

    def test_one_of_few_handshakes_is_stuck_after_a_longer_time(self) -> None:
        self.assertFalse(Handshakes().is_stuck(1.0, 0.9 + FEW_STUCK_AFTER, FEW))
        self.assertTrue(Handshakes().is_stuck(1.0, 1.0 + FEW_STUCK_AFTER, FEW))


class ReconnectingTests(SynchronousTestCase):
    def test_handshakes_are_limited(self) -> None:
        clock = Clock()
        handshakes: list[tuple[int, Deferred[None]]] = []

        def connect(client: int) -> Deferred[None]:
            over: Deferred[None] = Deferred()
            handshakes.append((client, over))
            return over

        reconnecting = Reconnecting[int](clock.callLater, connect, under_way=3)
        for client in range(10):
            reconnecting.lost(client, 0)
        clock.advance(FIRST_DELAY)
        self.assertEqual(len(handshakes), 3)
        done = 0
        while done < len(handshakes):
            handshakes[done][1].callback(None)
            done += 1
            clock.advance(0)
            self.assertLessEqual(len(handshakes) - done, 3)
        self.assertEqual(sorted(client for client, _ in handshakes), list(range(10)))
