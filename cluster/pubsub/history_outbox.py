"""Retained publications of this node, kept until the exchange has certainly stored them.

The rules:

* publications are numbered 1, 2, 3, …, and are sent in this order;
* a publication is kept until the exchange acknowledges it, and GRACE_S seconds longer: a broker may
  die after it has acknowledged a publication and before it has sent it to any other node;
* after the bus was down, the publications that were not acknowledged are sent again. A new broker
  also receives those of the grace period before them. The exchange and the nodes recognize
  duplicates by the numbers.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from cluster.core import wire
from cluster.core.interfaces import Subscriber

GRACE_S = 5.0
"""Seconds; longer than it takes to detect that a broker does not respond (net.zmq_socket)."""

GRACE_BYTES = 8 << 20
"""Bytes of acknowledged publications that are kept: about a second of a busy node's traffic."""


class _Publication(NamedTuple):
    """A publication; the connection ``skip`` does not receive it."""

    retain: wire.Retain
    skip: Subscriber | None
    acknowledged_at: float = 0.0

    @property
    def size(self) -> int:
        return len(self.retain.frame)


class HistoryOutbox:
    """``seconds`` returns a clock's time in seconds. ``count_held`` is called with each change of
    the number of bytes that are not acknowledged."""

    def __init__(self, seconds: Callable[[], float], count_held: Callable[[int], None]) -> None:
        self._waiting: deque[_Publication] = deque()
        self._grace: deque[_Publication] = deque()
        self._grace_bytes = 0
        self._sent = 0  # of those in the queue
        self._number = 0
        self._seconds = seconds
        self._count_held = count_held

    def add(
        self, topic: bytes, depth: int, frame: bytes, lifetime: int, skip: Subscriber | None
    ) -> None:
        """Add a publication, which the next call of ``unsent`` returns."""
        self._number += 1
        retain = wire.Retain(topic, depth, frame, lifetime, self._number)
        self._waiting.append(_Publication(retain, skip))
        self._count_held(len(frame))

    @property
    def has_unsent(self) -> bool:
        """Whether ``unsent`` returns any publications."""
        return self._sent < len(self._waiting)

    def unsent(self) -> list[wire.Retain]:
        """The publications to send now; they count as sent."""
        if self._sent:
            unsent = [self._waiting[at].retain for at in range(self._sent, len(self._waiting))]
        else:
            unsent = [publication.retain for publication in self._waiting]
        self._sent = len(self._waiting)
        return unsent

    def acknowledged(self, number: int) -> Subscriber | None:
        """The exchange has the publications up to this number.

        Returns the connection that does not receive the one with this number.
        """
        skip = None
        now = self._seconds()
        while self._waiting and self._waiting[0].retain.number <= number:
            publication = self._waiting.popleft()
            self._sent = max(0, self._sent - 1)
            self._count_held(-publication.size)
            self._grace.append(publication._replace(acknowledged_at=now))
            self._grace_bytes += publication.size
            skip = publication.skip if publication.retain.number == number else None
        self._forget(now)
        return skip

    def bus_down(self) -> None:
        """Mark the publications that are not acknowledged as unsent: they may be lost."""
        self._sent = 0
        self._forget(self._seconds())

    def bus_up(self, same_broker: bool) -> None:
        """Mark as unsent the publications that this broker may not have stored."""
        self._sent = 0
        if not same_broker:
            self._waiting.extendleft(reversed(self._grace))
            self._count_held(self._grace_bytes)
            self._grace.clear()
            self._grace_bytes = 0

    def _forget(self, now: float) -> None:
        grace = self._grace
        while grace and (
            grace[0].acknowledged_at + GRACE_S < now or self._grace_bytes > GRACE_BYTES
        ):
            self._grace_bytes -= grace.popleft().size
