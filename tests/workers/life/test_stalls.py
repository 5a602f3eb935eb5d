"""How long a game may not advance."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from workers.life.stalls import Stalls


class StallsTests(SynchronousTestCase):
    def test_a_game_without_a_step_has_stalled(self) -> None:
        clock = Clock()
        stalls = Stalls(5.0, 0.0, clock.seconds)
        clock.advance(60)  # connecting
        self.assertFalse(stalls.too_long(0))
        clock.advance(5)
        self.assertFalse(stalls.too_long(0))
        clock.advance(0.1)
        self.assertTrue(stalls.too_long(0))
        self.assertFalse(stalls.too_long(1))
        self.assertAlmostEqual(stalls.longest, 5.1)

    def test_the_time_between_two_steps_of_the_rate_is_no_stall(self) -> None:
        clock = Clock()
        stalls = Stalls(5.0, 0.1, clock.seconds)
        stalls.too_long(0)
        clock.advance(15)
        self.assertFalse(stalls.too_long(0))
        clock.advance(0.5)
        self.assertTrue(stalls.too_long(0))
        self.assertAlmostEqual(stalls.longest, 5.5)

    def test_without_a_timeout_a_game_waits_indefinitely(self) -> None:
        clock = Clock()
        stalls = Stalls(0.0, 0.0, clock.seconds)
        stalls.too_long(0)
        clock.advance(1e6)
        self.assertFalse(stalls.too_long(0))

    def test_the_reason_is_for_people(self) -> None:
        stalls = Stalls(5.0, 0.0, Clock().seconds)
        stalls.too_long(1234)
        self.assertEqual(
            stalls.why(256, 1024),
            "stalled: no step after step 1,234 for 5 s; 256 of 1,024 cells are not connected",
        )
        self.assertIn("all cells are connected, states are missing", stalls.why(0, 1024))
