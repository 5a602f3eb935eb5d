"""Settings of the Python interpreter for a process that holds thousands of connections."""

import gc
import sys

GC_THRESHOLDS = (10_000, 20, 50)
"""Thresholds of the garbage collector. A connection has some dozens of objects that exist as long
as it does, so with thousands of connections a full collection takes long and frees nothing.
Python's defaults (700, 10, 10) would run several full collections while clients connect. ``python
-m benchmarks.handshakes`` shows the effect of a change."""

SWITCH_INTERVAL_S = 0.0005
"""Seconds for which a thread keeps the interpreter lock while another thread waits for it; Python's
default is 0.005. While a view computes, the reactor waits for the lock after every system call.
``python -m benchmarks.slow_views --only computing`` shows the effect of a change."""


def tune_interpreter() -> None:
    """Apply the settings. Call it after all modules are loaded."""
    # The objects that exist now are never freed. Each full collection that traversed them would
    # block the event loop for milliseconds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
