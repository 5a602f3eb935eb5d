"""One send a connection and reactor iteration.

Publishing puts a frame into the queues of many connections and wants no system call for each. A
connection whose queue was empty puts itself on the ``dirty`` list; one flush at the end of the
iteration joins each queue and sends it. For 8 frames that is one ``send`` of 9 µs, where
``transport.write`` costs 20 (it asks the reactor to watch the socket and to stop again).
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cluster.net.websocket.writer import FrameWriter

MAX_PACE_S = 0.02
"""The most that pacing may delay a frame, at each of the two nodes it passes through: half of what
the eye notices."""


class FlushList:
    """Connections with output waiting; one flush an iteration.

    Whoever appends a frame to a connection's ``out`` appends the connection to ``dirty`` if ``out``
    was empty, and calls ``schedule`` once afterwards.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, pace: float = 0.0) -> None:
        """``pace``: see ``paced``; 0 flushes everything in each iteration."""
        self.reactor: Any = reactor
        self.dirty: list[FrameWriter] = []
        self.paced: list[FrameWriter] = [] if pace else self.dirty
        """Where publishing marks connections. In a cluster the frames of one moment trickle in, of
        each node when it had its turn, and a send for each few of them would cost more than all the
        rest. So after a paced flush that took t seconds the next one waits for ``pace * t``, at
        most MAX_PACE_S: nothing to speak of when little is sent, and when much is, most of it
        leaves together. What a handler sends to its own client is not paced, unless a published
        frame already waits on that connection: then it waits behind it, in order."""
        self.after: list[Callable[[], None]] = []
        """Called after each (paced) flush, in order: what else has to leave once an iteration."""
        self.frames_sent = 0
        """Frames handed to the kernel or to a transport, control frames included."""
        self.bytes_sent = 0
        self._scheduled = False
        self._pace = pace
        self._paced_scheduled = False
        self._next_paced = 0.0

    def schedule(self) -> None:
        """Make sure that a flush follows in this reactor iteration; cheap to repeat."""
        if not self._scheduled:
            self._scheduled = True
            self.reactor.callLater(0, self._run)

    def schedule_paced(self) -> None:
        """Make sure that a flush of ``paced`` follows, as soon as its pace allows."""
        if not self._pace:
            self.schedule()
        elif not self._paced_scheduled:
            self._paced_scheduled = True
            delay = self._next_paced - self.reactor.seconds()
            self.reactor.callLater(max(0.0, delay), self._run_paced)

    def begin(self) -> None:
        """Start a batch: until ``flush`` is called, by the caller of this, ``schedule`` is free."""
        self._scheduled = True

    def flush(self) -> None:
        """Send every dirty connection's queue, then call the hooks. Raises nothing."""
        self._scheduled = False
        self._send(self.dirty)
        if not self._pace:
            self._call_hooks()
        if self.dirty:
            self.schedule()

    def flush_all(self) -> None:
        """Flush, paced or not."""
        if self._pace:
            self._run_paced()
        self.flush()

    def _run(self) -> None:
        if self._scheduled:
            self.flush()

    def _run_paced(self) -> None:
        self._paced_scheduled = False
        start = perf_counter()
        self._send(self.paced)
        self._call_hooks()
        taken = perf_counter() - start
        self._next_paced = self.reactor.seconds() + min(MAX_PACE_S, self._pace * taken)
        if self.paced:
            self.schedule_paced()

    def _call_hooks(self) -> None:
        for hook in self.after:
            try:
                hook()
            except Exception:
                self._log.failure("hook after the flush failed")

    def _send(self, dirty: list[FrameWriter]) -> None:
        batch = dirty[:]
        dirty.clear()
        frames = sent = 0
        for connection in batch:
            send = connection.send
            if send is None:  # blocked, closing, TLS: nothing that happens to most of them
                try:
                    connection.flush_queue()
                except Exception:
                    self._log.failure("flush of {lane} failed", connection=connection)
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
            sent += len(output)
            if taken != len(output):
                connection.wait_for_socket(output[taken:])
        self.frames_sent += frames
        self.bytes_sent += sent
