"""SIGUSR1 and SIGUSR2, whose default is to kill a process.

SIGUSR1 reopens log files, so that logrotate and other programs can move them away. SIGUSR2 is
ignored, with a line in the log: a signal that was meant for another program must not end a site.
"""

import signal
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from cluster.cli.process_setup import ignore_signals

_log = Logger()


def handle_log_signals(reactor: Any, reopen: Callable[[], object]) -> None:
    """Install both handlers. The signals are handled when the reactor runs.

    Args:
        reactor: Its ``callFromThread`` may be called in a signal handler.
        reopen: Opens the log files again. May raise OSError: then the old ones stay open.
    """

    def reopen_or_log() -> None:
        try:
            reopen()
        except OSError as error:
            _log.error("cannot reopen the log file: {error}", error=error)
        else:
            _log.info("log files reopened")

    def usr1(number: int, frame: object) -> None:
        reactor.callFromThread(reopen_or_log)

    signal.signal(signal.SIGUSR1, usr1)
    ignore_signals(reactor, (signal.SIGUSR2,), "SIGUSR1 opens log files again")
