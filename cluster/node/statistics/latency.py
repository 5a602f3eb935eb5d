"""Measures what clients wait for: the turns of the event loop, and other nodes' publications.

Turns. A timer is due four times a second. How late it is, is how long an event waits that arrives
at any moment: for the turn that runs, and for what is queued before it. Handlers, views that hold
the interpreter's lock and garbage collections are included.

Fan-out. Several times a second a node adds a stamp to its batches for the other nodes: a
publication of a reserved topic with the time at which the oldest publication of the batch was made.
The other node queues an output when the stamp arrives, and the time is over when this output is
flushed with those of the clients. Stamps of other machines, which have other monotonic clocks, are
ignored. Nothing is added to the path of a message, and nothing is sent if nothing is published.
"""

import socket
import struct
from collections.abc import Callable
from hashlib import sha256
from time import monotonic
from typing import Any

from cluster.core.histogram import Histogram
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.pubsub.pubsub import PubSub

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of the buckets in seconds. A node answers within 0.25 s, whatever its clients do."""

TICK_S = 0.25
"""Seconds between two measurements of the loop. They are most of what an idle node computes."""

STAMP_S = 0.25
"""Seconds between two stamps."""

TOPIC = b"c10k/latency"

_STAMP = struct.Struct("!d16s")
"""The time of the publication, and the machine whose clock it is."""


def this_machine() -> bytes:
    """What distinguishes the monotonic clock of this machine from those of others."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return bytes.fromhex(file.read().decode().replace("-", ""))
    except (OSError, ValueError):
        return sha256(socket.gethostname().encode()).digest()[:16]


class Latency:
    """Measures from ``start`` to ``stop``.

    Args:
        pubsub: The topics of the node.
        end_of_turn: Its ``send_to_bus`` is wrapped.
        clock: The reactor.
        now: The monotonic clock that all nodes of the machine share, in seconds.
        machine: Distinguishes the machine from others.
    """

    def __init__(
        self,
        pubsub: PubSub,
        end_of_turn: EndOfTurn,
        clock: Any,
        now: Callable[[], float] = monotonic,
        machine: bytes = b"",
    ) -> None:
        self.turns = Histogram(BOUNDS)
        self.fanout = Histogram(BOUNDS)
        self._pubsub = pubsub
        self._end_of_turn = end_of_turn
        self._clock = clock
        self._now = now
        self._machine = (machine or this_machine()).ljust(16, b"\0")
        self._tick: Any = None
        self._due = 0.0
        self._next_stamp = 0.0

    def start(self) -> None:
        """Start measuring; the bus is up."""
        self._pubsub.listen(TOPIC, self._stamp_received)
        self._end_of_turn.send_to_bus = self._send_to_bus
        self._wait()

    def stop(self) -> None:
        """Stop measuring turns. Does nothing if it was not started."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _wait(self) -> None:
        self._due = self._clock.seconds() + TICK_S
        self._tick = self._clock.callLater(TICK_S, self._measure)

    def _measure(self) -> None:
        self.turns.observe(max(0.0, self._clock.seconds() - self._due))
        self._wait()

    def _send_to_bus(self) -> None:
        dirty = self._pubsub.batches.dirty
        if dirty:
            now = self._clock.seconds()
            if now >= self._next_stamp:
                self._next_stamp = now + STAMP_S
                published = self._now() - (now - self._end_of_turn.published_at)
                for node in dirty:
                    if node.items and node.present:
                        node.items += (TOPIC, _STAMP.pack(published, self._machine))
        self._pubsub.flush()

    def _stamp_received(self, stamp: bytes) -> None:
        if len(stamp) != _STAMP.size:
            return  # a node of another release
        published, machine = _STAMP.unpack(stamp)
        if machine != self._machine:
            return
        self._end_of_turn.published.append(_Arrival(self, published))

    def flushed(self, published: float) -> None:
        """A stamp was flushed; _Arrival calls it."""
        self.fanout.observe(max(0.0, self._now() - published))


class _Arrival:
    """An Output that is flushed after those of the clients that received the batch."""

    send: Callable[[bytes], int] | None = None

    def __init__(self, latency: Latency, published: float) -> None:
        self.out: list[bytes] = []
        self._latency = latency
        self._published = published

    def flush_queue(self) -> None:
        self._latency.flushed(self._published)

    def wait_for_socket(self, *output: Any) -> None:
        """Never called: nothing is sent."""

    def broken(self, frames: int) -> None:
        """Never called: nothing is sent."""
