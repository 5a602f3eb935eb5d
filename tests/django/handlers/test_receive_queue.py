"""ReceiveQueue: what waits for a handler, and when the client is not read."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.django.handlers.lifetime import Lifetime
from cluster.django.handlers.receive_queue import ReceiveQueue
from tests.django.fakes import RecordingConnection


class ReceiveQueueTests(SynchronousTestCase):
    def queue(self, messages: int, octets: int = 1000) -> ReceiveQueue:
        self.connection = RecordingConnection()
        return ReceiveQueue(self.connection, Lifetime("127.0.0.1"), messages, octets)

    def test_as_many_messages_as_may_wait(self) -> None:
        for limit in (1, 2, 3, 10):
            queue = self.queue(limit)
            for number in range(1, limit + 1):
                self.assertEqual(self.connection.pauses, set(), number)
                queue.put(b"%d" % number, False)
            self.assertEqual(self.connection.pauses, {"recv"})
            taken = []
            while queue.first is not None:
                self.assertEqual(self.connection.pauses, {"recv"})
                taken.append(queue.take())
            self.assertEqual(taken, [str(number) for number in range(1, limit + 1)])
            self.assertEqual(self.connection.pauses, set())

    def test_as_many_bytes_as_may_wait(self) -> None:
        queue = self.queue(100, 10)
        for _ in range(3):
            queue.put(bytes(9), True)
            self.assertEqual(self.connection.pauses, set())
            queue.put(b"x", True)
            self.assertEqual(self.connection.pauses, {"recv"})
            self.assertEqual([queue.take(), queue.take()], [bytes(9), b"x"])
            self.assertEqual(self.connection.pauses, set())

    def test_a_callback_takes_over(self) -> None:
        queue = self.queue(3)
        for payload in (b"a", b"b", b"c"):
            queue.put(payload, False)
        got: list[bytes] = []
        queue.pass_to(lambda payload, is_binary: got.append(payload))
        self.assertEqual((got, queue.first), ([b"a", b"b", b"c"], None))
        self.assertEqual(self.connection.pauses, set())
