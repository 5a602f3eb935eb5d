"""When cells ask for states, and which cells do."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from workers.life import asking
from workers.life.asking import ASK_AFTER, ASK_AGAIN, LOOK_EVERY, Asking, ask
from workers.life.cell import Cell, Course
from workers.life.cell_client import CellClient


class Recording:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, message: bytes) -> None:
        self.sent.append(message)


class AskingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def silence(self, asking: Asking, step: int) -> float:
        """Return the seconds until states are asked for, while the game stays at a step."""
        began = self.clock.seconds()
        while not asking.is_due(step):
            self.clock.advance(LOOK_EVERY)
        return self.clock.seconds() - began

    def play(self, asking: Asking, steps: int, seconds: float) -> None:
        for step in range(steps + 1):
            self.assertFalse(asking.is_due(step))
            self.clock.advance(seconds)

    def test_nothing_is_asked_for_while_the_game_advances(self) -> None:
        self.play(Asking(0.0, self.clock.seconds), 100, 10.0)

    def test_cells_ask_until_the_game_advances(self) -> None:
        asking = Asking(0.0, self.clock.seconds)
        self.play(asking, 5, 0.01)
        self.clock.advance(10)
        self.silence(asking, 6)  # it has just advanced
        self.clock.advance(LOOK_EVERY)
        self.assertEqual(self.silence(asking, 6), ASK_AGAIN - LOOK_EVERY)
        self.assertAlmostEqual(self.silence(asking, 7), ASK_AFTER)

    def test_a_slow_rate_and_a_slow_server_need_time(self) -> None:
        asking = Asking(0.5, self.clock.seconds)
        self.assertEqual(self.silence(asking, 0), 2.0 + ASK_AFTER)
        slow = Asking(0.0, self.clock.seconds)
        self.play(slow, 10, 30.0)
        self.assertGreaterEqual(self.silence(slow, 11), 60.0)


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
