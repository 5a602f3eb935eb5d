"""Connects Twisted's log, which c10k uses, with Python's logging, which Django sites use.

In both directions:

* ``PythonLogging.forward`` hands warnings and errors of Twisted's log to Python's logging. So
  LOGGING, Sentry and AdminEmailHandler receive the errors of handlers, feeds and of c10k itself,
  each with ``exc_info``, and with ``request`` and ``status_code`` where there are some.
* ``RootHandler`` writes what Python's logging receives to the log of the process, if the site has
  configured no handler for the root logger. So a site without LOGGING has the traceback of each
  error of a view in its log.

A record that a console handler of the site prints is in the log of the process already, so it is
not written a second time.

The handlers of a site may block: AdminEmailHandler talks to a mail server. So they run in a thread,
except under runserver and in tests.
"""

import contextvars
import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

from cluster.logs.bounded_worker import BoundedWorker
from cluster.logs.formats import level_of, message_of

WEBSOCKET = "django.request.websocket"
"""The logger of errors in a handler, in its callbacks, and in what decides on its clients."""

FEED = "django.request.feed"
"""The logger of errors in the function of a feed, and in what decides on its clients."""

QUEUE_RECORDS = 1000
"""Records that may wait for the handlers of the site."""

FLUSH_S = 0.8
"""Seconds that the end of a process waits for them."""

LEVELS = {
    LogLevel.debug: logging.DEBUG,
    LogLevel.info: logging.INFO,
    LogLevel.warn: logging.WARNING,
    LogLevel.error: logging.ERROR,
    LogLevel.critical: logging.CRITICAL,
}

_EXTRA = ("request", "status_code")

CLIENT_ERRORS = range(400, 500)

_FORWARDED = "from_twisted"
"""The attribute of a record that comes from Twisted's log."""


class PythonLogging:
    """Hands the warnings and errors of Twisted's log to Python's logging."""

    def __init__(self) -> None:
        self._worker: BoundedWorker[Callable[[], object]] = BoundedWorker(
            "python-logging", _call_all, QUEUE_RECORDS
        )

    @property
    def dropped(self) -> int:
        """Records that were not forwarded, because the handlers of the site are too slow."""
        return self._worker.dropped

    def start(self) -> None:
        """From here on the handlers of the site run in a thread. Call it after a fork."""
        self._worker.start()

    def stop(self, timeout: float = FLUSH_S) -> None:
        """Wait until the handlers are done, and end the thread."""
        self._worker.stop(timeout)

    def forward(self, event: LogEvent) -> bool:
        """Hand an event on if it is a warning or an error.

        Returns:
            Whether a handler of the site prints it, so that the caller need not.
        """
        number = LEVELS[level_of(event)]
        if number < logging.WARNING or "log_record" in event:
            return False
        logger = logging.getLogger(event.get("log_namespace", "twisted"))
        # Without any handler, Python prints a record to standard error.
        if not logger.isEnabledFor(number) or not logger.hasHandlers():
            return False
        record = _record(logger, number, event)
        is_printed = is_on_console(record)
        # The context has what Sentry and others keep for the request.
        context = contextvars.copy_context()
        is_added = self._worker.add(lambda: context.run(logger.handle, record), urgent=True)
        return is_added and is_printed


class RootHandler(logging.Handler):
    """Writes records to Twisted's log; errors of clients (4xx) are left to the access log.

    Args:
        publish: Twisted's log: a function that takes an event.
    """

    def __init__(self, publish: Callable[[LogEvent], None]) -> None:
        super().__init__(logging.WARNING)
        self._publish = publish

    def emit(self, record: logging.LogRecord) -> None:
        status = getattr(record, "status_code", None)
        if hasattr(record, _FORWARDED) or status in CLIENT_ERRORS or is_on_console(record):
            return
        try:
            extra = {name: getattr(record, name) for name in _EXTRA if hasattr(record, name)}
            if record.exc_info and record.exc_info[1] is not None:
                extra["log_failure"] = Failure(record.exc_info[1])
            log = Logger(record.name, observer=self._publish)  # type: ignore[arg-type]
            level = _level(record.levelno)
            log.emit(level, "{text}", text=record.getMessage(), log_record=record, **extra)
        except Exception:
            self.handleError(record)


def attach_root_handler(publish: Callable[[LogEvent], None]) -> None:
    """Add a RootHandler, unless the site has configured handlers of the root logger.

    Call it when Django has applied LOGGING.

    Args:
        publish: Twisted's log: a function that takes an event.
    """
    if not logging.root.handlers:
        logging.root.addHandler(RootHandler(publish))


def is_on_console(record: logging.LogRecord) -> bool:
    """Whether a handler of the site prints a record to standard output or standard error."""
    console = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        for handler in logger.handlers:
            if (
                isinstance(handler, logging.StreamHandler)
                and handler.stream in console
                and record.levelno >= handler.level
                and handler.filter(record)
            ):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def reopen_files() -> None:
    """Close the files of LOGGING; each handler opens its own again with its next record."""
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        if isinstance(handler, logging.FileHandler):
            handler.acquire()
            try:
                stream, handler.stream = handler.stream, None
                if stream is not None:
                    stream.close()
            finally:
                handler.release()


def _record(logger: logging.Logger, number: int, event: LogEvent) -> logging.LogRecord:
    failure = event.get("log_failure")
    exc_info: Any = None
    if isinstance(failure, Failure):
        exc_info = (failure.type, failure.value, failure.getTracebackObject())
    extra = {name: event[name] for name in _EXTRA if name in event}
    return logger.makeRecord(
        logger.name,
        number,
        "(twisted)",
        0,
        message_of(event),
        (),
        exc_info,
        extra={**extra, _FORWARDED: True},
    )


def _level(number: int) -> Any:
    for level in (LogLevel.critical, LogLevel.error, LogLevel.warn, LogLevel.info):
        if number >= LEVELS[level]:
            return level
    return LogLevel.debug


def _call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        try:
            call()
        except Exception:  # of a filter, or of a handler that does not catch its own
            traceback.print_exc()
