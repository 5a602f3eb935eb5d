"""The end of a turn of the event loop: what was queued during the turn is sent.

Handlers and publications queue frames on connections; they make no system call for each. A
connection whose queue was empty puts itself on a list, and at the end of the turn one ``send``
takes all its frames. (``transport.write`` would cost more: it asks the reactor to watch the socket,
sends in the next turn, and asks the reactor to stop watching.)

The steps, in this order:

1. ``direct``: connections with output for one client, such as the answer of a handler;
2. ``published``: connections with output of publications;
3. ``send_to_bus``: messages to other nodes;
4. ``send_to_streams``: clients of server-sent events.

``schedule`` asks for step 1, ``schedule_published`` for steps 2 to 4, which belong together: a
publication reaches connections, nodes and streams. A connection may be on both lists; the step that
comes first sends its whole queue, so that its frames stay in order.

Pacing. In a cluster the publications of one moment arrive one after the other, from each node when
its turn ends, and a ``send`` for each few of them would cost more than all other work. So steps 2
to 4 that took t seconds are followed by a pause of ``pace * t``, at most MAX_PACE_S: too short to
matter when little is published, and when much is, most of it leaves together. Direct output does
not wait, unless a published frame waits on the same connection: then it stays behind that frame.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

MAX_PACE_S = 0.02
"""The longest pause, in seconds. A publication may wait for it at two nodes, its publisher's and
its subscriber's; both together are half of what people notice."""


class Output(Protocol):
    """A connection's queue of frames (cluster.net.websocket.writer)."""

    out: list[bytes]
    send: Callable[[bytes], int] | None

    def flush_queue(self) -> None:
        """Called if ``send`` is None."""

    def wait_for_socket(self, rest: bytes) -> None:
        """Called if the kernel took all but ``rest``."""

    def broken(self, frames: int) -> None:
        """Called if ``send`` failed; so many frames are lost."""


def _nothing() -> None:
    pass


class EndOfTurn:
    """Sends what was queued, once for each turn of the event loop.

    Code that queues a frame on a connection whose ``out`` is empty appends the connection to
    ``direct`` and calls ``schedule``, or to ``published`` and calls ``schedule_published``. Both
    calls are cheap to repeat.

    Args:
        reactor: Its ``callLater`` ends the turn.
        pace: How many times as long as steps 2 to 4 took they pause; 0: they never do.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, pace: float = 0.0) -> None:
        self.reactor: Any = reactor  # zope interfaces have no self
        self.direct: list[Output] = []
        self.published: list[Output] = []
        self.send_to_bus: Callable[[], None] = _nothing
        self.send_to_streams: Callable[[], None] = _nothing
        self.frames_sent = 0
        """Frames handed to the kernel or to a transport, control frames included."""
        self._pace = pace
        self._scheduled = False
        self._published_scheduled = False
        self._end_of_pause = 0.0

    def schedule(self) -> None:
        """Make sure that this turn ends with a flush."""
        if not self._scheduled:
            self._scheduled = True
            self.reactor.callLater(0, self._run)

    def schedule_published(self) -> None:
        """Make sure that steps 2 to 4 follow, at the end of this turn or of the pause."""
        if not self._published_scheduled:
            self._published_scheduled = True
            if self._pace:
                delay = self._end_of_pause - self.reactor.seconds()
                self.reactor.callLater(max(0.0, delay), self._flush_published)
            else:
                self.schedule()

    def begin(self) -> None:
        """Begin a turn that the caller itself ends with ``flush``: ``schedule`` does nothing."""
        self._scheduled = True

    def flush(self) -> None:
        """End the turn. Raises nothing."""
        self._scheduled = False
        self._send(self.direct)
        if self._published_scheduled and not self._pace:
            self._flush_published()
        if self.direct:  # a step has queued more
            self.schedule()

    def flush_all(self) -> None:
        """Run all steps now, without regard to the pause."""
        self._flush_published()
        self.flush()

    def _run(self) -> None:
        if self._scheduled:  # else a flush has come before
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
        if self.published:  # a step has queued more
            self.schedule_published()

    def _send(self, connections: list[Output]) -> None:
        # All output passes through this loop, so it is written out: no call for each connection.
        batch = connections[:]
        connections.clear()
        frames = 0
        for connection in batch:
            send = connection.send
            if send is None:  # blocked, closing or TLS; most connections are none of these
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
            out.clear()
            try:
                taken = send(output)
            except BlockingIOError:
                taken = 0
            except OSError:
                connection.broken(count)
                continue
            frames += count
            if taken != len(output):
                connection.wait_for_socket(output[taken:])
        self.frames_sent += frames
