"""How .ci/summary.py summarizes the output of `make test`."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

SCRIPT = Path(__file__).parent.parent / ".ci" / "summary.py"

GOOD = """\
py311: commands[0]> trial tests
tests.core.broker_state.test_barrier
Ran 12 tests in 0.512s

PASSED (skips=1, expectedFailures=2, successes=9)
lint: commands[0]> ruff check .
All checks passed!
  py311: OK (7.50=setup[3.30]+cmd[4.20] seconds)
  py312: SKIP (0.01 seconds)
  lint: OK (0.08=setup[0.05]+cmd[0.01,0.02] seconds)
  congratulations :) (7.60 seconds)
"""

BAD_TESTS = """\
py311: commands[0]> trial tests
Ran 12 tests in 0.512s

FAILED (skips=1, failures=1, errors=2, unexpectedSuccesses=3, successes=5)
py311: exit 1 (4.20 seconds) /c10k> trial tests pid=17
  py311: FAIL code 1 (7.50=setup[3.30]+cmd[4.20] seconds)
"""

RULE, END, LONG = "=" * 79, "-" * 79, "a line\n" * 40
REPORTS = f"""\
py311: commands[0]> trial tests
tests.core.test_a
  Test
    test_a ... [FAIL]

{RULE}
[FAIL]
Traceback (most recent call last):
  a line
twisted.trial.unittest.FailTest: 1 != 2

tests.core.test_a.Test.test_a
{RULE}
[SKIPPED]
No Valkey here

tests.core.test_a.Test.test_c
{RULE}
[ERROR]
Traceback (most recent call last):
{LONG}builtins.KeyError: 7

tests.core.test_a.Test.test_b
{END}
Ran 3 tests in 0.512s

FAILED (failures=1, errors=1, skips=1)
  py311: FAIL code 1 (7.50=setup[3.30]+cmd[4.20] seconds)
"""


class SummaryTests(TestCase):
    def read(self, log: str, demo: str = "passed") -> tuple[int, list[str]]:
        """Run the script; returns its exit status and its lines."""
        path = Path(self.mktemp())
        path.write_text(log)
        command = [sys.executable, str(SCRIPT), "--demo", demo, str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual("", done.stderr)
        return done.returncode, done.stdout.splitlines()

    def test_everything_passed(self) -> None:
        """Skipped tests, skipped environments and expected failures are not failures."""
        expected = [
            "py311          passed: 11 passed, 0 failed, 1 skipped (ran 12)",
            *("py311: ok", "py312: skip", "lint: ok", "demo: passed"),
            "13 passed, 0 failed, 1 skipped",
        ]
        self.assertEqual((0, expected), self.read(GOOD))

    def test_colours(self) -> None:
        coloured = GOOD.replace("  lint: OK", "\033[32m  lint: OK").replace(
            "py311: c", "\033[1mpy311: c"
        )
        self.assertEqual(self.read(GOOD), self.read(coloured))

    def test_failed_tests_count_once(self) -> None:
        status, lines = self.read(BAD_TESTS)
        self.assertEqual(1, status)
        self.assertIn("py311          failed: 5 passed, 6 failed, 1 skipped (ran 12)", lines)
        self.assertEqual("6 passed, 6 failed, 1 skipped", lines[-1])

    def test_failed_environment(self) -> None:
        """A failed lint counts as one failure, and so does trial without a result."""
        status, lines = self.read(GOOD.replace("lint: OK", "lint: FAIL code 1"))
        self.assertEqual((1, "12 passed, 1 failed, 1 skipped"), (status, lines[-1]))
        status, lines = self.read(GOOD + "  py313: FAIL code -9 (0.10 seconds)\n")
        self.assertEqual((1, "13 passed, 1 failed, 1 skipped"), (status, lines[-1]))

    def test_failed_demo(self) -> None:
        status, lines = self.read(GOOD, demo="failed")
        self.assertEqual((1, "12 passed, 1 failed, 1 skipped"), (status, lines[-1]))

    def test_a_failed_installation_is_reported(self) -> None:
        """After a failed installation there is no line of trial."""
        status, lines = self.read("pip: no such package\n")
        self.assertEqual((1, "1 passed, 1 failed, 0 skipped"), (status, lines[-1]))
        self.assertIn("trial did not run", lines)

    def test_failed_tests_have_their_reports(self) -> None:
        """The last lines of each: which test, and what it expected."""
        status, lines = self.read(REPORTS)
        self.assertEqual(1, status)
        self.assertIn("py311 [FAIL]", lines)
        expected = ["twisted.trial.unittest.FailTest: 1 != 2", "", "tests.core.test_a.Test.test_a"]
        start = lines.index(expected[0])
        self.assertEqual(expected, lines[start : start + 3])
        self.assertIn("builtins.KeyError: 7", lines)
        self.assertIn("tests.core.test_a.Test.test_b", lines)
        self.assertNotIn("No Valkey here", lines)
        self.assertLess(len(lines), 50)
        self.assertEqual("1 passed, 2 failed, 1 skipped", lines[-1])
