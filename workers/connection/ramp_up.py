"""Opens many connections, at a limited rate, with a limited number of concurrent handshakes.

A server accepts connections as fast as it completes handshakes. Further ones wait in the kernel's
queue; when it is full, their packets are dropped, and sent again a second later. So the swarm
limits the number of concurrent handshakes, which adapts to any server. A rate is optional.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

UNDER_WAY = 200  # handshakes at once: enough to keep a server busy
LOT = 256  # connections started before the reactor reads again
TICK = 0.02  # seconds between two lots, if the rate is limited


class Ramp:
    """Calls `connect(number)` for 0 to total - 1. Call `start`, and `stop` to end early.

    connect: returns a Deferred that fires when the handshake is over, successful or not. The ramp
    ignores its errors; to end the ramp at an error, call `stop`.
    rate: the maximum number of calls per second; 0: no limit.
    under_way: the maximum number of Deferreds that have not fired.
    """

    def __init__(
        self,
        clock: Any,
        total: int,
        rate: float,
        connect: Callable[[int], Deferred[Any]],
        under_way: int = UNDER_WAY,
    ) -> None:
        self._clock = clock
        self._total = total
        self._rate = rate
        self._connect = connect
        self._next = 0
        self._most = under_way
        self._under_way = 0
        self._started = 0.0
        self._call: Any = None

    def start(self) -> None:
        self._started = self._clock.seconds()
        self._start_due()

    def stop(self) -> None:
        self._next = self._total
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _start_due(self) -> None:
        self._call = None
        allowed = self._total
        if self._rate:
            passed = self._clock.seconds() - self._started
            allowed = min(allowed, 1 + int(passed * self._rate))
        lot = LOT
        while self._next < allowed and self._under_way < self._most and lot:
            lot -= 1
            number = self._next
            self._next += 1
            self._under_way += 1
            self._connect(number).addBoth(self._over)
        if self._next < self._total and self._under_way < self._most and self._call is None:
            self._call = self._clock.callLater(TICK if lot else 0, self._start_due)

    def _over(self, result: Any) -> None:
        # In another turn: connections that end at once would recurse.
        self._under_way -= 1
        if self._next < self._total and self._call is None:
            self._call = self._clock.callLater(0 if not self._rate else TICK, self._start_due)
