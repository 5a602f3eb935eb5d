"""The set-up of a process of the swarm: its reactor, log, limits, garbage collection, CPU time."""

import gc
import resource
import sys
from time import monotonic
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)


def the_reactor() -> Any:
    """The reactor of this process; only errors in our own code are logged.

    Its timers use the monotonic clock. Twisted's use Unix time, and stop when it is set back.
    """
    log_errors_only()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    reactor.seconds = monotonic
    return reactor


def log_errors_only() -> None:
    """Log unhandled exceptions to stderr, and nothing else of Twisted and Autobahn."""
    to_stderr: Any = textFileLogObserver(sys.stderr)
    only_errors: Any = LogLevelFilterPredicate(LogLevel.critical)
    observer: Any = FilteringLogObserver(to_stderr, [only_errors])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def raise_open_file_limit() -> int:
    """Raise this process's limit on open files to the hard limit; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def keep_garbage_collection_short() -> None:
    """Exclude all present objects from garbage collection.

    Call it when all connections are made, in a process that does nothing else. Ten thousand
    connections have about a million objects that exist to the end of the run. The collector would
    examine them repeatedly, and block all clients for tenths of a second each time.
    """
    gc.collect()
    gc.freeze()


def cpu_seconds() -> float:
    """User and system time of this process since its start."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
