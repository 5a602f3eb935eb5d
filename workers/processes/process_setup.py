"""What a process of the swarm does with itself: its reactor, its log, its garbage, its CPU time."""

import gc
import resource
import sys
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)


def the_reactor() -> Any:
    """The only reactor of this process; it logs our own bugs alone."""
    log_errors_only()
    from twisted.internet import reactor

    return reactor


def log_errors_only() -> None:
    """Twisted's and Autobahn's chatter goes nowhere, our own bugs to stderr."""
    to_stderr: Any = textFileLogObserver(sys.stderr)
    only_errors: Any = LogLevelFilterPredicate(LogLevel.critical)
    observer: Any = FilteringLogObserver(to_stderr, [only_errors])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def keep_garbage_collection_short() -> None:
    """Call it when all connections are made, in a process that does nothing else.

    Ten thousand connections are some million objects that live to the end. Looking through them
    again and again finds nothing and takes tenths of a second each time, in which everybody waits.
    """
    gc.collect()
    gc.freeze()


def cpu_seconds() -> float:
    """User and system time from the process's start."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
