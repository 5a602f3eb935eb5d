"""The options of a soak test."""

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.soak.command import parse_arguments


class CommandTests(SynchronousTestCase):
    def test_a_soak_test_lasts_twenty_minutes(self) -> None:
        options = parse_arguments([])
        self.assertEqual((options.minutes, options.nodes, options.no_restart), (20, 4, False))
