"""The answers to clients that are not accepted: errors and responses of the application.

They are ``Refusal`` exceptions, which a WebSocket's handshake and an HTTP request of a feed turn
into the same response.
"""

from contextlib import suppress
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponseBase
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import DatabaseQueueFull
from cluster.django.handshake.requests import from_web
from cluster.logs.rate_limit import LimitedLog
from cluster.net.websocket.refusal import Refusal

TRY_AGAIN = (("Retry-After", "1"),)

_log = Logger()
_log_database_error = LimitedLog(_log.error, "refused because the database failed")


def refusal_for(error: Exception) -> Refusal:
    """The answer to a client for an exception; raises the exception again if it is a bug."""
    match error:
        case Refusal():
            return error
        case PermissionDenied():
            return Refusal(403, str(error) or "permission denied")
        case Http404():
            return Refusal(404, "not found")
        case SuspiciousOperation():
            return Refusal(400, "bad request")
        case DatabaseQueueFull():
            return Refusal(503, "too many calls are waiting for the database", TRY_AGAIN)
        case OperationalError() | InterfaceError():
            # Without a traceback: thousands of clients may come while the database is away.
            _log_database_error("database", "the database failed: {error}", error=error)
            return Refusal(503, "the database is not available", TRY_AGAIN)
    raise error


def refusal_or_bug(log: Logger, what: str, request: Any, error: Exception) -> Refusal:
    """The answer to a request over HTTP for an exception that is being handled.

    Args:
        log: Where a bug is logged, with its traceback.
        what: What has failed, for the log; ``{path!r}`` stands for the path.
        request: The twisted.web request.
        error: The exception.

    Returns:
        That of ``refusal_for``; for a bug, one with status 500.
    """
    try:
        return refusal_for(error)
    except Exception:
        failure, http = Failure(), None
        with suppress(Exception):  # such as a path that is not UTF-8
            http = from_web(request)
        path = request.path.decode("latin-1")
        log.failure(what, failure, path=path, request=http, status_code=500)
        return Refusal(500, "internal error")


def stopping() -> Refusal:
    """The answer of a node that stops."""
    return Refusal(503, "this node is shutting down", TRY_AGAIN)


def not_permitted() -> Refusal:
    """The answer in place of a log-in page, which a WebSocket or a feed cannot show."""
    return Refusal(403, "not permitted")


def not_found() -> Refusal:
    """The answer at a URL that has neither a handler nor a feed."""
    return Refusal(404, "no WebSocket is served at this path")


def refused_with(response: HttpResponseBase) -> Refusal:
    """A response as it is, with its cookies. A streaming response must have been read already."""
    headers = [(name, value) for name, value in response.items() if name != "Content-Length"]
    headers += [("Set-Cookie", morsel.OutputString()) for morsel in response.cookies.values()]
    body = b"".join(response) if response.streaming else response.content  # type: ignore[attr-defined]
    return Refusal(response.status_code, response.reason_phrase, headers, body)


def refused_by_decorator(response: object) -> Refusal:
    """What a decorator returned in place of the view's answer: its status from 400 up, else 403."""
    if isinstance(response, HttpResponseBase) and response.status_code >= 400:
        return refused_with(response)
    return not_permitted()


def refused_by_middleware(response: object) -> Refusal:
    """What middleware returned: redirects and errors as they are, else 403.

    A page with status 200 (one that says that the site is under maintenance, or comes from a cache)
    must not look like success to a client that reads a feed.
    """
    if isinstance(response, HttpResponseBase) and response.status_code >= 300:
        return refused_with(response)
    return not_permitted()
