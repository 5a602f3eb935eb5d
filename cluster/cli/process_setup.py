"""Sets up the process of a service: reactor, signals, log and exit."""

import asyncio
import atexit
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, globalLogPublisher
from zope.interface import provider

HARD_EXIT_AFTER_DRAIN_S = 2.0
"""Seconds for closing files and flushing logs after the drain timeout."""

EXIT_FAILED = 1
"""The exit status of twistd for errors; the same as Python's for uncaught exceptions."""

_PR_SET_PDEATHSIG = 1

_log = Logger()


def install_asyncio_reactor() -> None:
    """Install the asyncio reactor, on uvloop if that is installed: handlers are coroutines.

    Call it before anything imports ``twisted.internet.reactor``.
    """
    from twisted.internet.main import installReactor

    from cluster.cli.asyncio_reactor import AsyncioReactor

    loop = _uvloop() or asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    installReactor(AsyncioReactor(loop))


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


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


def stop_on_first_signal(reactor: Any, stop: Callable[[], Any] | None = None) -> None:
    """Stop at the first SIGINT, SIGTERM or SIGQUIT, and only log the next ones.

    Twisted's own handler would log a traceback for a second signal, because the reactor is no
    longer running. ``stop`` is called in the reactor's thread; if it is None, Twisted's handler is
    called. Twisted has none for SIGQUIT, so that signal stops the reactor.
    """
    stopping = False

    def install() -> None:
        for number in STOP_SIGNALS:
            previous: Any = signal.getsignal(number)
            # A shell ignores SIGINT for a program in the background, and SIGQUIT, too. Only an
            # operator sends the latter to such a program.
            if previous != signal.SIG_IGN or number == signal.SIGQUIT:
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
            elif callable(previous):
                previous(number, frame)
            else:
                reactor.callFromThread(reactor.stop)

        return received

    # Install the handlers only when the reactor runs: it installs its own when it starts.
    reactor.callWhenRunning(install)


def ignore_signals(reactor: Any, numbers: Iterable[signal.Signals], text: str) -> None:
    """Only log these signals, with a text, instead of ending the process."""

    def received(number: int, frame: Any) -> None:
        reactor.callFromThread(log, signal.Signals(number).name)

    def log(name: str) -> None:
        _log.info("{name} ignored: {text}", name=name, text=text)

    def install() -> None:
        for number in numbers:
            signal.signal(number, received)

    for number in numbers:  # until the reactor runs, which then installs its own for some
        signal.signal(number, signal.SIG_IGN)
    reactor.callWhenRunning(install)


def restart_on_hang_up(reactor: Any, restart: Callable[[], Any]) -> None:
    """Call ``restart`` in the reactor's thread for each SIGHUP.

    The kernel also sends SIGHUP when the terminal of a process is closed. Then the reactor is
    stopped, unless the process was started with SIGHUP ignored (nohup).
    """
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    had_terminal = False

    def hang_up() -> None:
        if had_terminal and not ignored and not _has_terminal():
            _log.info("SIGHUP: the terminal is closed")
            reactor.stop()
        else:
            restart()

    def received(number: int, frame: Any) -> None:
        reactor.callFromThread(hang_up)

    def install() -> None:
        nonlocal had_terminal
        had_terminal = _has_terminal()  # only now: a daemon has left it after the service was made
        signal.signal(signal.SIGHUP, received)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the reactor runs
    reactor.callWhenRunning(install)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


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


def signal_at_end_of_parent(number: int) -> None:
    """Ask the kernel to send this process a signal when its parent ends (prctl(2)). Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


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
