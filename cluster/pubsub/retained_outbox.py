"""Publications for the exchange, kept here until it has them, and a little longer.

The rules:

* each gets a number, one more than the one before, and they are sent in this order;
* one is kept until the exchange says that it has it (``taken``), and then for GRACE_S: a broker
  that dies may have taken it and told nobody;
* after the bus was down those that were not taken are sent again, to another broker those of the
  grace before them. The exchange and the nodes know by the numbers what they have already.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from cluster.core import wire

GRACE_S = 5.0
"""Longer than it takes to notice that a broker stands still (net.zmq_socket)."""

GRACE_BYTES = 8 << 20
"""Bounds the memory for those that were taken; a second or so of a busy node's traffic."""


class _Kept(NamedTuple):
    """A publication; the connection ``skip`` is not to have it, if there is one."""

    retain: wire.Retain
    skip: Any
    taken_at: float = 0.0

    @property
    def size(self) -> int:
        return len(self.retain.frame)


class RetainedOutbox:
    """``seconds`` is a clock's; ``hold(bytes)`` is told what waits, less with a negative number."""

    def __init__(self, seconds: Callable[[], float], hold: Callable[[int], None]) -> None:
        self._waiting: deque[_Kept] = deque()
        self._grace: deque[_Kept] = deque()
        self._grace_bytes = 0
        self._sent = 0  # of those that wait
        self._number = 0
        self._seconds = seconds
        self._hold = hold

    def add(self, topic: bytes, depth: int, frame: bytes, lifetime: int, skip: Any) -> None:
        """Publish; it is sent when it is next asked for by ``unsent``."""
        self._number += 1
        retain = wire.Retain(topic, depth, frame, lifetime, self._number)
        self._waiting.append(_Kept(retain, skip))
        self._hold(len(frame))

    @property
    def has_unsent(self) -> bool:
        return self._sent < len(self._waiting)

    def unsent(self) -> list[wire.Retain]:
        """Those to be sent now."""
        if self._sent:
            news = [self._waiting[at].retain for at in range(self._sent, len(self._waiting))]
        else:
            news = [kept.retain for kept in self._waiting]
        self._sent = len(self._waiting)
        return news

    def taken(self, number: int) -> Any:
        """The exchange has those up to this one; returns the connection that is not to have it."""
        skip = None
        now = self._seconds()
        while self._waiting and self._waiting[0].retain.number <= number:
            kept = self._waiting.popleft()
            self._sent = max(0, self._sent - 1)
            self._hold(-kept.size)
            self._grace.append(kept._replace(taken_at=now))
            self._grace_bytes += kept.size
            skip = kept.skip if kept.retain.number == number else None
        self._forget(now)
        return skip

    def bus_down(self) -> None:
        """What was on its way may be lost."""
        self._sent = 0
        self._forget(self._seconds())

    def bus_up(self, same_broker: bool) -> None:
        """Send again what this broker may not have."""
        self._sent = 0
        if not same_broker:
            self._waiting.extendleft(reversed(self._grace))
            self._hold(self._grace_bytes)
            self._grace.clear()
            self._grace_bytes = 0

    def _forget(self, now: float) -> None:
        grace = self._grace
        while grace and (grace[0].taken_at + GRACE_S < now or self._grace_bytes > GRACE_BYTES):
            self._grace_bytes -= grace.popleft().size
