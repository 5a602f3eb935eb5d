"""Why a process does not start: a one-line summary, and whether a restart can help.

Most start-up errors are in the site's own code (settings, urls, an application's ``ready``). Its
author needs the error, the file and the line, which a traceback from each node at each restart
would hide. An error that may be a bug of c10k is logged with its traceback.
"""

import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import ConfigurationError
from cluster.supervisor.control_connection.commands import RegistrationRefused

OURS = str(Path(__file__).parents[1])
INSTALLED = ("site-packages", "dist-packages")
"""Folders of code that is neither the site's nor c10k's."""

HINT = "see manage.py check"


def explain_failed_start(log: Logger, failure: Failure) -> tuple[str, bool]:
    """Return why a process does not start, as one line, and whether the error is permanent.

    Logs the traceback of an error that may be a bug of c10k.
    """
    error = failure.value
    assert error is not None
    reason = one_line_summary(error)
    if reason is None:
        log.failure("cannot start", failure)
        reason = f"{error_line(error)}; the log has the traceback"
    return reason, is_permanent(error)


def one_line_summary(error: BaseException) -> str | None:
    """Return the error and the line of the site that led to it, or None for a possible bug of
    c10k."""
    if isinstance(error, ConfigurationError | RegistrationRefused):
        return str(error)
    line = error_line(error)
    if _is_environment(error):
        return line
    if (
        isinstance(error, ImportError | SyntaxError)
        or type(error).__module__ == "django.core.exceptions"
        or _position(error)
    ):
        return f"{line}; {HINT}"
    return None


def error_line(error: BaseException) -> str:
    """Return the error's type, its text, and the line of the site that led to it, if any."""
    if isinstance(error, SyntaxError) and error.filename:
        text, position = error.msg, f"{error.filename}, line {error.lineno}"
    else:
        text, position = str(error), _position(error)
    line = " ".join(f"{type(error).__name__}: {text}".split()).removesuffix(":")
    return f"{line} ({position})" if position else line


def is_permanent(error: BaseException) -> bool:
    """Whether the error persists until the site is corrected.

    Errors of Python and Django while the site is loaded are programming errors. All other errors
    may be temporary: a database or a service that is not up yet (OSError, errors of the database
    and of client libraries), a port that the previous process still holds. An error is also
    temporary if its cause is.
    """
    return all(_is_programming_error(each) for each in _chain(error))


def _is_programming_error(error: BaseException) -> bool:
    if isinstance(error, OSError | MemoryError):
        return False
    return isinstance(error, ConfigurationError) or type(error).__module__ in (
        "builtins",
        "django.core.exceptions",
    )


def _is_environment(error: BaseException) -> bool:
    """Whether the reason is the machine rather than code: a port in use, a full disk."""
    return isinstance(error, OSError) or type(error).__module__ in (
        "twisted.internet.error",
        "zmq.error",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, then its causes and contexts, as a traceback would show them."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _position(error: BaseException) -> str:
    """Return the innermost line of the site's own code that led to an error, or an empty string."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_site(frame.filename):
            return f"{frame.filename}, line {frame.lineno}"
    return ""


def _is_site(filename: str) -> bool:
    path = Path(filename)
    # "<frozen …>" and the sources of a compiled library are no absolute paths, so they are skipped.
    return path.is_absolute() and not (
        any(name in path.parts for name in INSTALLED)
        or any(path.is_relative_to(folder) for folder in (OURS, sysconfig.get_path("stdlib")))
    )
