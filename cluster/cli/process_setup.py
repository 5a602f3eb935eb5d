"""What the process around a service needs: its reactor, its signals, and an end that comes."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

HARD_EXIT_AFTER_DRAIN_S = 2.0
"""What is left for closing files and flushing logs when the drain timeout is over."""

_log = Logger()


def install_asyncio_reactor() -> None:
    """Install the asyncio reactor, because handlers are coroutines; on uvloop where there is one.

    Call it before anything imports ``twisted.internet.reactor``.
    """
    from twisted.internet import asyncioreactor

    loop = _uvloop() or asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)


def _uvloop() -> asyncio.AbstractEventLoop | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop()


def hear_signals_once(reactor: Any, stop: Callable[[], Any] | None = None) -> None:
    """Let the first SIGINT or SIGTERM count, and the next ones only be logged.

    Twisted answers a second one with a traceback, as its reactor is no longer running. ``stop`` is
    called in the reactor's thread; without it Twisted's own handler does what it does.
    """
    heard = False

    def install() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous: Any = signal.getsignal(number)
            if previous != signal.SIG_IGN:
                signal.signal(number, handler(previous))

    def handler(previous: Any) -> Callable[[int, Any], None]:
        def received(number: int, frame: Any) -> None:
            nonlocal heard
            # Set before anything else: the next one may interrupt us at any line.
            again, heard = heard, True
            if again:
                _log.info("{name} again: stopping already", name=signal.Signals(number).name)
            elif stop is not None:
                reactor.callFromThread(stop)
            else:
                previous(number, frame)

        return received

    # Not before: a reactor starts by installing its own.
    reactor.callWhenRunning(install)


def hard_exit_after(drain_timeout: float, exit: Callable[[], Any]) -> None:
    """Call ``exit`` from a thread, a little after the drain timeout, if the process still lives.

    From a thread, because the reactor itself can wait for a view that does not return: it joins the
    threads of its pool.
    """

    def too_late() -> None:
        print(
            f"warn: not stopped {seconds:.0f} s after the signal: leaving what still runs",
            file=sys.stderr,
            flush=True,
        )
        exit()

    seconds = drain_timeout + HARD_EXIT_AFTER_DRAIN_S
    timer = threading.Timer(seconds, too_late)
    timer.daemon = True
    timer.start()


def exit_with_failure(reactor: Any) -> None:
    """Stop the reactor and have the process end with status 1, which twistd has no means for."""
    reactor.addSystemEventTrigger("after", "shutdown", lambda: os._exit(1))
    reactor.stop()


def print_configuration_errors() -> None:
    """Show an uncaught ConfigurationError as one line instead of a traceback."""
    from cluster.core.exceptions import ConfigurationError

    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        if issubclass(kind, ConfigurationError):
            print(f"c10k: {error}", file=sys.stderr)
        else:
            previous(kind, error, traceback)

    sys.excepthook = hook
