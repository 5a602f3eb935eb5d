"""What a client of a drill has received: each message once, or its loss was announced."""

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.ledger import Ledger, Positions, unprotected


class LedgerTests(SynchronousTestCase):
    def ledger(self, *events: int | None) -> Ledger:
        """Return a ledger that has received these numbers; None: a loss was announced."""
        ledger = Ledger("client")
        for event in events:
            if event is None:
                ledger.announced()
            else:
                ledger.received(event)
        return ledger

    def test_every_message_once(self) -> None:
        ledger = self.ledger(1, 2, 4, 3)
        self.assertEqual(ledger.violations({1, 2, 3, 4}), [])
        self.assertEqual((ledger.count, ledger.last, ledger.knows(3)), (4, 4, True))

    def test_a_message_that_was_not_confirmed_may_be_missing(self) -> None:
        self.assertEqual(self.ledger(1, 3).violations({1, 3}), [])

    def test_a_message_that_is_missing(self) -> None:
        found = self.ledger(1, 4).violations(range(1, 6))
        self.assertEqual(found, ["client missed without notice: 2, 3, 5"])

    def test_a_message_that_arrives_twice(self) -> None:
        self.assertEqual(self.ledger(1, 2, 2).violations({1, 2}), ["client received twice: 2"])

    def test_the_positions_of_a_message_that_arrives_twice(self) -> None:
        ledger = self.ledger()
        ledger.received(2, "a:1")
        ledger.received(2, "b:1")
        self.assertEqual(ledger.twice, "client received twice: 2 at a:1, b:1")

    def test_an_announced_loss_is_none(self) -> None:
        ledger = self.ledger(1, 2, None, 5, 7)
        self.assertEqual(ledger.violations({1, 2, 3, 4, 5, 7}), [])
        self.assertEqual(
            ledger.violations({1, 2, 3, 4, 5, 6, 7}), ["client missed without notice: 6"]
        )
        self.assertEqual(ledger.gaps, 1)

    def test_what_is_kept_comes_again_after_an_announced_loss(self) -> None:
        ledger = self.ledger(1, 2, 3, None, 2, 3, 5)
        self.assertEqual(ledger.violations({1, 2, 3, 4, 5}), [])
        ledger.received(5)
        self.assertEqual(ledger.violations({5}), ["client received twice: 5"])

    def test_many_numbers_are_shortened(self) -> None:
        (found,) = self.ledger().violations(range(1, 100))
        self.assertTrue(found.endswith("9, 10 …, 99 in all"), found)


class PositionsTests(SynchronousTestCase):
    def test_two_messages_at_one_position(self) -> None:
        positions = Positions()
        for position, number in (("a-1", 7), ("a-2", 8), ("a-1", 7), ("b-2", 8)):
            positions.received(position, number)
        self.assertEqual((positions.violations, positions.count), ([], 3))
        positions.received("a-2", 9)
        self.assertEqual(positions.violations, ["feed: messages 8 and 9 are both at a-2"])


class UnprotectedTests(SynchronousTestCase):
    def test_messages_that_nobody_has_from_the_time_of_a_double_fault(self) -> None:
        ledger = Ledger("client")
        ledger.received(3)
        confirmed = {1: 5.0, 2: 11.0, 3: 12.0, 4: 13.0, 5: 20.5}
        self.assertEqual(unprotected(confirmed, [ledger], [(10.0, 20.0)]), {2, 4})
        self.assertEqual(unprotected(confirmed, [ledger], []), set())
