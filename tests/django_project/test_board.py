"""The watchers' board: complete generations from the summaries of many nodes in any order."""

import struct
from array import array
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from django_project.gameoflife.board import MAX_STEPS_AHEAD, Board
from django_project.gameoflife.summary import Summary, read_summary
from tests import profiles  # noqa: F401  (loads it)


def summary(*steps: tuple[int, int, list[int]]) -> bytes:
    """Encode a node's summary of steps: (step, reports, codes of changed cells)."""
    return b"".join(
        struct.pack(f"<III{len(codes)}I", step, reports, len(codes), *codes)
        for step, reports, codes in steps
    )


class SummaryTests(SynchronousTestCase):
    def test_a_summary_is_encoded_byte_for_byte(self) -> None:
        collected = Summary()
        collected.report(7, 5, True)
        collected.report(7, 9, False)
        collected.report(8, 4, True)
        collected.report(7, 2, True)
        self.assertEqual(collected.take(), summary((7, 3, [5, 2]), (8, 1, [4])))
        self.assertEqual(collected.take(), b"")

    def test_a_summary_is_decoded_again(self) -> None:
        data = summary((7, 3, [5, 2]), (8, 1, []))
        self.assertEqual(
            [(step, count, list(codes)) for step, count, codes in read_summary(data)],
            [(7, 3, [5, 2]), (8, 1, [])],
        )
        self.assertEqual(list(read_summary(b"")), [])


class BoardTests(SynchronousTestCase):
    def test_the_board_is_empty_before_the_first_step(self) -> None:
        board = Board(3)
        self.assertEqual(board.snapshot(), b"S\x03\x00" + bytes(4) + bytes(2))
        self.assertEqual(list(board.frames()), [])

    def test_a_snapshot_is_encoded_byte_for_byte(self) -> None:
        board = Board(3)
        codes = [2 * 0 + 1, 2 * 7 + 1, 2 * 8 + 1]
        self.assertEqual(board.apply(summary((0, 9, codes))), array("I", codes))
        self.assertEqual(board.snapshot(), b"S\x03\x00\x00\x00\x00\x00\x81\x01")
        board.apply(summary((1, 9, [2 * 7])))
        self.assertEqual(board.snapshot(), b"S\x03\x00\x01\x00\x00\x00\x01\x01")

    def test_the_largest_board_is_encoded(self) -> None:
        board = Board(1000)
        self.assertEqual(len(board.snapshot()), 7 + 125_000)
        board.apply(summary((0, 1_000_000, [999_999 * 2 + 1])))
        self.assertEqual(board.snapshot()[:7], b"S\xe8\x03\x00\x00\x00\x00")
        self.assertEqual(board.snapshot()[-1], 0x80)

    def test_a_delta_is_encoded_byte_for_byte(self) -> None:
        board = Board(1000)
        codes = board.apply(summary((0, 1_000_000, [1, 1_999_999])))
        assert codes is not None
        self.assertEqual(
            board.delta(codes),
            b"D\x00\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x7f\x84\x1e\x00",
        )
        nothing = board.apply(summary((1, 1_000_000, [])))
        assert nothing is not None
        self.assertEqual(board.delta(nothing), b"D\x01\x00\x00\x00\x00\x00\x00\x00")

    def test_frames_equal_those_of_the_workers(self) -> None:
        board = Board(2)
        board.apply(summary((0, 4, [2 * 2 + 1])))
        board.apply(summary((1, 4, [])))
        self.assertEqual(list(board.frames()), ["1 0 0 0", "1 0 1 0", "1 1 0 1", "1 1 1 0"])

    def test_a_step_is_complete_when_all_cells_have_reported(self) -> None:
        board = Board(2)
        self.assertIsNone(board.apply(summary((0, 3, [1]))))
        self.assertEqual(board.step, -1)
        self.assertEqual(board.apply(summary((0, 1, []))), array("I", [1]))
        self.assertEqual(board.step, 0)

    def test_steps_may_become_complete_together(self) -> None:
        board = Board(1)
        steps: list[tuple[int, int]] = []
        self.assertIsNone(board.apply(summary((2, 1, [1]), (1, 1, [0]))))
        changes = board.apply(
            summary((0, 1, [1])), lambda: steps.append((board.step, board.state(0)))
        )
        self.assertEqual(changes, array("I", [1, 0, 1]))
        self.assertEqual(steps, [(0, 1), (1, 0), (2, 1)])

    def test_old_steps_and_steps_far_ahead_are_ignored(self) -> None:
        board = Board(1)
        board.apply(summary((0, 1, [1])))
        self.assertIsNone(board.apply(summary((0, 1, [0]), (MAX_STEPS_AHEAD + 1, 1, [0]))))
        self.assertEqual(board.state(0), 1)
        self.assertEqual(len(board._under_way), 0)

    @given(st.data())
    def test_any_interleaving_of_reports_results_in_the_correct_generations(
        self, data: Any
    ) -> None:
        size = data.draw(st.integers(1, 4), "size")
        cells = size * size
        count = data.draw(st.integers(1, 5), "generations")
        generations = data.draw(
            st.lists(
                st.lists(st.integers(0, 1), min_size=cells, max_size=cells),
                min_size=count,
                max_size=count,
            ),
            "generations",
        )
        nodes = data.draw(st.integers(1, 3), "nodes")
        owner = [data.draw(st.integers(0, nodes - 1)) for _ in range(cells)]
        reporting = [0] * cells  # each cell's next step
        collected = [Summary() for _ in range(nodes)]
        on_the_way: list[list[bytes]] = [[] for _ in range(nodes)]
        board = Board(size)
        shown = [0] * cells
        seen: list[list[int]] = []

        def each() -> None:
            seen.append([board.state(index) for index in range(cells)])

        def deliver(node: int) -> None:
            before = board.step
            changes = board.apply(on_the_way[node].pop(0), each)
            self.assertEqual(changes is None, board.step == before)
            for code in changes or ():
                shown[code >> 1] = code & 1

        def report(cell: int) -> None:
            step = reporting[cell]
            state = generations[step][cell]
            before = generations[step - 1][cell] if step else 0
            collected[owner[cell]].report(step, cell * 2 + state, state != before)
            reporting[cell] += 1

        dice = data.draw(st.randoms(use_true_random=False))
        while True:
            behind = [cell for cell in range(cells) if reporting[cell] < count]
            arriving = [node for node in range(nodes) if on_the_way[node]]
            if behind and (not arriving or dice.random() < 0.8):
                report(dice.choice(behind))
                if dice.random() < 0.3:
                    node = dice.randrange(nodes)
                    on_the_way[node].append(collected[node].take())
            elif arriving:
                deliver(dice.choice(arriving))
            else:
                break
            self.assertEqual(shown, [board.state(index) for index in range(cells)])
        for node in range(nodes):
            on_the_way[node].append(collected[node].take())
            deliver(node)
        self.assertEqual(seen, generations)
        self.assertEqual(shown, generations[-1])
        self.assertEqual(len(board._under_way), 0)
