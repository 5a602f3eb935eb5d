"""The heartbeat of a child: a pipe through which a thread of the child reports to the supervisor.

The clients and the handlers of a node can delay its event loop, but not this thread. Every BEAT_S
seconds it writes a line with the seconds since the loop last completed a turn, such as "0.3". So
the supervisor can distinguish a process whose loop is blocked from one that is stopped or dead.

Only a call that holds the interpreter's lock stops the thread as well. The supervisor can still
have the stacks of all threads written to the child's standard error: STACKS_SIGNAL is handled
without the lock (see faulthandler.register in Python's documentation).
"""

import faulthandler
import os
import signal
import threading
import time
from typing import Any

DESCRIPTOR = 4
"""The pipe's descriptor in the child."""

BEAT_S = 0.5
"""Seconds between two reports, and between two turns of the loop that are recorded."""

STACKS_SIGNAL = signal.SIGRTMIN


class HeartbeatThread:
    """The child's end. Create it when the process starts, before modules of the site are imported.

    Args:
        descriptor: The pipe.
    """

    def __init__(self, descriptor: int = DESCRIPTOR) -> None:
        self._descriptor = descriptor
        self._turn = time.monotonic()
        self._ended = threading.Event()
        os.set_blocking(descriptor, False)
        os.set_inheritable(descriptor, False)  # programs that a view starts must not hold it
        faulthandler.register(STACKS_SIGNAL)
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def watch(self, clock: Any) -> None:
        """Record the turns of the event loop, which runs or is about to run."""
        self._turn = time.monotonic()
        clock.callLater(BEAT_S, self.watch, clock)

    def stop(self) -> None:
        """End the thread, and wait for its end. A child does not need this."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                os.write(self._descriptor, b"%.1f\n" % (time.monotonic() - self._turn))
            except BlockingIOError:
                pass  # the pipe is full, because the supervisor does not run
            except OSError:
                return  # the supervisor is gone
            if self._ended.wait(BEAT_S):
                return


def newest_report(data: bytes) -> float | None:
    """Return the last number that was read from the pipe, or None if the data has none."""
    try:
        return float(data.split(b"\n")[-2])
    except (IndexError, ValueError):
        return None


def is_stopped(pid: int) -> bool:
    """Whether the system has stopped a process (SIGSTOP, or a debugger). Linux only; elsewhere
    False."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in (b"T", b"t")
