"""Sends, at the end of a turn of the event loop, the frames that were queued during the turn.

Handlers and publications queue frames on connections, without a system call for each. A connection
whose queue was empty is added to a list, and at the end of the turn one ``send`` call sends all its
frames. (``transport.write`` would cost more: it asks the reactor to watch the socket, sends in the
next turn, and asks the reactor to stop watching.)

The steps, in this order:

1. ``direct``: connections with output for one client, such as the answer of a handler;
2. ``published``: connections with output of publications;
3. ``send_to_bus``: messages to other nodes;
4. ``send_to_streams``: clients of server-sent events.

``schedule`` schedules step 1. ``schedule_published`` schedules steps 2 to 4, which belong together:
a publication goes to connections, nodes and streams. A connection may be on both lists; the first
step that finds it sends its whole queue, so its frames stay in order.

Pacing: the nodes of a cluster end their turns at different times, so publications that were made at
the same moment arrive a few at a time. One ``send`` to each subscriber for every few of them would
cost more than all other work. So after steps 2 to 4 took t seconds, they pause for ``pace * t``
seconds, at most MAX_PACE_S. With few publications the pause is negligible; with many, most are sent
together. Direct output does not wait for the pause, unless a published frame is already queued on
the same connection: then step 2 sends both, in order.

Without a pause, the same holds for a turn that is too long and continues after others had their
turn (turn_budget.py): at its interruptions only direct output is sent, up to MAX_PARTIAL times.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cluster.net.loop.turn_budget import TurnBudget

MAX_PACE_S = 0.02
"""The longest pause, in seconds. A publication may wait for it twice, at its publisher's node and
at its subscriber's; the sum is half of the delay that people notice."""

MAX_PARTIAL = 3
"""Partial turns after which publications are sent although the turn continues: some 20 ms."""

PARTIAL_S = 0.01
"""Seconds after which a partial turn ends that does not continue."""

LARGE = 65536
"""Bytes of output of one connection that count for LARGE_IN_A_TURN."""

LARGE_IN_A_TURN = 1 << 20
"""Bytes of large output after which the other connections wait for the next turn. The kernel copies
them in up to 10 ms."""


class Output(Protocol):
    """A connection's queue of frames (cluster.net.websocket.writer)."""

    out: list[bytes]
    send: Callable[[bytes], int] | None

    def flush_queue(self) -> None:
        """Called if ``send`` is None."""

    def wait_for_socket(self, frames: list[bytes], taken: int) -> None:
        """Called if the kernel took only ``taken`` bytes of the frames."""

    def broken(self, frames: int) -> None:
        """Called if ``send`` failed; ``frames`` frames are lost."""


def _nothing() -> None:
    pass


class EndOfTurn:
    """Sends what was queued, once for each turn of the event loop.

    Code that queues a frame on a connection whose ``out`` is empty appends the connection to
    ``direct`` and calls ``schedule``, or to ``published`` and calls ``schedule_published``.
    Repeated calls in a turn have no effect.

    Args:
        reactor: Its ``callLater`` ends the turn.
        pace: The pause after steps 2 to 4, as a multiple of their duration; 0: no pause.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, pace: float = 0.0) -> None:
        self.reactor: Any = reactor  # mypy: the methods of zope interfaces have no self
        self.budget = TurnBudget(reactor)
        """Bounds the time of input and handlers in a turn."""
        self.direct: list[Output] = []
        self.published: list[Output] = []
        self.send_to_bus: Callable[[], None] = _nothing
        self.send_to_streams: Callable[[], None] = _nothing
        self.frames_sent = 0
        """Frames handed to the kernel or to a transport, control frames included."""
        self.published_at = 0.0
        """With a pause: when the oldest publication that waits for steps 2 to 4 was made, in the
        reactor's seconds."""
        self._pace = pace
        self._scheduled = False
        self._published_scheduled = False
        self._end_of_pause = 0.0
        self._partial = 0
        self._if_not_continued: Any = None

    def schedule(self) -> None:
        """Schedule a flush at the end of this turn."""
        if not self._scheduled:
            self._scheduled = True
            self.reactor.callLater(0, self._run)

    def schedule_published(self) -> None:
        """Schedule steps 2 to 4, at the end of this turn or of the pause."""
        if not self._published_scheduled:
            self._published_scheduled = True
            if self._pace:
                self.published_at = now = self.reactor.seconds()
                delay = min(MAX_PACE_S, max(0.0, self._end_of_pause - now))
                self.reactor.callLater(delay, self._flush_published)
            else:
                self.schedule()

    def begin(self) -> None:
        """Begin a turn that the caller ends with ``flush``; until then ``schedule`` does
        nothing."""
        self._scheduled = True

    def flush(self, is_partial: bool = False) -> None:
        """End the turn. Raises nothing.

        Args:
            is_partial: Whether the same work continues in the next turn.
        """
        self._scheduled = False
        self._send(self.direct)
        if self._if_not_continued is not None:
            self._if_not_continued.cancel()
            self._if_not_continued = None
        if self._published_scheduled and not self._pace:
            if is_partial and self._partial < MAX_PARTIAL:
                self._partial += 1
                self._if_not_continued = self.reactor.callLater(PARTIAL_S, self._not_continued)
                return
            self._partial = 0
            self._flush_published()
        if self.direct:  # a step has queued more
            self.schedule()

    def send_direct(self, connection: Output) -> None:
        """Send the queue of one connection now: it is long, and should not wait for the end of the
        turn."""
        self._send([connection])

    def flush_all(self) -> None:
        """Run all steps now, without regard to the pause."""
        self._send(self.published)
        self._flush_published()
        self.flush()

    def _run(self) -> None:
        if self._scheduled:  # the turn has not been flushed yet
            self.flush()

    def _not_continued(self) -> None:
        self._if_not_continued = None
        self.flush()

    def _flush_published(self) -> None:
        self._published_scheduled = False
        start = perf_counter()
        self._send(self.published)
        for step in (self.send_to_bus, self.send_to_streams):
            try:
                step()
            except Exception:
                self._log.failure("sending at the end of a turn failed")
        taken = perf_counter() - start
        self._end_of_pause = self.reactor.seconds() + min(MAX_PACE_S, self._pace * taken)
        if self.published:  # not all were sent, or a step has queued more
            self._end_of_pause = 0.0
            self.schedule_published()

    def _send(self, connections: list[Output]) -> None:
        # The hot path of all output: inlined, to save a call for each connection.
        batch = iter(connections[:])
        connections.clear()
        frames = large = 0
        for connection in batch:
            send = connection.send
            if send is None:  # blocked, closing or TLS, which is rare
                try:
                    connection.flush_queue()
                except Exception:
                    self._log.failure("flush of {connection} failed", connection=connection)
                continue
            out = connection.out
            count = len(out)
            if count == 1:
                output = out[0]
            elif count:
                output = b"".join(out)
            else:
                continue
            try:
                taken = send(output)
            except BlockingIOError:
                taken = 0
            except OSError:
                out.clear()
                connection.broken(count)
                continue
            frames += count
            if taken == len(output):
                out.clear()
            else:
                rest = out[:]
                out.clear()
                connection.wait_for_socket(rest, taken)
            if taken > LARGE:
                large += taken
                if large > LARGE_IN_A_TURN:
                    # The others continue in the next turn, before what is queued meanwhile.
                    connections[:0] = batch
                    break
        self.frames_sent += frames
