"""The clocks of the engine and of this machine."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.core import wire
from cluster.core.machines.expiry import ShiftedTimes


def retained(*times: int) -> wire.Retained:
    return wire.Retained(b"t", 3, 3, (b"a", b"b", b"c"), "e", times)


class ShiftedTimesTests(SynchronousTestCase):
    """ShiftedTimes, with an engine that is 100 ms ahead."""

    def setUp(self) -> None:
        self.times = ShiftedTimes()
        self.times.shift = 100

    def test_times_are_converted_in_both_directions(self) -> None:
        message = self.times.to_nodes(retained(0, 1100, 50))
        self.assertEqual(message.expires, (0, 1000, 1))  # 0 means never
        restore = wire.Restore(b"t", 1, 1, (b"a",), "e", (1000,))
        self.assertEqual(self.times.to_log(restore).expires, (1100,))

    def test_messages_without_times_are_not_copied(self) -> None:
        message = retained()
        self.assertIs(self.times.to_nodes(message), message)
        restore = wire.Restore(b"t", 1, 1, (b"a",), "e")
        self.assertIs(self.times.to_log(restore), restore)
        self.times.shift = 0
        message = retained(0, 1100, 50)
        self.assertIs(self.times.to_nodes(message), message)

    def test_a_message_for_several_nodes_is_converted_once(self) -> None:
        message = retained(0, 1100, 50)
        self.assertIs(self.times.to_nodes(message), self.times.to_nodes(message))
        self.assertIsNot(self.times.to_nodes(message), self.times.to_nodes(retained(0, 1100, 50)))
