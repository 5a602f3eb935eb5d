"""Notices that the event loop stood still, and where, which nobody else in the process can.

What blocks in a handler or a callback (a synchronous request, ``time.sleep``, a long computation)
stops everybody whom the process serves, and leaves no trace: here it gets a line in the log, with
the stack that a thread has seen meanwhile.
"""

import sys
import threading
import time
import traceback
from typing import Any

from twisted.logger import Logger

INTERVAL_S = 0.5
STALL_S = 1.0
"""Later than this by a timer, and people notice; a busy machine is late by some tens of ms."""

LOOK_S = 0.4
SUSPICIOUS_S = 0.5
"""The thread looks this often, and remembers what it sees when the timer is so late: together less
than STANDSTILL_S, so that the loop cannot go on unseen."""

DEPTH = 12
"""Innermost calls that are shown: from the loop's into the handler, and what it called."""


class StallDetector:
    """From ``start``, in the loop's thread, to ``stop``; ``clock`` is the reactor."""

    log = Logger()

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._call: Any = None
        self._due = 0.0
        self._seen = ""
        self._expected = 0.0  # by time.monotonic: another thread must not ask the reactor
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._ended.clear()
        arguments = (threading.get_ident(),)
        self._thread = threading.Thread(target=self._watch, args=arguments, daemon=True)
        self._wait()
        self._thread.start()

    def stop(self) -> None:
        """May be called twice, or without a start."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def look(self, now: float, loop_thread: int) -> None:
        """From the other thread, ``now`` and then: if the loop is late, remember what it does."""
        if not self._seen and now - self._expected >= SUSPICIOUS_S:
            frame = sys._current_frames()[loop_thread]
            self._seen = "".join(traceback.format_stack(frame, DEPTH))

    def _watch(self, loop_thread: int) -> None:
        while not self._ended.wait(LOOK_S):
            self.look(time.monotonic(), loop_thread)

    def _wait(self) -> None:
        self._due = self._clock.seconds() + INTERVAL_S
        self._expected = time.monotonic() + INTERVAL_S
        self._seen = ""
        self._call = self._clock.callLater(INTERVAL_S, self._tick)

    def _tick(self) -> None:
        late = self._clock.seconds() - self._due
        if late >= STALL_S:
            self.log.warn(
                "the event loop stood still for {late:.1f} s: does a handler or a callback block?"
                " It belongs into in_database, or a thread of its own.{seen}",
                late=late,
                seen=f" Seen meanwhile:\n{self._seen}".rstrip() if self._seen else "",
            )
        self._wait()
