"""The content security policy of every page: what this site serves itself, and nothing inline.

A page needs no exception for its own scripts, styles and images as long as they are files under
``static/``.
"""

from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponseBase

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "connect-src 'self'"
)


class ContentSecurityPolicyMiddleware:
    """Adds the policy to each response that does not bring one of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if "Content-Security-Policy" not in response:
            response["Content-Security-Policy"] = _POLICY + _sockets_of(request)
        return response


def _sockets_of(request: HttpRequest) -> str:
    """The page's own WebSocket origins, named: in older Safari 'self' means http(s) alone."""
    try:
        host = request.get_host()
    except DisallowedHost:
        return ""  # the response is a 400, and a name that is not ours has no place in it
    return f" ws://{host} wss://{host}"
