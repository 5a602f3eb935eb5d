"""ClusterHistory: what the processes of a cluster did in each of the last 300 seconds.

The supervisor receives the statistics of every process once a second, and adds them here. Counts
start at 0 in each process, so a count that is lower than before is that of a new process, and is
added whole. A process that does not answer adds nothing.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

SECONDS = 300
RATE_S = 5
"""Seconds over which a rate is averaged."""

COUNTS = (
    "messages_received", "messages_sent", "connections_opened", "batches_forwarded",
    "bytes_forwarded", "bus_gaps", "wsgi_refused",
)  # fmt: skip
"""Counts of a process's statistics whose rates are shown."""

LABELLED = ("messages_dropped", "handshakes_refused")
"""The same, with a number for each label."""


@dataclass(slots=True)
class Second:
    """What happened between two samples.

    Attributes:
        at: The time of the second sample, in seconds of a monotonic clock.
        connections: WebSocket connections at that time.
        counts: The increase of each of COUNTS.
        labelled: The same for LABELLED, by label.
    """

    at: float
    connections: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    labelled: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in LABELLED}
    )


class ClusterHistory:
    """The samples of the whole cluster, and the rates of each process."""

    def __init__(self) -> None:
        self._seconds: deque[Second] = deque(maxlen=SECONDS)
        self._before: dict[str, Mapping[str, Any]] = {}
        self._of_processes: dict[str, deque[tuple[float, Counter[str]]]] = {}

    def add(self, now: float, statistics: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Add a sample.

        Args:
            now: Seconds of a monotonic clock.
            statistics: The statistics of each process by name; None if it does not answer.
        """
        second = Second(now)
        for name, found in statistics.items():
            if found is None:
                continue
            before = self._before.get(name, {})
            counts = Counter(
                {key: _increase(before.get(key, 0), found.get(key, 0)) for key in COUNTS}
            )
            second.connections += found.get("connections", 0)
            second.counts.update(counts)
            for key in LABELLED:
                earlier = before.get(key, {})
                for label, count in found.get(key, {}).items():
                    second.labelled[key][label] += _increase(earlier.get(label, 0), count)
            self._before[name] = found
            recent = self._of_processes.setdefault(name, deque(maxlen=RATE_S + 1))
            recent.append((now, counts))
        self._seconds.append(second)

    def forget(self, name: str) -> None:
        """Forget the counts of a process that has ended."""
        self._before.pop(name, None)
        self._of_processes.pop(name, None)

    def rate(self, count: str) -> float:
        """The increase of a count a second, in the whole cluster."""
        return _rate([(each.at, each.counts) for each in self._latest(RATE_S + 1)], count)

    def rate_of(self, name: str, count: str) -> float:
        """The same for one process; 0.0 for a process that is not known."""
        return _rate(self._of_processes.get(name, ()), count)

    def lost(self, key: str, now: float, seconds: float = SECONDS) -> dict[str, int]:
        """The increase of a labelled count by label, in the last ``seconds``; labels above 0."""
        total: Counter[str] = Counter()
        for each in self._seconds:
            if now - each.at <= seconds:
                total.update(each.labelled[key])
        return dict(+total)

    def increase(self, count: str, now: float, seconds: float = SECONDS) -> int:
        """The increase of a count in the last ``seconds``."""
        return sum(each.counts[count] for each in self._seconds if now - each.at <= seconds)

    def series(self, count: str, points: int) -> list[int]:
        """The values of the last ``points`` samples: connections, or the increase of a count."""
        latest = self._latest(points)
        if count == "connections":
            return [each.connections for each in latest]
        return [each.counts[count] for each in latest]

    def _latest(self, number: int) -> list[Second]:
        return list(islice(self._seconds, max(0, len(self._seconds) - number), None))


def _increase(before: int, now: int) -> int:
    return now - before if now >= before else now


def _rate(samples: Iterable[tuple[float, Counter[str]]], count: str) -> float:
    samples = list(samples)
    if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
        return 0.0
    increase = sum(counts[count] for _, counts in samples[1:])
    return float(increase / (samples[-1][0] - samples[0][0]))
