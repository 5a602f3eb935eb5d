"""Settings of the Python interpreter for a process that holds thousands of connections."""

import gc
import sys

GC_THRESHOLDS = (10_000, 20, 50)
"""Thresholds of the garbage collector. A connection has some dozens of objects that live as long as
it does, so with thousands of connections a full collection takes long and finds nothing. Python's
defaults (700, 10, 10) would run several while clients connect. ``python -m benchmarks.handshakes``
shows the effect of a change."""

SWITCH_INTERVAL_S = 0.0005
"""Seconds that a thread keeps the interpreter when another thread wants it; Python's default is
0.005. The reactor waits for the interpreter after every system call while a view computes.
``python -m benchmarks.slow_views --only computing`` shows the effect of a change."""


def tune_interpreter() -> None:
    """Tune the interpreter. Call it when all modules are loaded."""
    # Objects that exist now stay. To look through them in each full collection would block the
    # event loop for milliseconds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
