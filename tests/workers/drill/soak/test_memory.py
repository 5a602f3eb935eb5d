"""Whether the memory of a cluster grows."""

import os

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.soak.memory import MARGIN_BYTES, Growth, Sample, growth, sample

MIB = 1 << 20


class SampleTests(SynchronousTestCase):
    def test_processes_of_a_kind_are_added(self) -> None:
        pid = os.getpid()
        measured = sample(1.0, {"node0": pid, "node1": pid, "broker": pid, "gone": 1 << 22})
        self.assertGreater(measured.sizes["broker"], MIB)
        self.assertAlmostEqual(measured.sizes["node"] / measured.sizes["broker"], 2, delta=0.1)
        self.assertEqual(measured.sizes["gone"], 0)
        self.assertEqual(measured.total, sum(measured.sizes.values()))


class GrowthTests(SynchronousTestCase):
    def samples(self, *mib: int) -> list[Sample]:
        """Return samples of one a minute."""
        return [Sample(60.0 * n, {"node": size * MIB}) for n, size in enumerate(mib)]

    def test_only_the_time_after_the_settling_counts(self) -> None:
        grown = growth(self.samples(10, 50, 90, 99, 100, 100, 100, 500, 100, 100, 100), 240.0)
        self.assertEqual(grown, Growth(100 * MIB, 100 * MIB))
        self.assertFalse(grown.is_too_much)

    def test_a_leak_is_found(self) -> None:
        grown = growth(self.samples(*range(100, 400, 10)), 300.0)
        self.assertTrue(grown.is_too_much, grown)

    def test_the_margin(self) -> None:
        before = 200 * MIB
        allowed = before + before // 10 + MARGIN_BYTES
        self.assertFalse(Growth(before, allowed).is_too_much)
        self.assertTrue(Growth(before, allowed + MIB).is_too_much)

    def test_too_few_samples(self) -> None:
        self.assertRaises(ValueError, growth, self.samples(1, 2), 100.0)
        self.assertRaises(ValueError, growth, [], 0.0)
