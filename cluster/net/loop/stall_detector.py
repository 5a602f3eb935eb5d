"""Logs when the event loop was blocked, for how long, and by which code.

A synchronous request, ``time.sleep`` or a long computation in a handler or a callback blocks all
clients of the process. Code in the loop cannot run during the stall, so a thread watches the loop,
and records the stack of the blocking code for the log.
"""

import sys
import threading
import time
import traceback
from typing import Any

from twisted.logger import Logger

INTERVAL_S = 0.5
"""Seconds between two ticks of the loop's timer."""

STALL_S = 1.0
"""Seconds by which a tick must be late to be logged: a delay that users notice. On a busy machine
ticks are some tens of milliseconds late."""

LOOK_S = 0.4
"""Seconds between two checks of the loop by the thread."""

SUSPICIOUS_S = 0.5
"""Seconds by which a tick must be late for the thread to record the stack. LOOK_S and SUSPICIOUS_S
together are less than STALL_S, so the thread records the stack of each stall that is logged."""

DEPTH = 12
"""Innermost frames of the stack that are logged; they begin with the loop's call of the handler."""


class StallDetector:
    """Watches the loop from ``start``, which must be called in the loop's thread, to ``stop``.

    Args:
        clock: The reactor.
    """

    log = Logger()

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._call: Any = None
        self._due = 0.0
        self._seen = ""
        self._expected = 0.0  # by time.monotonic: the thread must not use the reactor's clock
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._ended.clear()
        arguments = (threading.get_ident(),)
        self._thread = threading.Thread(target=self._watch, args=arguments, daemon=True)
        self._wait()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching. Idempotent; allowed without ``start``."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def look(self, now: float, loop_thread: int) -> None:
        """Record the stack of the loop if it is late. The thread calls this every LOOK_S seconds.

        Args:
            now: ``time.monotonic()``.
            loop_thread: Identifier of the loop's thread.
        """
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
                "the event loop was blocked for {late:.1f} s. Run blocking code with ain_database,"
                " or in a thread of its own.{seen}",
                late=late,
                seen=f" Its stack meanwhile:\n{self._seen}".rstrip() if self._seen else "",
            )
        self._wait()
