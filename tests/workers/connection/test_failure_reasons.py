"""Failure reasons, as texts for the user."""

from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.trial.unittest import SynchronousTestCase

from workers.connection.failure_reasons import hint, why_closed, why_not_connected, why_not_opened


class FailureReasonsTests(SynchronousTestCase):
    def test_closed(self) -> None:
        self.assertEqual(why_closed(1006, "whatever"), "connection lost (1006)")
        self.assertEqual(why_closed(1012, ""), "closed by the server: 1012")

    def test_not_opened(self) -> None:
        self.assertEqual(why_not_opened(""), "connection lost during the handshake")
        self.assertEqual(why_not_opened("odd"), "handshake failed: odd")

    def test_not_connected(self) -> None:
        self.assertEqual(why_not_connected(Refused()), "connection refused")
        self.assertEqual(why_not_connected(ValueError("odd")), "odd")

    def test_hints(self) -> None:
        self.assertEqual(
            hint("handshake refused: 404 Not Found"), "; the server has nothing at this path"
        )
        self.assertEqual(hint("odd"), "")
