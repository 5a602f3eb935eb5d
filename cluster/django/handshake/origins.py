"""Which pages may open a WebSocket to this site, or read its feeds.

A browser sends cookies along with a WebSocket handshake from any page, and no CORS check protects
it (RFC 6455, section 10.2). So the Origin header decides. The site's own pages are allowed (the
host and port of the origin are those of the Host header), and the origins in
C10K["ALLOWED_ORIGINS"]. A client without an Origin header is not a browser, could send any value,
and is accepted.

A feed over HTTP is opened by a GET, to which a browser adds an Origin only if the page asks to read
the answer. A page of another site that does not ask could still make its visitors' browsers hold
streams open, with their cookies. Browsers send Sec-Fetch-Site (Fetch Metadata Request Headers) with
such a request, which says where it comes from.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from autobahn.websocket.types import ConnectionDeny
from django.conf import settings
from django.http.request import split_domain_port, validate_host

DEBUG_HOSTS = [".localhost", "127.0.0.1", "[::1]"]
"""What Django allows with DEBUG and an empty ALLOWED_HOSTS."""

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def _split(origin: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or port is None:
        return None
    return parts.scheme, parts.hostname, port


def is_allowed(origin: str | None, host: str, secure: bool, extra: Iterable[str] = ()) -> bool:
    """Whether a page of this origin may connect.

    Args:
        origin: The Origin header; None without one.
        host: The Host header.
        secure: Whether the client came over TLS, so that a Host without a port means 443.
        extra: More allowed origins.
    """
    if origin is None:
        return True
    given = _split(origin)
    if given is None:  # also for "null": a sandboxed frame, a file, a redirect
        return False
    own = _split(f"{'https' if secure else 'http'}://{host}")
    if own is not None and given[1:] == own[1:] and given[0] in ("http", "https"):
        return True
    return any(given == _split(allowed) for allowed in extra)


def check_host_and_origin(
    host: str, origin: str | None, secure: bool, extra: Iterable[str] = ()
) -> None:
    """Check that the Host is in ALLOWED_HOSTS and that the Origin may connect.

    Raises:
        ConnectionDeny: One of them is not allowed.
    """
    domain, _ = split_domain_port(host)
    allowed = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed:
        allowed = DEBUG_HOSTS
    if not domain or not validate_host(domain, allowed):
        raise ConnectionDeny(400, f"the Host {_shown(host)} is not in ALLOWED_HOSTS")
    if not is_allowed(origin, host, secure, extra):
        scheme = "https" if secure else "http"
        raise ConnectionDeny(
            403,
            f"the Origin {_shown(origin or '')} is not the site's own,"
            f" {_shown(f'{scheme}://{host}')}, and not in C10K['ALLOWED_ORIGINS']",
        )


def check_site(origin: str | None, fetch_site: str | None) -> None:
    """Check a GET without an Origin header.

    Raises:
        ConnectionDeny: A page of another origin sent it.
    """
    if origin is None and fetch_site not in (None, "same-origin", "none"):
        raise ConnectionDeny(403, f"Sec-Fetch-Site is {_shown(fetch_site)}, without an Origin")


def _shown(header: str) -> str:
    """A header for the log, cut to 100 characters."""
    return repr(header if len(header) <= 100 else f"{header[:100]}…")
