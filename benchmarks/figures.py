"""Rounds, medians, ratios and tables: what all benchmarks do with what they measured.

`measured` runs the contenders in turn, so that what else the machine does falls on all alike;
`medians` and `against` make the figures; `print_report` shows them, as a table or as JSON. As a
command, `python -m benchmarks.figures FILE ...`, it prints the tables of earlier runs' JSON.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.servers import Contender, Failed

Figures = dict[str, float]
"""What one run of one contender gave, by the figure's name, unit included."""


class Results(dict[str, list[Figures]]):
    """The runs of each contender, and what was said of those that failed and were done again."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: list[str] = []


def arguments(prog: str, description: str | None, rounds: int = 3) -> argparse.ArgumentParser:
    """A parser with the options all benchmarks have."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{prog}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"({rounds})")
    parser.add_argument("--only", default="", help="contenders whose name has this text in it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns, in one line of explanation if it failed.

    SIGTERM ends it like Ctrl-C does: through the context managers that stop the servers.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(main())
    except (Failed, OSError) as error:
        sys.exit(f"benchmark: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the servers' sockets and output, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="c10k-benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measured(
    contenders: Sequence[Contender],
    rounds: int,
    measure: Callable[[Contender], Figures],
) -> Results:
    """`measure` each contender in each round; progress goes to standard error.

    A run that fails is done again, once, and noted in `failed`, as leaving it out is a choice of
    what to report; Failed if it fails again.
    """
    results = Results()
    results.update((contender.name, []) for contender in contenders)
    for number in range(1, rounds + 1):
        for contender in contenders:
            try:
                figures = measure(contender)
            except Failed as error:
                print(f"round {number}, {contender.name}: {error}", file=sys.stderr, flush=True)
                reason = str(error).partition("\n")[0]
                results.failed.append(f"round {number}, {contender.name}: {reason}")
                figures = measure(contender)
            results[contender.name].append(figures)
            said = ", ".join(f"{name} {shown(value)}" for name, value in figures.items())
            print(f"round {number}, {contender.name}: {said}", file=sys.stderr, flush=True)
    return results


def chosen(contenders: Sequence[Contender], only: str) -> list[Contender]:
    """The contenders --only names; Failed if there is none."""
    found = [contender for contender in contenders if only.lower() in contender.name.lower()]
    if not found:
        names = ", ".join(contender.name for contender in contenders)
        raise Failed(f"no contender has {only!r} in its name; they are: {names}")
    return found


def medians(runs: Sequence[Figures]) -> Figures:
    """The median of each figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def against(rows: Mapping[str, Figures], figure: str) -> dict[str, dict[str, float]]:
    """Each row's figure divided by each other's: ratios[row][other]."""
    return {
        row: {
            other: mine[figure] / theirs[figure] if theirs[figure] else float("nan")
            for other, theirs in rows.items()
        }
        for row, mine in rows.items()
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the sorted values do not exceed; nan if empty."""
    if not ordered:
        return float("nan")
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def shown(value: float) -> str:
    """Three digits that matter, in plain notation."""
    if value != value or value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(rows: Mapping[str, Mapping[str, float]], corner: str = "") -> str:
    """Rows and columns as GitHub's Markdown has them, aligned for the terminal too."""
    columns = list(next(iter(rows.values())))
    cells = [[name, *(shown(row[column]) for column in columns)] for name, row in rows.items()]
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


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model[1] if model else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


def report(
    options: argparse.Namespace,
    before: Mapping[str, Any],
    results: Results,
    ratio_of: Sequence[str],
    versions: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """All that --json prints: options, machine, versions, medians, ratios and the runs behind."""
    rows = {name: medians(runs) for name, runs in results.items()}
    return {
        "options": {
            name: value
            for name, value in vars(options).items()
            if isinstance(value, int | float | str) and name not in ("json", "only")
        },
        "machine": dict(before),
        "versions": {name: dict(found) for name, found in (versions or {}).items()},
        "medians": rows,
        "ratios": {figure: against(rows, figure) for figure in ratio_of},
        "rounds": {name: list(runs) for name, runs in results.items()},
        "failed_runs": results.failed,
    }


def print_report(found: Mapping[str, Any], as_json: bool) -> None:
    """The medians, then for each figure in question every row divided by every column."""
    if as_json:
        print(json.dumps(_rounded(found), ensure_ascii=False, indent=1))
        return
    print(table(found["medians"]))
    for failed in found.get("failed_runs", ()):
        print(f"\nFailed, and done again: {failed}")
    for figure, ratios in found["ratios"].items():
        print(f"\n{figure}, the row divided by the column:\n\n{table(ratios)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of what --json has put into files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=main.__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="output of a benchmark with --json")
    for path in parser.parse_args(arguments).files:
        found = _with_nan(json.loads(path.read_text()))
        if "medians" not in found:
            raise Failed(f"{path} is not what `report` makes")
        print(f"{path.name}\n")
        print_report(found, as_json=False)
        print()
    return 0


def _with_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _with_nan(part) for name, part in value.items()}
    return float("nan") if value is None else value


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if value == value else None  # JSON knows no nan
    if isinstance(value, Mapping):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return value


if __name__ == "__main__":
    run(main)
