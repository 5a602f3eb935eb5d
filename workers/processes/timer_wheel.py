"""Ten thousand timers for the price of one.

A client that waits a minute between two messages needs a timer; a DelayedCall of Twisted's for each
is half a kilobyte and a place in the reactor's heap that every iteration pays for. Here calls that
are due within the same tick share a slot, and the reactor sees one call: that of the next slot.
There is no cancelling: who is called looks whether it still matters.
"""

import heapq
from collections.abc import Callable
from typing import Any

TICK = 0.01  # seconds; a call comes up to so much late


class TimerWheel:
    """`later` at any time; `stop` forgets all that is left.

    A call that raises takes the rest of its slot with it: it is a bug, and seen in the log.
    """

    def __init__(self, clock: Any, tick: float = TICK) -> None:
        self._clock = clock
        self._tick = tick
        self._slots: dict[int, list[Callable[[], None]]] = {}
        self._due: list[int] = []  # a heap of the slots' ticks
        self._call: Any = None
        self._called_at = 0  # the tick that _call is for

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        # Never in the slot that is being called: with a delay of 0 it would not end.
        tick = int((self._clock.seconds() + seconds) / self._tick) + 1
        slot = self._slots.get(tick)
        if slot is not None:
            slot.append(call)
            return
        self._slots[tick] = [call]
        heapq.heappush(self._due, tick)
        self._wind()

    def stop(self) -> None:
        self._slots.clear()
        self._due.clear()
        self._wind()

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def _wind(self) -> None:
        """See to it that the reactor calls at the first slot's time."""
        if self._call is not None:
            if self._due and self._due[0] == self._called_at:
                return
            self._call.cancel()
            self._call = None
        if self._due:
            self._called_at = self._due[0]
            delay = self._called_at * self._tick - self._clock.seconds()
            self._call = self._clock.callLater(max(0.0, delay), self._turn)

    def _turn(self) -> None:
        self._call = None
        # Half a tick more than now: a clock that wakes a hair early must not spin.
        now = self._clock.seconds() + self._tick / 2
        try:
            while self._due and self._due[0] * self._tick <= now:
                for call in self._slots.pop(heapq.heappop(self._due)):
                    call()
        finally:
            self._wind()
