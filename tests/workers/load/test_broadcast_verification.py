from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from workers.load.broadcast_verification import (
    ANNOUNCEMENT,
    Delivery,
    UnknownMessage,
    announcement,
    message,
    parse,
)


class MessageTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        publisher, number, sent = parse(message(3, 17, 12.5))
        self.assertEqual((publisher, number), (3, 17))
        self.assertAlmostEqual(sent, 12.5, places=6)
        self.assertEqual(parse(announcement(3))[:2], (3, ANNOUNCEMENT))

    def test_unknown_messages(self) -> None:
        for text in (b"", b"x", b"1 2", b"1 2 x", b"1 2 3 4", "é".encode()):
            self.assertRaises(UnknownMessage, parse, text)


def receive(numbers: list[int]) -> tuple[int, Counter[str]]:
    """Return how many messages were new, and how many were wrong."""
    delivery = Delivery(2)
    counts: Counter[str] = Counter()
    new = 0
    for number in numbers:
        if delivery.expected[1] == number:
            delivery.expected[1] += 1
            new += 1
        else:
            new += delivery.unexpected(1, number, counts)
    return new, counts


class DeliveryTests(SynchronousTestCase):
    def test_success(self) -> None:
        self.assertEqual(receive([0, 1, 2]), (3, Counter()))

    def test_a_lost_message(self) -> None:
        self.assertEqual(receive([0, 2, 3]), (3, Counter()))

    def test_a_duplicate(self) -> None:
        self.assertEqual(receive([0, 1, 1, 0, 2]), (3, Counter(duplicates=2)))

    def test_a_late_message(self) -> None:
        self.assertEqual(receive([0, 2, 3, 1, 1]), (4, Counter(out_of_order=1, duplicates=1)))

    @given(st.lists(st.integers(0, 20)))
    def test_new_messages_are_counted_once(self, numbers: list[int]) -> None:
        new, counts = receive(numbers)
        self.assertEqual(new, len(set(numbers)))
        self.assertEqual(counts["duplicates"], len(numbers) - new)

    def test_announcements(self) -> None:
        delivery = Delivery(2)
        self.assertEqual([delivery.announced(n) for n in (1, 1, 0, 0)], [False, False, True, False])
