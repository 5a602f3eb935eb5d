"""What a run comes to, for machines and for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.connection.failure_reasons import hint
from workers.processes.swarm import Report, counted
from workers.reporting.latency import Latencies


@dataclass(slots=True)
class Outcome:
    """figures: the JSON summary's own part. lines: for people. problems: each a line of stderr,
    and one is enough for exit status 1."""

    figures: dict[str, Any]
    lines: list[str]
    problems: list[str] = field(default_factory=list)


def failures_of(reports: Sequence[Report]) -> list[str]:
    """A line for each reason, the most frequent first."""
    failures = counted(list(reports), "failures")
    return [
        f"{count:,} time{'' if count == 1 else 's'} {reason}{hint(reason)}"
        for reason, count in failures.most_common()
    ]


def milliseconds(times: Latencies, *percents: float) -> dict[str, float | None]:
    """{"p50": 1.234, …}; 100 is "max"."""
    figures = {}
    for percent in percents:
        value = times.percentile(percent)
        name = "max" if percent == 100 else f"p{percent:g}"
        figures[name] = None if value is None else round(value * 1000, 3)
    return figures


def times_line(name: str, figures: Mapping[str, float | None]) -> str:
    if None in figures.values():
        return f"{name}: nothing to measure"
    return f"{name}: " + ", ".join(f"{key} {value:,.1f} ms" for key, value in figures.items())


def cpu_of(reports: Sequence[Report]) -> float:
    """Seconds of all of the swarm's processes that had clients."""
    return round(sum(report["cpu"] for report in reports), 2)
