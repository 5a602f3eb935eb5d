"""Tests of cluster.supervisor.status.process_usage."""

import os
from pathlib import Path
from sys import platform

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cluster.supervisor.status.process_usage import usage_of


class UsageTests(SynchronousTestCase):
    def test_this_process(self) -> None:
        if platform != "linux":
            raise SkipTest("only Linux has /proc")
        usage = usage_of(os.getpid())
        assert usage is not None
        self.assertGreater(usage.cpu_s, 0)
        self.assertTrue(1 << 20 < usage.rss_bytes < 1 << 34)

    def test_names_with_parentheses_and_spaces(self) -> None:
        root = Path(self.mktemp())
        (root / "7").mkdir(parents=True)
        rest = ["S", *("0" for _ in range(10)), "300", "200", *("0" for _ in range(8)), "10"]
        (root / "7" / "stat").write_text(f"7 (a) b) {' '.join(rest)} 0\n")
        ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        self.assertEqual((500 / ticks, 10 * page), usage_of(7, str(root)))

    def test_a_process_that_has_ended(self) -> None:
        root = Path(self.mktemp())
        self.assertIsNone(usage_of(7, str(root)))
        (root / "7").mkdir(parents=True)
        (root / "7" / "stat").write_text("7 (broken)\n")
        self.assertIsNone(usage_of(7, str(root)))
