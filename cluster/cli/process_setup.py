"""Sets up the process of a service: reactor, signals, log and exit."""

import asyncio
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, globalLogPublisher
from zope.interface import provider

HARD_EXIT_AFTER_DRAIN_S = 2.0
"""Seconds for closing files and flushing logs after the drain timeout."""

EXIT_FAILED = 1
"""The exit status of twistd for errors; the same as Python's for uncaught exceptions."""

_log = Logger()


def install_asyncio_reactor() -> None:
    """Install the asyncio reactor, on uvloop if that is installed: handlers are coroutines.

    Call it before anything imports ``twisted.internet.reactor``.
    """
    from twisted.internet import asyncioreactor

    loop = _uvloop() or asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)


def use_monotonic_clock(reactor: Any) -> None:
    """Make the reactor measure time by the monotonic clock.

    Twisted's reactors use Unix time for their delayed calls. When the system's clock is set back,
    all pending calls are late by the length of the step; when it is set forward, all timeouts
    expire. ``reactor.seconds()`` still begins at Unix time, so calls that are pending already keep
    their time.

    Call it when the process starts.
    """
    offset = reactor.seconds() - time.monotonic()
    reactor.seconds = lambda: time.monotonic() + offset


def _uvloop() -> asyncio.AbstractEventLoop | None:
    try:
        import uvloop
    except ImportError:
        return None
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def stop_on_first_signal(reactor: Any, stop: Callable[[], Any] | None = None) -> None:
    """Stop at the first SIGINT or SIGTERM, and only log the next ones.

    Twisted's own handler would log a traceback for a second signal, because the reactor is no
    longer running. ``stop`` is called in the reactor's thread; if it is None, Twisted's handler is
    called.
    """
    stopping = False

    def install() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous: Any = signal.getsignal(number)
            if previous != signal.SIG_IGN:
                signal.signal(number, handler(previous))

    def handler(previous: Any) -> Callable[[int, Any], None]:
        def received(number: int, frame: Any) -> None:
            nonlocal stopping
            # Set this first: the next signal may interrupt this function at any line.
            again, stopping = stopping, True
            if again:
                _log.info("{name} again: stopping already", name=signal.Signals(number).name)
            elif stop is not None:
                reactor.callFromThread(stop)
            else:
                previous(number, frame)

        return received

    # Install the handlers only when the reactor runs: it installs its own when it starts.
    reactor.callWhenRunning(install)


def hard_exit_after(drain_timeout: float, exit: Callable[[], Any]) -> None:
    """Call ``exit`` from another thread, HARD_EXIT_AFTER_DRAIN_S seconds after the drain timeout.

    The reactor itself cannot do this: when it stops, it joins the threads of its pool, and waits
    for a view that does not return.
    """

    def too_late() -> None:
        print(
            f"warn: still running {seconds:.0f} s after the signal: exiting without waiting",
            file=sys.stderr,
            flush=True,
        )
        exit()

    seconds = drain_timeout + HARD_EXIT_AFTER_DRAIN_S
    timer = threading.Timer(seconds, too_late)
    timer.daemon = True
    timer.start()


def exit_with_failure(reactor: Any, program: str, reason: str) -> None:
    """Stop the reactor, print the reason as the last line, and exit with EXIT_FAILED.

    twistd cannot return an exit status, so an exit handler sets it after twistd has finished.
    """
    from twisted.internet.error import ReactorNotRunning

    atexit.register(_exit_failed, f"{program}: cannot start: {reason}")
    with suppress(ReactorNotRunning):  # a signal is stopping it already
        reactor.stop()


def _exit_failed(message: str) -> None:
    sys.stdout.flush()
    print(message, file=sys.__stderr__, flush=True)  # twistd sends sys.stderr to its log
    os._exit(EXIT_FAILED)


def name_log_lines(name: str) -> None:
    """Begin each line of twistd's log with ``[name#level]`` instead of the class that logs it.

    Lines whose event has a ``log_system`` keep it. Call this before twistd opens its log.
    """

    @provider(ILogObserver)
    def observer(event: LogEvent) -> None:
        # Observers are called in order with the same dict, so the later ones see the name.
        if event.get("log_system", "-") == "-":
            event["log_system"] = f"{name}#{event.get('log_level', LogLevel.info).name}"

    globalLogPublisher.addObserver(observer)


def print_configuration_errors(program: str) -> None:
    """Print an uncaught ConfigurationError as one line instead of a traceback."""
    from cluster.core.exceptions import ConfigurationError

    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        if issubclass(kind, ConfigurationError):
            print(f"{program}: {error}", file=sys.stderr)
        else:
            previous(kind, error, traceback)

    sys.excepthook = hook
