"""Opens many connections: how fast, and from which addresses.

Rate: servers accept as fast as they shake hands; what comes faster waits in the kernel's queue, and
beyond the queue's length is dropped and sent again a second later. So a bound on how many are under
way at once adapts to any server, and a rate is an option for the patient.

Addresses: a client address has one port for each connection to the same server, some 28,000 by
Linux's default. Towards a loopback server every 127.x.y.z is ours, so the swarm goes on with
127.0.0.2 and so on; towards others there is nothing to be done here.
"""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

UNDER_WAY = 200  # connections at once in their handshake: enough to keep a server busy
LOT = 256  # started before the reactor may read again, which takes about 25 ms
TICK = 0.02  # seconds between two lots of a limited rate

_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SPARED = 0.2  # of the ports are left for others, and for connections that have just ended


def port_range() -> tuple[int, int]:
    """The first and the last port that outgoing connections get."""
    try:
        first, last = map(int, _PORT_RANGE.read_text().split())
    except (OSError, ValueError):
        return 49152, 65535  # IANA's range, what other systems use
    return first, last


def ports_per_address() -> int:
    """How many connections to one server the swarm makes from one address."""
    first, last = port_range()
    return max(1, int((last - first + 1) * (1 - _SPARED)))


def source_address(number: int, server: str, ports: int) -> str | None:
    """Where the swarm's connection `number` (from 0) to `server` (an IP address) comes from.

    None: wherever the system likes. That is the first `ports` connections, and all to a server
    that is not on an IPv4 loopback address.
    """
    further = number // ports
    address = ipaddress.ip_address(server)
    if not further or address.version != 4 or not address.is_loopback:
        return None
    return str(ipaddress.IPv4Address("127.0.0.1") + further)


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
