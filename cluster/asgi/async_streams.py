"""Refuses asynchronous streams in synchronous views.

Django's WSGI handler would collect such a response before it sends any of it: an endless one would
keep its thread, and its client would receive nothing.
"""

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger("django.request")

STATUS = HTTPStatus.INTERNAL_SERVER_ERROR

BODY = b"Internal Server Error\n"


def refusing_async_streams(application: WSGIApplication) -> WSGIApplication:
    """A WSGI application that answers 500 in place of a response with an asynchronous stream.

    Args:
        application: That of the site.
    """

    def checked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        parts = application(environ, start_response)
        response: Any = parts
        if not getattr(response, "is_async", False):
            return parts
        _log.error(
            "a synchronous view returned a StreamingHttpResponse with an asynchronous iterator, for"
            ' %r: define the view with "async def", or use a synchronous iterator',
            environ["PATH_INFO"],
            extra={"status_code": STATUS.value},
        )
        response.close()
        start_response(
            f"{STATUS.value} {STATUS.phrase}",
            [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))],
            (RuntimeError, RuntimeError("asynchronous stream"), None),  # type: ignore[arg-type]
        )
        return [BODY]

    return checked
