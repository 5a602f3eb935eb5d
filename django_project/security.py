"""The content security policy of every page: only files of this site, nothing inline.

Pages need no exception for their scripts, styles and images if these are files under ``static/``.
"""

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "connect-src 'self'"
)


class ContentSecurityPolicyMiddleware(MiddlewareMixin):
    """Adds the policy to each response that has none of its own.

    It has nothing but ``process_response``, so the cluster leaves it out for handshakes.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if "Content-Security-Policy" not in response:
            response["Content-Security-Policy"] = _POLICY + _sockets_of(request)
        return response


def _sockets_of(request: HttpRequest) -> str:
    """The page's own WebSocket origins: older versions of Safari do not include them in 'self'."""
    try:
        host = request.get_host()
    except DisallowedHost:
        return ""  # the response is a 400, and must not contain a host name that is not ours
    return f" ws://{host} wss://{host}"
