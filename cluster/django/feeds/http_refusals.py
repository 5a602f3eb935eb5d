"""What requests of feeds are answered that get no feed: refusals, preflights, HEAD.

All of them have HEADERS already; the answer is written to a twisted.web request, and complete.
"""

from typing import Any

from autobahn.websocket.types import ConnectionDeny

from cluster.django.feeds.server_sent_events import CONTENT_TYPE, defer

CLOSE_GOING_AWAY = 1001
CLOSE_TRY_AGAIN = 1013

HEADERS = (
    (b"Cache-Control", b"no-store"),
    (b"X-Accel-Buffering", b"no"),  # nginx passes on what comes, as it comes
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Vary", b"Origin"),
)

FOR_NOW = frozenset({429, 503})
"""What we refuse with when it may be different soon."""

_CORS_HEADERS = b"Prefer, Last-Event-ID, Cache-Control"
_CORS_MAX_AGE_S = b"600"


def let_read(request: Any, origin: str) -> None:
    """Let a page of this origin, which has been checked, read the answer (CORS)."""
    request.setHeader(b"Access-Control-Allow-Origin", origin.encode("latin-1"))
    request.setHeader(b"Access-Control-Allow-Credentials", b"true")
    request.setHeader(b"Access-Control-Expose-Headers", b"Retry-After")


def answer_head(request: Any, content_type: bytes) -> None:
    """It would be let in."""
    request.setHeader(b"Content-Type", content_type)
    request.finish()


def answer_preflight(request: Any) -> None:
    """A page of an allowed origin may ask."""
    request.setResponseCode(204)
    request.setHeader(b"Access-Control-Allow-Methods", b"GET")
    request.setHeader(b"Access-Control-Allow-Headers", _CORS_HEADERS)
    request.setHeader(b"Access-Control-Max-Age", _CORS_MAX_AGE_S)
    request.finish()


def answer_refused(request: Any, denied: ConnectionDeny) -> None:
    """The refusal's status, headers, and body or reason."""
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
    """Whether a refusal is ours, rather than the application's, and will not last."""
    return denied.code in FOR_NOW and getattr(denied, "body", None) is None


def answer_deferred(request: Any, denied: ConnectionDeny, is_serving: bool) -> None:
    """Have a stream's client come back: an EventSource would take another status for good.

    ``is_serving``: this node will be there then; else the client must not ask on this connection.
    """
    after = int(dict(getattr(denied, "headers", ())).get("Retry-After", 0))
    code = CLOSE_TRY_AGAIN if is_serving else CLOSE_GOING_AWAY
    request.setHeader(b"Content-Type", CONTENT_TYPE)
    if not is_serving:
        request.channel.persistent = False
    _finish(request, defer(code, denied.reason or "try again", after))


def _finish(request: Any, body: bytes) -> None:
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()
