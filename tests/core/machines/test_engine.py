"""What a gateway and its shell exchange."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines import engine
from cluster.core.machines.engine import START, EngineError, log_order, log_time


class LogIdTests(SynchronousTestCase):
    """IDs of log entries: MILLISECONDS-NUMBER."""

    def test_ids_compare_as_numbers(self) -> None:
        ids = ["10-0", "9-11", "9-2", START, "10-1"]
        self.assertEqual(sorted(ids, key=log_order), [START, "9-2", "9-11", "10-0", "10-1"])

    def test_an_id_has_a_time(self) -> None:
        self.assertEqual(log_time("1795000000123-4"), 1795000000123)

    def test_an_id_may_lack_its_number(self) -> None:
        self.assertEqual(log_order("12"), (12, 0))


class EngineErrorTests(SynchronousTestCase):
    """The errors of an engine are one tree."""

    def test_the_docstring_shows_every_error(self) -> None:
        for name, value in vars(engine).items():
            if isinstance(value, type) and issubclass(value, Exception):
                self.assertTrue(issubclass(value, EngineError))
                self.assertIn(name, EngineError.__doc__ or "")
