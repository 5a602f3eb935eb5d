"""What keeps a node from starting, in one line where a line says it.

The site's own code (settings, urls, an application's ``ready``) is at fault far more often than
ours, and its author needs the error and the place. A traceback of thirty lines, from each node at
each of its restarts, hides both. What may be a mistake of ours is logged with its traceback.
"""

import sysconfig
import traceback
from pathlib import Path

from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import ConfigurationError
from cluster.supervisor.control_connection import CANNOT_START, Refused

OURS = str(Path(__file__).parents[1])
INSTALLED = ("site-packages", "dist-packages")

HINT = "manage.py check says more"


def log_failed_start(log: Logger, failure: Failure) -> None:
    """Say why a node does not start."""
    reason = None if failure.value is None else one_line_summary(failure.value)
    if reason is None:
        log.failure("cannot start", failure)
    else:
        log.critical("{cannot}{reason}", cannot=CANNOT_START, reason=reason)


def one_line_summary(error: BaseException) -> str | None:
    """The error and where the site made it; None if it seems to be no mistake of the site's."""
    if isinstance(error, ConfigurationError | Refused):
        return str(error)
    said = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SyntaxError):  # which has its place in it
        return f"{said}; {HINT}"
    place = _place(error)
    if place is not None:
        return f"{said} ({place}); {HINT}"
    if isinstance(error, ImportError) or type(error).__module__ == "django.core.exceptions":
        return f"{said}; {HINT}"
    return None


def _place(error: BaseException) -> str | None:
    """The innermost line of the site's own code that led to an error; None if there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_site(frame.filename):
            return f"{frame.filename}, line {frame.lineno}"
    return None


def _is_site(filename: str) -> bool:
    path = Path(filename)
    return not (
        filename.startswith("<")
        or any(name in path.parts for name in INSTALLED)
        or any(path.is_relative_to(folder) for folder in (OURS, sysconfig.get_path("stdlib")))
    )
