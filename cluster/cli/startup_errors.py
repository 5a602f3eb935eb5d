"""Why a process does not start: a one-line summary, and whether a restart can help.

Most errors at the start are in the site's own code (settings, urls, an application's ``ready``),
and their author needs the error, the file and the line. A traceback from each node at each restart
would hide them. An error that may be a bug of c10k is logged with its traceback.
"""

import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import ConfigurationError
from cluster.supervisor.control_connection import RegistrationRefused

OURS = str(Path(__file__).parents[1])
INSTALLED = ("site-packages", "dist-packages")
"""Folders of code that is neither the site's nor c10k's."""

HINT = "see manage.py check"


def explain_failed_start(log: Logger, failure: Failure) -> tuple[str, bool]:
    """Why a process does not start, as one line, and whether the error is permanent.

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
    """The error and the line of the site that led to it; None for a possible bug of c10k."""
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
    """The error's type, its text and the line of the site that led to it, if there is one."""
    if isinstance(error, SyntaxError) and error.filename:
        text, position = error.msg, f"{error.filename}, line {error.lineno}"
    else:
        text, position = str(error), _position(error)
    line = " ".join(f"{type(error).__name__}: {text}".split()).removesuffix(":")
    return f"{line} ({position})" if position else line


def is_permanent(error: BaseException) -> bool:
    """Whether the error stays until somebody corrects the site.

    Errors of Python and Django in loading a site are programming errors. Everything else may heal
    by itself: a database or a service that is not up yet (OSError, errors of the database and of
    client libraries), a port that the previous process still holds. So may an error that was
    raised because of such a one.
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
    """Whether the machine, and no code, is the reason: a port in use, a full disk."""
    return isinstance(error, OSError) or type(error).__module__ in (
        "twisted.internet.error",
        "zmq.error",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that a traceback would show above it."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _position(error: BaseException) -> str:
    """The innermost line of the site's own code that led to an error; empty if there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_site(frame.filename):
            return f"{frame.filename}, line {frame.lineno}"
    return ""


def _is_site(filename: str) -> bool:
    path = Path(filename)
    # "<frozen …>" is not absolute, nor are the names of a compiled library's sources.
    return path.is_absolute() and not (
        any(name in path.parts for name in INSTALLED)
        or any(path.is_relative_to(folder) for folder in (OURS, sysconfig.get_path("stdlib")))
    )
