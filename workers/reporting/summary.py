"""The summary of a run: its values as JSON or as lines of text, and errors on stderr."""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.connection.failure_reasons import hint
from workers.reporting.latency import Latencies

Reports = Sequence[Mapping[str, Any]]
"""The values of the last event of a shard (see processes/shard.py)."""


@dataclass(slots=True)
class Outcome:
    """The result of a run.

    values: this subcommand's part of the JSON summary. lines: the summary as text. problems: lines
    for stderr; if there are any, the exit status is 1.
    """

    values: dict[str, Any]
    lines: list[str]
    problems: list[str] = field(default_factory=list)


def merged_latencies(reports: Reports, name: str) -> Latencies:
    """A histogram of all shards together."""
    total = Latencies()
    for report in reports:
        total.merge(Latencies((bucket, count) for bucket, count in report[name]))
    return total


def merged_counts(reports: Reports, name: str) -> Counter[str]:
    """A counter of all shards together."""
    total: Counter[str] = Counter()
    for report in reports:
        total.update(report[name])
    return total


def plural(count: int, singular: str, several: str | None = None) -> str:
    """`1 process`, `1,024 processes`: several is the singular and an s by default."""
    return f"{count:,} {singular if count == 1 else several or f'{singular}s'}"


def failure_lines(reports: Reports) -> list[str]:
    """A line for each failure reason, the most frequent first."""
    return [
        f"{plural(count, 'time')} {reason}{hint(reason)}"
        for reason, count in merged_counts(reports, "failures").most_common()
    ]


def milliseconds(times: Latencies, *percents: float) -> dict[str, float | None]:
    """Percentiles for the JSON summary: {"p50": 1.234, …}; 100 is "max"."""
    values = {}
    for percent in percents:
        value = times.percentile(percent)
        name = "max" if percent == 100 else f"p{percent:g}"
        values[name] = None if value is None else round(value * 1000, 3)
    return values


def times_line(name: str, values: Mapping[str, float | None]) -> str:
    """The same percentiles as text."""
    if None in values.values():
        return f"{name}: nothing to measure"
    return f"{name}: " + ", ".join(f"{key} {value:,.1f} ms" for key, value in values.items())


def cpu_seconds_of(reports: Reports) -> float:
    """CPU time of all processes of the swarm that had clients."""
    total: float = sum(report["cpu"] for report in reports)
    return round(total, 2)


def complain(text: str) -> None:
    print(f"swarm: {text}", file=sys.stderr, flush=True)


def refuse(options: Mapping[str, Any], *why: str, warnings: Sequence[str] = ()) -> int:
    """Print why the run cannot begin, on stderr and with --json on stdout; returns 1."""
    for line in why:
        complain(line)
    if options["json"]:
        print_json({}, warnings, why, interrupted=False)
    return 1


def print_json(
    values: Mapping[str, Any], warnings: Sequence[str], errors: Sequence[str], interrupted: bool
) -> None:
    last = {"warnings": warnings, "errors": errors, "interrupted": interrupted}
    print(json.dumps({**values, **last}), flush=True)


def print_lines(lines: Sequence[str], interrupted: bool) -> None:
    """Print the result on stdout."""
    if lines:
        if interrupted:
            print("interrupted; so far:")
        print("\n".join(lines), flush=True)
