"""The options of a soak test."""

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.soak.command import parse_arguments


class CommandTests(SynchronousTestCase):
    def test_a_soak_test_lasts_twenty_minutes(self) -> None:
        options = parse_arguments([])
        self.assertEqual((options.minutes, options.nodes, options.no_restart), (20, 4, False))

    def test_too_short(self) -> None:
        self.assertEqual(1.0, parse_arguments(["--minutes", "1"]).minutes)
        error = self.assertRaises(SystemExit, parse_arguments, ["--minutes", "0.4"])
        self.assertEqual(error.code, 2)
