"""Many timers that share one call of the reactor.

Each client that waits between two messages needs a timer. With one DelayedCall of Twisted for each,
every iteration of the reactor would process a heap of all of them. Here calls that are due within
the same tick share a slot, and the reactor has one call, for the next slot. Calls cannot be
cancelled: the called function checks whether it is still needed.
"""

import heapq
from collections.abc import Callable
from typing import Any

TICK = 0.01  # seconds; a call may be late by this much


class TimerWheel:
    """Calls functions later; `stop` drops all pending calls.

    If a function raises, which is a bug, the remaining calls of its slot are lost, and the reactor
    logs the exception.
    """

    def __init__(self, clock: Any, tick: float = TICK) -> None:
        self._clock = clock
        self._tick = tick
        self._slots: dict[int, list[Callable[[], None]]] = {}
        self._due: list[int] = []  # a heap of the ticks that have a slot
        self._call: Any = None
        self._called_at = 0  # the tick of _call

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `function` in `seconds` seconds."""
        # Never use the slot that is being called: repeated delays of 0 would not end.
        tick = int((self._clock.seconds() + seconds) / self._tick) + 1
        slot = self._slots.get(tick)
        if slot is not None:
            slot.append(call)
            return
        self._slots[tick] = [call]
        heapq.heappush(self._due, tick)
        self._schedule()

    def stop(self) -> None:
        self._slots.clear()
        self._due.clear()
        self._schedule()

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def _schedule(self) -> None:
        """Schedule the reactor's call for the time of the first slot."""
        if self._call is not None:
            if self._due and self._due[0] == self._called_at:
                return
            self._call.cancel()
            self._call = None
        if self._due:
            self._called_at = self._due[0]
            delay = self._called_at * self._tick - self._clock.seconds()
            self._call = self._clock.callLater(max(0.0, delay), self._call_due)

    def _call_due(self) -> None:
        self._call = None
        # Half a tick more than now, in case the reactor calls a little early.
        now = self._clock.seconds() + self._tick / 2
        try:
            while self._due and self._due[0] * self._tick <= now:
                for call in self._slots.pop(heapq.heappop(self._due)):
                    call()
        finally:
            self._schedule()
