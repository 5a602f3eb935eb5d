"""Medians, ratios and tables of measurements.

`python -m benchmarks.measurements FILE ...` prints the tables of earlier runs from their JSON.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.servers import Failed

Measurements = dict[str, float]
"""The results of one run of one candidate, by a name that includes the unit."""


def medians(runs: Sequence[Measurements]) -> Measurements:
    """Return the median of each measurement."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def against(rows: Mapping[str, Measurements], name: str) -> dict[str, dict[str, float]]:
    """Return each row's measurement divided by each other row's: ratios[row][other]."""
    return {
        row: {
            other: mine[name] / theirs[name] if theirs[name] else float("nan")
            for other, theirs in rows.items()
        }
        for row, mine in rows.items()
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of the sorted values do not exceed; nan if empty."""
    if not ordered:
        return float("nan")
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def shown(value: float) -> str:
    """Format a number with three significant digits, without an exponent."""
    if value != value or value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else shown(value)


def table(rows: Mapping[str, Mapping[str, float | str]], corner: str = "") -> str:
    """Return a table in GitHub's Markdown, which is also aligned for the terminal."""
    columns = list(next(iter(rows.values())))
    cells = [[name, *(_cell(row[column]) for column in columns)] for name, row in rows.items()]
    head = [corner, *columns]
    widths = [max(len(line[at]) for line in [head, *cells]) for at in range(len(head))]

    def line(words: Sequence[str]) -> str:
        first, *others = (
            word.ljust(width) if at == 0 else word.rjust(width)
            for at, (word, width) in enumerate(zip(words, widths, strict=True))
        )
        return f"| {' | '.join([first, *others])} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(head), line(rule), *map(line, cells)])


def print_report(found: Mapping[str, Any], as_json: bool) -> None:
    """Print the medians, then for each measurement of `ratios` every row divided by every
    column."""
    if as_json:
        print(json.dumps(_rounded(found), ensure_ascii=False, indent=1))
        return
    print(table(found["medians"]))
    for failed in found.get("failed_runs", ()):
        print(f"\nFailed, and repeated: {failed}")
    for figure, ratios in found["ratios"].items():
        print(f"\n{figure}, the row divided by the column:\n\n{table(ratios)}")


def _with_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _with_nan(part) for name, part in value.items()}
    return float("nan") if value is None else value


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if value == value else None  # JSON has no nan
    if isinstance(value, Mapping):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of files that --json wrote."""
    from benchmarks import command  # not at the top, because it imports this module

    parser = command.parser("measurements", main.__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="output of a benchmark with --json")
    for path in parser.parse_args(arguments).files:
        found = _with_nan(json.loads(path.read_text()))
        if "medians" not in found:
            raise Failed(f"{path} is not what a benchmark prints with --json, or not of this kind")
        print(f"{path.name}\n")
        print_report(found, as_json=False)
        print()
    return 0


if __name__ == "__main__":
    from benchmarks.command import run

    run(main)
