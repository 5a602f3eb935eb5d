"""One send a connection and reactor iteration.

Publishing puts a frame into the queues of many connections and wants no system call for each. A
connection whose queue was empty puts itself on the ``dirty`` list; one flush at the end of the
iteration joins each queue and sends it. For 8 frames that is one ``send`` of 9 µs, where
``transport.write`` costs 20 (it asks the reactor to watch the socket and to stop again).
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cluster.net.outlet import Outlet


class FlushList:
    """Connections with output waiting; one flush an iteration.

    Whoever appends a frame to a connection's ``out`` appends the connection to ``dirty`` if ``out``
    was empty, and calls ``schedule`` once afterwards.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self.reactor: Any = reactor
        self.dirty: list[Outlet] = []
        self.after: list[Callable[[], None]] = []
        """Called after each flush, in order: what else has to leave once an iteration."""
        self.frames_sent = 0
        """Frames handed to the kernel or to a transport, control frames included."""
        self.bytes_sent = 0
        self._scheduled = False

    def schedule(self) -> None:
        """Make sure that a flush follows in this reactor iteration; cheap to repeat."""
        if not self._scheduled:
            self._scheduled = True
            self.reactor.callLater(0, self._run)

    def begin(self) -> None:
        """Start a batch: until ``flush`` is called, by the caller of this, ``schedule`` is free."""
        self._scheduled = True

    def _run(self) -> None:
        if self._scheduled:
            self.flush()

    def flush(self) -> None:
        """Send every dirty connection's queue, then call the hooks. Raises nothing."""
        self._scheduled = False
        dirty = self.dirty
        batch = dirty[:]
        dirty.clear()
        frames = sent = 0
        for lane in batch:
            send = lane.send
            if send is None:  # blocked, closing, TLS: nothing that happens to most of them
                try:
                    lane.flush_queue()
                except Exception:
                    self._log.failure("flush of {lane} failed", lane=lane)
                continue
            out = lane.out
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
                lane.broken()
                continue
            frames += count
            sent += len(output)
            if taken != len(output):
                lane.wait_for_socket(output[taken:])
        self.frames_sent += frames
        self.bytes_sent += sent
        for hook in self.after:
            try:
                hook()
            except Exception:
                self._log.failure("hook after the flush failed")
        if dirty:
            self.schedule()
