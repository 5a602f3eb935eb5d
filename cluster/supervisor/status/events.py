"""EventLog: what happened to the processes of a cluster, the newest last.

The rules:

* at most ``limit`` events are kept; older ones are forgotten;
* an event that repeats one of the newest ``RECENT`` with the same text, level and process is added
  to its count, and moves to the end: a view that fails a thousand times is one event;
* ``counts`` counts all events by kind, and never goes back.

Times are Unix times in seconds; callers pass them.
"""

from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice
from typing import Any

RECENT = 20
MAX_TEXT = 300
"""Characters of an event's text."""


@dataclass(slots=True)
class Event:
    """One event.

    Attributes:
        time: When it happened for the last time.
        kind: One word for the metrics, such as "started".
        level: "info", "warn" or "error".
        process: The name of the process; empty for the whole cluster.
        text: A sentence or a phrase about it, without the name of the process.
        count: How often it happened.
        number: Grows with each event; that of the last time it happened.
    """

    time: float
    kind: str
    level: str
    process: str
    text: str
    count: int = 1
    number: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The event as JSON has it."""
        return {name: getattr(self, name) for name in self.__slots__}


class EventLog:
    """The newest ``limit`` events."""

    def __init__(self, limit: int = 200) -> None:
        self.counts: Counter[str] = Counter()
        self._events: deque[Event] = deque(maxlen=limit)

    def record(
        self, now: float, kind: str, text: str, *, process: str = "", level: str = "info"
    ) -> None:
        """Add an event."""
        self.counts[kind] += 1
        text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
        for event in islice(reversed(self._events), RECENT):
            if (event.kind, event.level, event.process, event.text) == (kind, level, process, text):
                self._events.remove(event)
                event.count += 1
                event.time = now
                event.number = self.counts.total()
                self._events.append(event)
                return
        self._events.append(Event(now, kind, level, process, text, number=self.counts.total()))

    def newest(self, count: int) -> list[Event]:
        """The newest events, the newest first."""
        return list(islice(reversed(self._events), count))
