"""The resources of the status page: ``/``, its files, and ``/status.json``.

They are read-only. A page of another site could read them through a name that it lets resolve to
this host's address (DNS rebinding), so the Host header must be an address, ``localhost`` or this
machine's name.
"""

import json
import socket
from collections.abc import Callable
from importlib.resources import files
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Request

from cluster.supervisor.deferred_response import respond

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    b" img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
}


def is_allowed_host(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header names this machine by an address or by one of ``names``."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]").lower().rstrip(".")
    if name in names or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def own_names() -> frozenset[str]:
    """The names of this machine."""
    return frozenset({socket.gethostname().lower(), socket.getfqdn().lower()})


class _Guarded(Resource):
    """A resource for requests whose Host header names this machine."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self._names = names

    def render_GET(self, request: Request) -> bytes | int:
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Content-Security-Policy", POLICY)
        host = (request.getHeader(b"host") or b"").decode("latin-1")
        if not is_allowed_host(host, self._names):
            request.setResponseCode(403)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return b"use this machine's address or name as the host\n"
        return self.answer(request)

    def answer(self, request: Request) -> bytes | int:
        """Return the body, or NOT_DONE_YET."""
        raise NotImplementedError


class File(_Guarded):
    """A file of the page."""

    def __init__(self, name: str, names: frozenset[str]) -> None:
        super().__init__(names)
        self._body = files(__package__).joinpath("static", name).read_bytes()
        self._type = _TYPES[name.rpartition(".")[2]]

    def answer(self, request: Request) -> bytes:
        request.setHeader(b"content-type", self._type)
        request.setHeader(b"cache-control", b"no-cache")
        return self._body


class Document(_Guarded):
    """``/status.json``; ``make`` returns a Deferred with the document."""

    def __init__(
        self, make: Callable[[], "Deferred[dict[str, Any]]"], names: frozenset[str]
    ) -> None:
        super().__init__(names)
        self._make = make

    def answer(self, request: Request) -> int:
        return respond(request, self._make().addCallback(_as_json))


def _as_json(document: dict[str, Any]) -> tuple[int, bytes, bytes]:
    return 200, b"application/json", json.dumps(document, allow_nan=False).encode()


def add_to(root: Any, make: Callable[[], "Deferred[dict[str, Any]]"]) -> None:
    """Add the page, its files and the document to the admin port's root resource."""
    names = own_names()
    root.putChild(b"", File("status.html", names))
    for name in ("status.css", "status.js"):
        root.putChild(name.encode(), File(name, names))
    root.putChild(b"status.json", Document(make, names))
