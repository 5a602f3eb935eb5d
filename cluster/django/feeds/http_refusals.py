"""Answers to HTTP requests of feeds that get no messages: refusals, preflights, HEAD.

HEADERS are set already. Each function completes the answer to a twisted.web request.
"""

from autobahn.websocket.types import ConnectionDeny

from cluster.django.feeds.server_sent_events import CONTENT_TYPE, defer
from cluster.django.feeds.web_request import WebRequest

CLOSE_GOING_AWAY = 1001
CLOSE_TRY_AGAIN = 1013

HEADERS = (
    (b"Cache-Control", b"no-store"),
    (b"X-Accel-Buffering", b"no"),  # nginx does not buffer the answer
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Vary", b"Origin"),
)

FOR_NOW = frozenset({429, 503})
"""Statuses of refusals that may not hold for long."""

_CORS_HEADERS = b"Prefer, Last-Event-ID, Cache-Control"
_CORS_MAX_AGE_S = b"600"


def allow_origin(request: WebRequest, origin: str) -> None:
    """Allow a page of this origin, which has been checked, to read the answer (CORS)."""
    request.setHeader(b"Access-Control-Allow-Origin", origin.encode("latin-1"))
    request.setHeader(b"Access-Control-Allow-Credentials", b"true")
    request.setHeader(b"Access-Control-Expose-Headers", b"Retry-After")


def answer_head(request: WebRequest, content_type: bytes) -> None:
    """Answer a HEAD request of a client that would be accepted."""
    request.setHeader(b"Content-Type", content_type)
    request.finish()


def answer_preflight(request: WebRequest) -> None:
    """Answer a CORS preflight of a page of an allowed origin."""
    request.setResponseCode(204)
    request.setHeader(b"Access-Control-Allow-Methods", b"GET")
    request.setHeader(b"Access-Control-Allow-Headers", _CORS_HEADERS)
    request.setHeader(b"Access-Control-Max-Age", _CORS_MAX_AGE_S)
    request.finish()


def answer_refused(request: WebRequest, denied: ConnectionDeny) -> None:
    """Answer with the refusal's status, headers, and body or reason."""
    body = getattr(denied, "body", None)
    headers = list(getattr(denied, "headers", ()))
    if body is None:
        body = (denied.reason or "refused").encode("utf-8", "replace") + b"\n"
        headers.append(("Content-Type", "text/plain; charset=utf-8"))
    request.setResponseCode(denied.code)
    for name, value in headers:
        add = request.setHeader
        if name.lower() in ("set-cookie", "vary"):
            add = request.responseHeaders.addRawHeader
        add(name.encode("latin-1"), value.encode("latin-1", "replace"))
    _finish(request, body)


def is_for_now(denied: ConnectionDeny) -> bool:
    """Whether a refusal is temporary, and by the node rather than by the application."""
    return denied.code in FOR_NOW and getattr(denied, "body", None) is None


def answer_deferred(request: WebRequest, denied: ConnectionDeny, is_serving: bool) -> None:
    """Make the client of a stream reconnect later; an EventSource gives up after other answers.

    Args:
        request: The twisted.web request.
        denied: The temporary refusal.
        is_serving: Whether this node will run then. If not, the connection is closed, so that the
            next request goes to another node.
    """
    after = int(dict(getattr(denied, "headers", ())).get("Retry-After", 0))
    code = CLOSE_TRY_AGAIN if is_serving else CLOSE_GOING_AWAY
    request.setHeader(b"Content-Type", CONTENT_TYPE)
    if not is_serving:
        request.channel.persistent = False
    _finish(request, defer(code, denied.reason or "try again", after))


def _finish(request: WebRequest, body: bytes) -> None:
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()
