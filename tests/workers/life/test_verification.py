from twisted.trial.unittest import SynchronousTestCase

from workers.life.patterns import BUILT_IN, cells_on_grid
from workers.life.rules import Grid, next_generation
from workers.life.verification import Verification


class VerificationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.generations = [Grid.of(6, cells_on_grid(BUILT_IN["glider"], 6))]
        for _ in range(5):
            self.generations.append(next_generation(self.generations[-1], wrap=True))
        self.even = sum(1 << bit for bit in range(0, 36, 2))  # the cells of the first of two shards

    def test_success(self) -> None:
        verification = Verification(self.generations[0], wrap=True, shards=1)
        for step, grid in enumerate(self.generations):
            verification.add(step, grid.bits)
        self.assertIsNone(verification.mismatch)
        self.assertEqual(verification.generations, 6)

    def test_shards_may_be_steps_apart(self) -> None:
        verification = Verification(self.generations[0], wrap=True, shards=2)
        for step, grid in enumerate(self.generations):
            verification.add(step, grid.bits & self.even)
        self.assertEqual(verification.generations, 0)
        for step, grid in enumerate(self.generations[:3]):
            verification.add(step, grid.bits & ~self.even)
        self.assertEqual(verification.generations, 3)
        self.assertIsNone(verification.mismatch)

    def test_the_mismatch_is_the_first_wrong_cell(self) -> None:
        verification = Verification(self.generations[0], wrap=True, shards=1)
        verification.add(0, self.generations[0].bits)
        verification.add(1, self.generations[1].bits ^ (1 << 8) ^ (1 << 35))
        verification.add(2, self.generations[2].bits)
        self.assertEqual(verification.generations, 1)
        mismatch = verification.mismatch
        assert mismatch is not None
        self.assertEqual((mismatch.step, mismatch.row, mismatch.col), (1, 1, 2))
        self.assertEqual(mismatch.expected, self.generations[1].alive(1, 2))
        self.assertEqual(mismatch.got, not mismatch.expected)
        self.assertIn("step 1, cell 1,2: expected", str(mismatch))
