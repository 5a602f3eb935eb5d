from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from workers.connection.ramp_up import TICK, UNDER_WAY, Ramp


class RampTests(SynchronousTestCase):
    def ramp(self, total: int, rate: float) -> Ramp:
        self.clock = Clock()
        self.under_way: list[Deferred[None]] = []
        self.numbers: list[int] = []

        def connect(number: int) -> Deferred[None]:
            self.numbers.append(number)
            self.under_way.append(Deferred())
            return self.under_way[-1]

        return Ramp(self.clock, total, rate, connect)

    def test_without_a_rate_concurrent_handshakes_are_limited(self) -> None:
        self.ramp(UNDER_WAY + 50, rate=0).start()
        self.clock.advance(0)
        self.assertEqual(self.numbers, list(range(UNDER_WAY)))
        for deferred in self.under_way[:20]:
            deferred.callback(None)
        self.clock.advance(0)
        self.assertEqual(len(self.numbers), UNDER_WAY + 20)
        for deferred in self.under_way[20:]:
            deferred.callback(None)
        self.clock.advance(0)
        self.assertEqual(self.numbers, list(range(UNDER_WAY + 50)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_rate(self) -> None:
        self.ramp(100, rate=100).start()
        self.clock.pump([TICK] * 25)  # half a second
        self.assertApproximates(len(self.numbers), 51, 2)
        self.clock.pump([TICK] * 50)
        self.assertEqual(len(self.numbers), 100)

    def test_a_failed_handshake_lets_the_next_one_start(self) -> None:
        self.ramp(UNDER_WAY + 1, rate=0).start()
        self.under_way[0].errback(ValueError())
        self.clock.advance(0)
        self.assertEqual(len(self.numbers), UNDER_WAY + 1)

    def test_stop(self) -> None:
        ramp = self.ramp(100, rate=10)
        ramp.start()
        ramp.stop()
        self.clock.advance(60)
        self.assertEqual(len(self.numbers), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
