"""Opens many connections: how fast, and from which addresses.

Rate: servers accept as fast as they shake hands; what comes faster waits in the kernel's queue, and
beyond the queue's length is dropped and sent again a second later. So a bound on how many are under
way at once adapts to any server, and a rate is an option for the patient.

Addresses: a client address has one port for each connection to the same server, some 28,000 by
Linux's default. Towards a loopback server every 127.x.y.z is ours, so the swarm goes on with
127.0.0.2 and so on; towards others there is nothing to be done here.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

UNDER_WAY = 200  # connections at once in their handshake: enough to keep a server busy
LOT = 256  # started before the reactor may read again, which takes about 25 ms
TICK = 0.02  # seconds between two lots of a limited rate


class Ramp:
    """Calls `connect(number)` for 0..total-1, each result a Deferred that fires once the handshake
    is over, well or badly; at most `rate` a second (0: no limit) and `under_way` at once.

    An error of `connect` is for its owner, who calls `stop`; here it just counts as over.
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
        self._go_on()

    def stop(self) -> None:
        self._next = self._total
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _go_on(self) -> None:
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
            self._call = self._clock.callLater(TICK if lot else 0, self._go_on)

    def _over(self, result: Any) -> None:
        # Not from here: connections that end at once would recurse.
        self._under_way -= 1
        if self._next < self._total and self._call is None:
            self._call = self._clock.callLater(0 if not self._rate else TICK, self._go_on)
