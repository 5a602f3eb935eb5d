"""Logs a repeated event a few times, then only how often it happened.

Clients cause some log lines at will: refused handshakes, invalid frames. A flood of them would
hide all other lines. So of each kind BURST events are logged in INTERVAL_S, and then a summary:
"… and 1,204 more".

``Repetitions`` decides, and is given the time; ``LimitedLog`` has the timer.
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from twisted.internet.interfaces import IReactorTime

BURST = 5
"""Events of a kind that are logged in an interval: enough to see what they have in common."""

INTERVAL_S = 10.0
"""Seconds from the first event of a kind to the summary of those that were not logged."""

MAX_KINDS = 100
"""Kinds of events that are counted one by one; further ones are one kind together."""

OTHER = "other"


class Repetitions:
    """Decides which events are logged.

    ``admit`` each event. When it returns False for the first time, and after each ``summaries``
    that leaves ``pending``, call ``summaries`` INTERVAL_S later.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, list[float]] = {}  # kind -> [start of the interval, events in it]

    def admit(self, kind: str, now: float) -> bool:
        """Count an event; returns whether to log it.

        Args:
            kind: What events are counted together, such as a status.
            now: Monotonic time in seconds.
        """
        state = self._kinds.get(kind)
        if state is None:
            if len(self._kinds) >= MAX_KINDS:
                self._forget(now)
            if len(self._kinds) >= MAX_KINDS:
                state = self._kinds.setdefault(OTHER, [now, 0])
            else:
                state = self._kinds[kind] = [now, 0]
        if now - state[0] >= INTERVAL_S and state[1] <= BURST:
            state[:] = [now, 0]
        state[1] += 1
        return state[1] <= BURST

    @property
    def pending(self) -> bool:
        """Whether there are events that were neither logged nor summarised."""
        return any(count > BURST for _, count in self._kinds.values())

    def summaries(self, now: float) -> list[tuple[str, int]]:
        """The kinds whose interval is over, and how many of their events were not logged."""
        over = [kind for kind, (since, _) in self._kinds.items() if now - since >= INTERVAL_S]
        counts = [(kind, int(self._kinds.pop(kind)[1]) - BURST) for kind in over]
        return [(kind, count) for kind, count in counts if count > 0]

    def _forget(self, now: float) -> None:
        """Forget the kinds of which nothing happens any more."""
        for kind, (since, count) in list(self._kinds.items()):
            if count <= BURST and now - since >= INTERVAL_S:
                del self._kinds[kind]


class LimitedLog:
    """Logs the events of one source, of each kind a few.

    Args:
        emit: Logs an event: a method of a Logger, such as ``log.info``.
        what: What the events are, in the plural; the summary names it.
        clock: The reactor. Without one, a summary comes with the next event, and events may come
            from any thread.
    """

    def __init__(
        self, emit: Callable[..., object], what: str, clock: IReactorTime | None = None
    ) -> None:
        self._emit = emit
        self._what = what
        self._clock: Any = clock
        self._repetitions = Repetitions()
        self._lock = threading.Lock()
        self._timer: Any = None

    def __call__(self, kind: str, text: str, **values: object) -> None:
        """Log an event, or only count it.

        Args:
            kind: What events are counted together; empty if all are of one kind.
            text: The event's format, for Twisted's Logger.
            values: The values in it.
        """
        if self._clock is None:
            now = monotonic()
            self._log_summaries(now)
        else:
            now = self._clock.seconds()
        with self._lock:
            is_logged = self._repetitions.admit(kind, now)
        if is_logged:
            self._emit(text, **values)
        elif self._clock is not None and self._timer is None:
            self._timer = self._clock.callLater(INTERVAL_S, self._summarise)

    def stop(self) -> None:
        """Log the summaries that are due later now. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._log_summaries(float("inf"))

    def _summarise(self) -> None:
        self._timer = None
        self._log_summaries(self._clock.seconds())
        if self._repetitions.pending:
            self._timer = self._clock.callLater(INTERVAL_S, self._summarise)

    def _log_summaries(self, now: float) -> None:
        with self._lock:
            summaries = self._repetitions.summaries(now)
        for kind, count in summaries:
            text = (
                "{what}: … and {count:,} more ({kind})" if kind else "{what}: … and {count:,} more"
            )
            self._emit(text, what=self._what, count=count, kind=kind)
