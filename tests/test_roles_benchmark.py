"""benchmarks.roles: processes that begin at a command, and their CPU time."""

import argparse
import io
import json
import sys
from contextlib import redirect_stdout

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import roles

PROGRAM = """
import sys
print("ready", flush=True)
assert sys.stdin.readline() == "go\\n"
sum(range(200_000))
print(10, flush=True)
sys.stdin.read()
"""


class RolesTests(SynchronousTestCase):
    timeout = 60

    def measure(self, expected: int) -> dict[str, float]:
        with roles.roles() as running:
            self.folder = running.folder
            running.start("all", [sys.executable, "-c", PROGRAM])
            running.start("other", ["sleep", "600"], is_ours=False)
            return running.measure("all", "all", expected)

    def test_cpu_time_is_divided_by_what_was_received(self) -> None:
        used = self.measure(10)
        self.assertGreater(used["all"], 10)  # µs; the sum takes more than a millisecond, for ten
        self.assertLess(used["other"], used["all"])
        self.assertFalse(self.folder.exists())

    def test_a_publication_that_is_missing(self) -> None:
        error = self.assertRaises(RuntimeError, self.measure, 11)
        self.assertEqual(str(error), "10 of 11 publications received")

    def test_a_process_that_fails(self) -> None:
        with roles.roles() as running:
            error = self.assertRaises(RuntimeError, running.start, "broker", ["true"])
        self.assertEqual(str(error), "the broker did not start")


class MainTests(SynchronousTestCase):
    def run_main(self, *arguments: str) -> tuple[str, list[tuple[str, str, int]]]:
        """Return what is printed, and what was played."""
        played: list[tuple[str, str, int]] = []
        costs = iter([1.0, 5.0, 2.0])
        output = io.StringIO()
        with redirect_stdout(output):
            roles.main(
                argparse.ArgumentParser(),
                arguments,
                lambda *words: played.append(words),
                lambda number: {"reader": 0.5, "writer": number * next(costs)},
                ("turns", [10]),
                ("writer", "reader"),
            )
        return output.getvalue(), played

    def test_the_median_of_the_runs(self) -> None:
        text, _ = self.run_main("--json")
        self.assertEqual(json.loads(text)["turns"], {"10": {"writer": 20.0, "reader": 0.5}})
        text, _ = self.run_main()
        self.assertEqual(text.split()[-4:], ["10", "20.00", "0.50", "20.50"])

    def test_a_process_of_a_role(self) -> None:
        text, played = self.run_main("--play", "writer", "redis://", "100")
        self.assertEqual((text, played), ("", [("writer", "redis://", 100)]))
