"""The content security policy of every page: only files of this site, no inline code.

Scripts, styles and images that are files under ``static/`` need no exception.
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
    """Adds the policy to each response that has no other policy.

    It has only ``process_response``, so the cluster does not run it for handshakes.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if "Content-Security-Policy" not in response:
            response["Content-Security-Policy"] = _POLICY + _sockets_of(request)
        return response


def _sockets_of(request: HttpRequest) -> str:
    """Return the page's own WebSocket origins, which older versions of Safari exclude from
    'self'."""
    try:
        host = request.get_host()
    except DisallowedHost:
        return ""  # the response is a 400, and must not contain a foreign host name
    return f" ws://{host} wss://{host}"
