"""The error tree."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.core import exceptions
from cluster.core.exceptions import ClusterError, Disconnected, NotPublished


class ErrorTreeTests(SynchronousTestCase):
    """All errors are subclasses of ClusterError, and are in the tree of the module's docstring."""

    def test_every_error_is_a_cluster_error(self) -> None:
        errors = [value for value in vars(exceptions).values() if isinstance(value, type)]
        self.assertGreater(len(errors), 1)
        for error in errors:
            self.assertTrue(issubclass(error, ClusterError), error)

    def test_the_docstring_shows_every_error(self) -> None:
        for name, value in vars(exceptions).items():
            if isinstance(value, type):
                self.assertIn(name, exceptions.__doc__ or "")


class DisconnectedTests(SynchronousTestCase):
    """The error has the close code and the reason."""

    def test_the_code_is_1006_without_a_close_frame(self) -> None:
        error = Disconnected()
        self.assertEqual((error.code, error.reason), (1006, ""))
        self.assertEqual(str(error), "connection closed (1006)")

    def test_the_text_has_the_code_and_the_reason(self) -> None:
        error = Disconnected(1008, "not a number")
        self.assertEqual((error.code, error.reason), (1008, "not a number"))
        self.assertEqual(str(error), "connection closed (1008: not a number)")


class NotPublishedTests(SynchronousTestCase):
    """Code that publishes again must know whether subscribers may receive a message twice."""

    def test_the_outcome_is_certain_by_default(self) -> None:
        self.assertFalse(NotPublished("refused").uncertain)
        error = NotPublished("no answer", uncertain=True)
        self.assertEqual((str(error), error.uncertain), ("no answer", True))
