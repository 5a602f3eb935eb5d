"""The watchers' board after nodes have died: it shows only complete and correct generations."""

import random
from collections import deque

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from django_project.gameoflife.board import Board
from django_project.gameoflife.rebuild import Conflict, Rebuild, encode_states
from django_project.gameoflife.summary import Summary
from tests import profiles  # noqa: F401  (loads it)


def summary(step: int, count: int, *codes: int) -> bytes:
    collected = Summary()
    for code in codes:
        collected.report(step, code, changed=True)
    for _ in range(count - len(codes)):
        collected.report(step, 0, changed=False)
    return collected.take()


class RebuildTests(SynchronousTestCase):
    def test_the_board_is_complete_at_the_highest_step(self) -> None:
        rebuild = Rebuild(2)
        rebuild.summary("a", summary(9, 1, 0))  # before its answer: ignored
        rebuild.states("a", encode_states([(1, 4), (2, 5)]))
        rebuild.states("a", encode_states([(0, 9)]))  # a second answer
        rebuild.summary("a", summary(5, 1, 0))
        self.assertFalse(rebuild.complete)
        rebuild.states("b", encode_states([(5, 5), (6, 4)]))
        self.assertFalse(rebuild.complete)
        rebuild.summary("b", summary(5, 1, 7) + summary(6, 1, 6))
        self.assertTrue(rebuild.complete)
        self.assertEqual((rebuild.step, bytes(rebuild.bits)), (5, bytes([0b1100])))
        self.assertEqual([entry[:2] for entry in rebuild.later], [(6, 1)])

    def test_a_cell_of_two_nodes_is_a_conflict(self) -> None:
        rebuild = Rebuild(2)
        rebuild.states("a", encode_states([(1, 4)]))
        self.assertRaises(Conflict, rebuild.states, "b", encode_states([(0, 5)]))
        board = Board(2)
        self.assertFalse(board.states("a", encode_states([(1, 4)])))
        board.rebuild()
        board.states("a", encode_states([(1, 4)]))
        board.states("b", encode_states([(1, 4)]))
        self.assertTrue(board.incomplete and board.rebuilding)

    def test_a_board_that_starts_late_is_incomplete(self) -> None:
        board = Board(1)
        board.apply(summary(5, 1, 1))
        self.assertTrue(board.incomplete)
        board.rebuild()
        self.assertTrue(board.states("a", encode_states([(1, 5)])))
        self.assertEqual((board.step, board.state(0), board.incomplete), (5, 1, False))

    @given(st.integers(0, 1 << 32))
    def test_the_board_survives_the_death_of_nodes(self, seed: int) -> None:
        Simulation(random.Random(seed), self).run()


class Simulation:
    """Cells on three nodes and one board. Nodes die; their cells resume on another node."""

    def __init__(self, dice: random.Random, test: SynchronousTestCase) -> None:
        self.dice = dice
        self.test = test
        self.cells = dice.choice([1, 4, 9])
        self.last = dice.randrange(3, 12)
        self.generations = [[dice.randrange(2) for _ in range(self.cells)] for _ in range(99)]
        self.step = [-1] * self.cells
        self.names = ["a", "b", "c"]
        self.owner = [dice.choice(self.names) for _ in range(self.cells)]
        self.collected = {name: Summary() for name in self.names}
        self.on_the_way: dict[str, deque[tuple[bool, bytes]]] = {n: deque() for n in self.names}
        self.board = Board(int(self.cells**0.5))

    def run(self) -> None:
        for _ in range(200):
            choice = self.dice.random()
            if choice < 0.6:
                self.report(self.dice.randrange(self.cells), self.last)
            elif choice < 0.98:
                self.publish(self.dice.choice(self.names))
                self.deliver(self.dice.choice(self.names))
            else:
                self.die(self.dice.choice(self.names))
        # The game continues without further deaths, so the board must become right again.
        for _ in range(6):
            self.last += 1
            while min(self.step) < self.last:
                for cell in range(self.cells):
                    self.report(cell, self.last)
            for _ in range(3):
                for name in self.names:
                    self.publish(name)
                    while self.on_the_way[name]:
                        self.deliver(name)
                if self.board.waiting:
                    self.ask()
        self.test.assertEqual(self.board.step, self.last)

    def report(self, cell: int, last: int) -> None:
        if self.step[cell] >= last or self.step[cell] > min(self.step):
            return
        self.step[cell] += 1
        step = self.step[cell]
        state = self.generations[step][cell]
        changed = state != (self.generations[step - 1][cell] if step else 0)
        self.collected[self.owner[cell]].report(step, cell * 2 + state, changed)

    def publish(self, name: str) -> None:
        self.on_the_way[name].append((False, self.collected[name].take()))

    def deliver(self, name: str) -> None:
        if not self.on_the_way[name]:
            return
        is_answer, data = self.on_the_way[name].popleft()
        if is_answer:
            replaced = self.board.states(name, data)
        elif self.board.rebuilding:
            replaced = self.board.summary(name, data)
        else:
            replaced = self.board.apply(data, self.check) is not None
        if replaced:
            self.check()
        if self.board.incomplete:
            self.ask()

    def check(self) -> None:
        shown = [self.board.state(index) for index in range(self.cells)]
        self.test.assertEqual(shown, self.generations[self.board.step])

    def ask(self) -> None:
        """All nodes send the states of their cells."""
        self.board.rebuild()
        for name in self.names:
            self.publish(name)
            states = [
                (cell * 2 + self.generations[step][cell], step)
                for cell, step in enumerate(self.step)
                if self.owner[cell] == name and step >= 0
            ]
            self.on_the_way[name].append((True, encode_states(states)))

    def die(self, name: str) -> None:
        """The node's summary is lost, and some of what is on the way."""
        self.collected[name].take()
        queue = self.on_the_way[name]
        for _ in range(self.dice.randrange(len(queue) + 1)):
            queue.pop()
        another = f"{name}'"
        self.names[self.names.index(name)] = another
        self.collected[another] = Summary()
        self.on_the_way[another] = deque()
        self.names.sort()
        for cell, owner in enumerate(self.owner):
            if owner == name:
                self.owner[cell] = self.dice.choice(self.names)
        while queue:  # what has left the dead node arrives
            self.deliver(name)
