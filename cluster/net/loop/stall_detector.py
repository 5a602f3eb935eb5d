"""Logs when the event loop is blocked, for how long, and by which code.

A synchronous request, ``time.sleep`` or a long computation in a handler or a callback blocks all
clients of the process. Code in the loop cannot run during the stall, so a thread watches the loop,
and logs the stack of the blocking code while it blocks. The loop logs the duration when it returns.
"""

import sys
import threading
import traceback
from typing import Any

from twisted.logger import Logger

from cluster.logs.untrusted_text import Block

INTERVAL_S = 0.5
"""Seconds between two ticks of the loop's timer."""

STALL_S = 1.0
"""Seconds by which a tick must be late to be logged: a delay that users notice. On a busy machine
ticks are some tens of milliseconds late."""

LOOK_S = 0.2
"""Seconds between two checks of the loop by the thread."""

PAUSE_S = 1.0
"""Seconds between two checks after which the whole process did not run: it was stopped, or one call
held the interpreter's lock. Then the stack, seen afterwards, would be the wrong one."""

DEPTH = 12
"""Innermost frames of the stack that are logged; they begin with the loop's call of the handler."""


class StallDetector:
    """Watches the loop from ``start``, which must be called in the loop's thread, to ``stop``.

    Args:
        clock: The reactor. Its ``seconds`` is called from the thread, too.
    """

    log = Logger()

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._call: Any = None
        self._due = 0.0
        self._looked = 0.0
        self._logged = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._ended.clear()
        self._looked = self._clock.seconds()
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

    def look(self, loop_thread: int) -> None:
        """Log the stack of the loop if it is late. The thread calls this every LOOK_S seconds.

        Args:
            loop_thread: Identifier of the loop's thread.
        """
        now = self._clock.seconds()
        paused = now - self._looked > PAUSE_S
        self._looked = now
        if not paused and not self._logged and now - self._due >= STALL_S:
            self._logged = True
            frame = sys._current_frames()[loop_thread]
            self.log.warn(
                "the event loop is blocked. Run blocking code with ain_database, or in a thread of"
                " its own. Its stack:\n{stack}",
                stack=Block("".join(traceback.format_stack(frame, DEPTH)).rstrip()),
            )

    def _watch(self, loop_thread: int) -> None:
        while not self._ended.wait(LOOK_S):
            self.look(loop_thread)

    def _wait(self) -> None:
        self._due = self._clock.seconds() + INTERVAL_S
        self._logged = False
        self._call = self._clock.callLater(INTERVAL_S, self._tick)

    def _tick(self) -> None:
        late = self._clock.seconds() - self._due
        if late >= STALL_S:
            unseen = not self._logged and late >= STALL_S + PAUSE_S
            self.log.warn(
                "the event loop was blocked for {late:.1f} s{reason}",
                late=late,
                reason=": the process was stopped, or one call held the interpreter's lock"
                if unseen
                else "",
            )
        self._wait()
