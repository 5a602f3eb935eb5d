"""Counts what passed and failed in ``make test`` and ``make demo``.

``python3 .ci/summary.py --demo passed LOG`` reads the output of tox. It prints the end of the
report of each test that failed, a line for each environment and, as the last line, "N passed, N
failed, N skipped". The exit status is 1 if anything failed.

Every test counts as one. Lint, types and the other environments without tests of their own, the
coverage's limit and the demo count as one each.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

COLOUR = re.compile(r"\033\[[0-9;]*m")
COMMAND = re.compile(r"([a-z0-9-]+): commands\[\d+\]> ")
RAN = re.compile(r"Ran (\d+) tests? in ")
RESULT = re.compile(r"(PASSED|FAILED) \((.*)\)")
COUNT = re.compile(r"(\w+)=(\d+)")
ENVIRONMENT = re.compile(r"  ([a-z0-9-]+): (OK|FAIL|SKIP)")
# Trial's report of a failure is between a line of "=" and the next such line or a line of "-".
REPORT_START, REPORT_END = "=" * 79, "-" * 79
REPORTED = re.compile(r"\[(FAIL|ERROR|SUCCESS!\?!)\]")
REPORT_LINES = 30


@dataclass
class Summary:
    """The lines to print, and how many tests and checks passed, failed and were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    lines: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)

    def last_line(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def summarize(log: Iterable[str], demo: str) -> Summary:
    """Count what the lines of tox's output report; ``demo`` is "passed" or "failed".

    Trial ends with "Ran 12 tests in 0.5s" and "PASSED (skips=1, successes=11)" or
    "FAILED (failures=1, successes=11)". Tox ends with a line for each environment, for example
    "  lint: OK (1.20=setup[0.80]+cmd[0.40] seconds)".
    """
    summary = Summary()
    environment, ran, is_trial_seen = "", 0, False
    failures: Counter[str] = Counter()
    report: list[str] | None = None
    for coloured in log:
        line = COLOUR.sub("", coloured).rstrip()
        if line in (REPORT_START, REPORT_END):
            if report and REPORTED.fullmatch(report[0]):
                head = f"{environment} {report[0]}"
                summary.reports += ["", head, *report[1:][-REPORT_LINES:]]
            report = [] if line == REPORT_START else None
        elif report is not None:
            report.append(line)
        elif match := COMMAND.match(line):
            environment = match[1]
        elif match := RAN.match(line):
            ran = int(match[1])
        elif match := RESULT.match(line):
            count = Counter({name: int(number) for name, number in COUNT.findall(match[2])})
            bad = count["failures"] + count["errors"] + count["unexpectedSuccesses"]
            good = count["successes"] + count["expectedFailures"]
            summary.lines.append(
                f"{environment:<14} {match[1].lower()}: {good} passed, {bad} failed,"
                f" {count['skips']} skipped (ran {ran})"
            )
            summary.passed += good
            summary.failed += bad
            summary.skipped += count["skips"]
            failures[environment] += bad
            is_trial_seen = True
        elif match := ENVIRONMENT.match(line):
            name, result = match.groups()
            summary.lines.append(f"{name}: {result.lower()}")
            # Tests that failed are counted already, and so are those that passed on each Python.
            if result == "FAIL" and not failures[name]:
                summary.failed += 1
            elif result == "OK" and not name.startswith("py"):
                summary.passed += 1
    if not is_trial_seen:
        summary.lines.append("trial did not run")
        summary.failed += 1
    summary.lines.append(f"demo: {demo}")
    if demo == "passed":
        summary.passed += 1
    else:
        summary.failed += 1
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("log", type=Path, metavar="LOG", help="what `make test` printed")
    parser.add_argument("--demo", choices=("passed", "failed"), required=True)
    options = parser.parse_args()
    with options.log.open(errors="replace") as log:
        summary = summarize(log, options.demo)
    print(*summary.reports, *summary.lines, summary.last_line(), sep="\n")
    return 1 if summary.failed else 0


if __name__ == "__main__":
    sys.exit(main())
