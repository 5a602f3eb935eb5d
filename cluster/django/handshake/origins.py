"""Which pages may open a WebSocket to this site.

A browser sends cookies along with a WebSocket handshake from any page, and no CORS check protects
it (RFC 6455, section 10.2): so the Origin decides. Allowed are the site's own pages (the origin's
host and port are those of the Host header), and what C10K["ALLOWED_ORIGINS"] lists. A client that
sends no Origin is a program, which could send any: it is let in.

To a GET, which a feed is opened by, a browser adds an Origin only if the page asks to read the
answer. A page of another site that does not could still have its visitors' browsers hold streams
open, with their cookies; browsers say by Sec-Fetch-Site (Fetch Metadata) where such a request comes
from.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from autobahn.websocket.types import ConnectionDeny
from django.conf import settings
from django.http.request import split_domain_port, validate_host

DEBUG_HOSTS = [".localhost", "127.0.0.1", "[::1]"]
"""What Django itself allows with DEBUG and an empty ALLOWED_HOSTS."""

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
    """Whether a handshake with this Origin and Host header may go on.

    ``secure``: the client came over TLS, so that a Host without a port means 443.
    """
    if origin is None:
        return True
    given = _split(origin)
    if given is None:  # "null" too: a sandboxed frame, a file, a redirect
        return False
    own = _split(f"{'https' if secure else 'http'}://{host}")
    if own is not None and given[1:] == own[1:] and given[0] in ("http", "https"):
        return True
    return any(given == _split(allowed) for allowed in extra)


def check_host_and_origin(
    host: str, origin: str | None, secure: bool, extra: Iterable[str] = ()
) -> None:
    """Raise ConnectionDeny unless the Host is in ALLOWED_HOSTS and the Origin may connect."""
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
            f"the Origin {_shown(origin or '')} is neither that of the Host,"
            f" {_shown(f'{scheme}://{host}')}, nor in C10K['ALLOWED_ORIGINS']",
        )


def check_site(origin: str | None, fetch_site: str | None) -> None:
    """Raise ConnectionDeny for a GET without an Origin that a page of another origin asked for."""
    if origin is None and fetch_site not in (None, "same-origin", "none"):
        raise ConnectionDeny(403, f"Sec-Fetch-Site {_shown(fetch_site)}, and no Origin to go by")


def _shown(header: str) -> str:
    """As much of a header as has a place in the log."""
    return repr(header if len(header) <= 100 else f"{header[:100]}…")
