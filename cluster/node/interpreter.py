"""The interpreter's settings for a process that holds thousands of connections."""

import gc
import sys

GC_THRESHOLDS = (10_000, 20, 50)
"""A connection is some dozens of objects that live as long as it does, so with thousands of them a
full collection takes long and finds nothing. Python's own thresholds (700, 10, 10) would run
several while they come. ``python -m benchmarks.handshakes`` shows what a change here does."""

SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter when another wants it; Python's own is 5 ms. The
reactor asks for it after every system call, in competition with every view that computes.
``python -m benchmarks.slow_views --only computing`` shows what a change here does."""


def tune_interpreter() -> None:
    """For thousands of connections, once all is loaded that will stay."""
    # Looking through that again in each full collection would cost milliseconds in which nobody is
    # served.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
