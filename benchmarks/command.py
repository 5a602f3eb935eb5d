"""The common parts of the benchmarks' commands: options, and one comparison from start to report.

def main(arguments=None):
    options = parser().parse_args(arguments)
    return command.compare(options, descriptors, candidates, measure)

if __name__ == "__main__":
    command.run(main)
"""

import argparse
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import load, measurements, rounds
from benchmarks.measurements import Measurements
from benchmarks.rounds import N
from benchmarks.servers import Failed
from workers.cli.argument_types import positive

Versions = Mapping[str, Mapping[str, str]]
"""The versions of the competitors' libraries: competitor -> library -> version."""


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m benchmarks.NAME`."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """--rounds and --json."""
    add = parser.add_argument
    add("--rounds", type=positive, default=3, metavar="N", help="how often all are measured (3)")
    add("--json", action="store_true", help="print one JSON object")


def arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that `compare` needs."""
    found = parser(name, description)
    add_output_options(found)
    found.add_argument(
        "--only", default="", metavar="TEXT", help="candidates whose name has this text in it"
    )
    return found


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with the status that `main` returns; a failure prints a single line.

    SIGTERM has the effect of Ctrl-C: the context managers stop the servers.
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
    """Create a temporary folder for the servers' sockets and output."""
    folder = Path(tempfile.mkdtemp(prefix="c10k-benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(
    options: argparse.Namespace,
    descriptors: int,
    candidates: Callable[[], tuple[Sequence[N], Versions]],
    measure: Callable[[N, Path], Measurements],
    ratio_of: Sequence[str] = (),
) -> int:
    """Measure all candidates in turn and print the report; returns the exit status.

    descriptors: the number of files that a load opens at the same time.
    candidates: returns all candidates and the versions of their libraries; may install libraries.
    measure: makes one run of one candidate, with a folder for its files.
    ratio_of: the measurements for which the report has ratios between candidates.
    """
    load.allow_descriptors(descriptors)
    before = machine()
    everybody, versions = candidates()
    with scratch_folder() as folder:
        results = rounds.measured(
            rounds.chosen(everybody, options.only),
            options.rounds,
            lambda candidate: measure(candidate, folder),
        )
    measurements.print_report(report(options, before, results, ratio_of, versions), options.json)
    return 0


def machine() -> dict[str, Any]:
    """Return a description of this machine."""
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
    results: rounds.Results,
    ratio_of: Sequence[str],
    versions: Versions,
) -> dict[str, Any]:
    """Return the output of --json: options, machine, versions, medians, ratios, and all runs."""
    rows = {name: measurements.medians(runs) for name, runs in results.items()}
    return {
        "options": {
            name: value
            for name, value in vars(options).items()
            if isinstance(value, int | float | str) and name not in ("json", "only")
        },
        "machine": dict(before),
        "versions": {name: dict(found) for name, found in versions.items()},
        "medians": rows,
        "ratios": {figure: measurements.against(rows, figure) for figure in ratio_of},
        "rounds": {name: list(runs) for name, runs in results.items()},
        "failed_runs": results.failed,
    }
