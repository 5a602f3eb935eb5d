"""When cells ask for states, and which cells do."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from workers.life import asking
from workers.life.asking import ASK_AFTER, ASK_LAST, LOOK_EVERY, Asking, ask
from workers.life.cell import Cell, Course
from workers.life.cell_client import CellClient


class Recording:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, message: bytes) -> None:
        self.sent.append(message)


class AskingTests(SynchronousTestCase):
    def silence(self, asking: Asking, received: int, step: int) -> float:
        """Return the seconds without a message until states are asked for."""
        looks = 1
        while not asking.is_due(received, step):
            looks += 1
        return looks * LOOK_EVERY

    def test_nothing_is_asked_for_while_messages_arrive(self) -> None:
        asking = Asking()
        self.assertEqual([asking.is_due(n, 0) for n in range(1, 100)], [False] * 99)

    def test_it_takes_longer_each_time_until_the_game_advances(self) -> None:
        asking = Asking()
        times = [self.silence(asking, 0, 7) for _ in range(6)]
        self.assertEqual(times[:2], [ASK_AFTER, ASK_AFTER])
        self.assertEqual(times[-1], ASK_LAST)
        self.silence(asking, 0, 8)
        self.assertEqual(self.silence(asking, 0, 8), ASK_AFTER)


class AskTests(SynchronousTestCase):
    def client(self, step: int, missing: int) -> CellClient:
        course = Course(3)
        cell = Cell(course, 1, 1, alive=False)
        cell.receive([b"sub", b"run"])
        around = [(r, c) for r in range(3) for c in range(3) if (r, c) != (1, 1)]
        for known in range(step):
            cell.receive([b"%d %d %d 0" % (known, *place) for place in around])
        cell.receive([b"%d %d %d 0" % (step, *place) for place in around[missing:]])
        shard: Any = None
        client = CellClient(shard, 0, cell, 0)
        client.is_open = True
        connection: Any = Recording()
        client.connection = connection
        return client

    def sent(self, client: CellClient) -> int:
        recording: Any = client.connection
        return len(recording.sent)

    def test_cells_ask_for_what_they_miss(self) -> None:
        client, satisfied, closed = self.client(2, 3), self.client(2, 1), self.client(2, 5)
        closed.is_open = False
        self.assertEqual(ask([client, satisfied, closed]), 4)
        self.assertEqual([self.sent(one) for one in (client, satisfied, closed)], [3, 1, 0])

    def test_the_last_cells_come_first(self) -> None:
        self.patch(asking, "MOST_ASKED", 5)
        first, last = self.client(5, 3), self.client(2, 3)
        self.assertEqual(ask([first, last]), 3)
        self.assertEqual((self.sent(first), self.sent(last)), (0, 3))
