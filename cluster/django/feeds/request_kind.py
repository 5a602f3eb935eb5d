"""What an HTTP request asks of a feed: a stream, a poll, a preflight, or nothing."""

import re

from cluster.django.feeds.long_polling import MAX_WAIT_S
from cluster.django.feeds.web_request import WebRequest

STREAM, POLL, PREFLIGHT = "stream", "poll", "preflight"

_STREAM = re.compile(rb"text/event-stream(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)
_WAIT = re.compile(rb"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)


def kind_of(request: WebRequest) -> str | None:
    """What a twisted.web request could ask of a feed; None if it asks nothing of one."""
    header = request.requestHeaders.getRawHeaders
    if request.method in (b"GET", b"HEAD"):
        accept = header(b"accept")
        if accept is not None and _STREAM.search(b",".join(accept)):
            return STREAM
        return POLL if wait_of(request) is not None else None
    if request.method == b"OPTIONS" and header(b"access-control-request-method") is not None:
        return PREFLIGHT
    return None


def wait_of(request: WebRequest) -> int | None:
    """The seconds of ``Prefer: wait=…`` (RFC 7240), cut to MAX_WAIT_S; None without it."""
    prefer = request.requestHeaders.getRawHeaders(b"prefer")
    found = None if prefer is None else _WAIT.search(b",".join(prefer))
    return None if found is None else min(int(found[1]), MAX_WAIT_S)
