"""Which pages may use a server over HTTP: the site's own, and those of C10K["ALLOWED_ORIGINS"].

A browser sends cookies along with a request from any page. So a request of a page of another origin
is refused, whatever the page may do with the answer; see handshake/origins.py. The answers to a
page of an allowed origin have the headers of CORS, with which the browser lets it read them.
"""

from collections.abc import Iterable
from typing import Any

from cluster.django.handshake.origins import check_host_and_origin, check_site

MAX_AGE_S = 600
"""Seconds for which a browser may keep the answer to a preflight."""

Headers = list[tuple[str, str]]


def header(request: Any, name: bytes) -> str | None:
    """A header of a twisted.web request; None without it."""
    values = request.requestHeaders.getRawHeaders(name)
    return None if not values else values[0].decode("latin-1")


def check_page(request: Any, origins: Iterable[str]) -> Headers:
    """Check the Host of a request and the page that sent it.

    Args:
        request: The twisted.web request.
        origins: Origins that are allowed besides the site's own.

    Returns:
        The headers of CORS for its answer.

    Raises:
        ConnectionDeny: The Host or the page is not allowed.
    """
    origin = header(request, b"origin")
    check_host_and_origin(header(request, b"host") or "", origin, request.isSecure(), origins)
    check_site(origin, header(request, b"sec-fetch-site"))
    return allowing(origin)


def allowing(origin: str | None) -> Headers:
    """The headers of CORS for a page whose origin was checked; none without an origin."""
    if origin is None:
        return []
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
    ]


def preflight_headers(request: Any, allowed: Headers) -> Headers:
    """The headers of the answer to a preflight.

    Args:
        request: The OPTIONS request, whose page was checked.
        allowed: What ``check_page`` returned.
    """
    headers = [
        *allowed,
        ("Access-Control-Allow-Methods", "GET, POST"),
        ("Access-Control-Max-Age", str(MAX_AGE_S)),
    ]
    wanted = header(request, b"access-control-request-headers")
    if wanted is not None and wanted.isprintable():
        headers.append(("Access-Control-Allow-Headers", wanted))
    return headers


def is_preflight(request: Any) -> bool:
    """Whether a browser asks what a page of another origin may send."""
    return (
        request.method == b"OPTIONS"
        and header(request, b"access-control-request-method") is not None
    )
