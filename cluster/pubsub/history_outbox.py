"""Retained publications of this node, kept until the exchange has certainly stored them.

The rules:

* publications are numbered 1, 2, 3, …, and are sent in this order;
* a publication is kept until the exchange acknowledges it, and GRACE_S seconds longer: a broker may
  die after it has acknowledged a publication and before it has sent it to any other node;
* after the bus was down, the publications that were not acknowledged are sent again. A new broker
  also receives those of the grace period before them. The exchange and the nodes recognize
  duplicates by the numbers;
* a publication that is refused leaves a gap in its topic (``refused``), so that subscribers can
  detect that they have not received it. One gap stands for all publications of a topic that are
  refused until it is sent.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from cluster.core import wire
from cluster.core.broker_state.retained_topic import GAP
from cluster.core.interfaces import Subscriber

GRACE_S = 5.0
"""Seconds; longer than it takes to detect that a broker does not respond (net.zmq_socket)."""

GRACE_BYTES = 8 << 20
"""Bytes of acknowledged publications that are kept: about a second of a busy node's traffic."""

MAX_GAPS = 10_000
"""Topics with a gap that is not acknowledged; the exchange does not retain more topics."""


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
        self._number_sent = 0
        self._gaps: dict[bytes, int] = {}  # topic whose newest publication is a gap -> its number
        # Topics of which more was refused after their gap had been sent: depth and lifetime.
        self._refused_since: dict[bytes, tuple[int, int]] = {}
        self._seconds = seconds
        self._count_held = count_held

    def add(
        self, topic: bytes, depth: int, frame: bytes, lifetime: int, skip: Subscriber | None
    ) -> None:
        """Add a publication, which the next call of ``unsent`` returns."""
        if self._gaps and topic in self._gaps:
            again = self._end_gap(topic)
            if again is not None:
                self._append(topic, again[0], GAP, again[1], None)
        self._append(topic, depth, frame, lifetime, skip)

    def refused(self, topic: bytes, depth: int, lifetime: int) -> None:
        """Leave a gap in a topic, because a publication is not added."""
        number = self._gaps.get(topic)
        if number is None:
            if len(self._gaps) < MAX_GAPS:
                self._append(topic, depth, GAP, lifetime, None)
                self._gaps[topic] = self._number
        elif number <= self._number_sent:
            # Subscribers may have received this gap already. The next one waits until it is
            # acknowledged, so that there is one for each topic at most.
            self._refused_since[topic] = depth, lifetime

    def _end_gap(self, topic: bytes) -> tuple[int, int] | None:
        del self._gaps[topic]
        return self._refused_since.pop(topic, None)

    def _append(
        self, topic: bytes, depth: int, frame: bytes, lifetime: int, skip: Subscriber | None
    ) -> None:
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
        self._number_sent = self._number
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
            retain = publication.retain
            skip = publication.skip if retain.number == number else None
            if retain.frame == GAP and self._gaps.get(retain.topic) == retain.number:
                again = self._end_gap(retain.topic)
                if again is not None:
                    self.refused(retain.topic, *again)
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
