"""Notices that the event loop stood still, which nobody else in the process can.

What blocks in a handler or a callback (a synchronous request, ``time.sleep``, a long computation)
stops everybody whom the process serves, and leaves no trace: here it gets a line in the log.
"""

from typing import Any

from twisted.logger import Logger

INTERVAL_S = 0.5
STANDSTILL_S = 1.0
"""Later than this by a timer, and people notice; a busy machine is late by some tens of ms."""


class StandstillWatch:
    """From ``start`` to ``stop``; ``clock`` is the reactor."""

    log = Logger()

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._call: Any = None
        self._due = 0.0

    def start(self) -> None:
        self._due = self._clock.seconds() + INTERVAL_S
        self._call = self._clock.callLater(INTERVAL_S, self._tick)

    def stop(self) -> None:
        """May be called twice, or without a start."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _tick(self) -> None:
        late = self._clock.seconds() - self._due
        if late >= STANDSTILL_S:
            self.log.warn(
                "the event loop stood still for {late:.1f} s: does a handler or a callback block?"
                " It belongs into in_database, or a thread of its own.",
                late=late,
            )
        self.start()
