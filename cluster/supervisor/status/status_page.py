"""The resources of the status page: ``/``, its files, and ``/status.json``.

They are read-only.
"""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from cluster.supervisor.deferred_response import respond
from cluster.supervisor.status.host_check import Checked, HostNames

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    b" img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
}


class _Page(Checked):
    """A resource of the page, with its headers."""

    def render_GET(self, request: Request) -> bytes | int:
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Content-Security-Policy", POLICY)
        return self.answer(request)

    def answer(self, request: Request) -> bytes | int:
        """Return the body, or NOT_DONE_YET."""
        raise NotImplementedError


class File(_Page):
    """A file of the page."""

    def __init__(self, name: str, hosts: HostNames) -> None:
        super().__init__(hosts)
        self._body = files(__package__).joinpath("static", name).read_bytes()
        self._type = _TYPES[name.rpartition(".")[2]]

    def answer(self, request: Request) -> bytes:
        request.setHeader(b"content-type", self._type)
        request.setHeader(b"cache-control", b"no-cache")
        return self._body


class Document(_Page):
    """``/status.json``; ``make`` returns a Deferred with the document."""

    def __init__(self, make: Callable[[], "Deferred[dict[str, Any]]"], hosts: HostNames) -> None:
        super().__init__(hosts)
        self._make = make

    def answer(self, request: Request) -> int:
        return respond(request, self._make().addCallback(_as_json))


def _as_json(document: dict[str, Any]) -> tuple[int, bytes, bytes]:
    return 200, b"application/json", json.dumps(document, allow_nan=False).encode()


def add_to(root: Any, make: Callable[[], "Deferred[dict[str, Any]]"], hosts: HostNames) -> None:
    """Add the page, its files and the document to the admin port's root resource."""
    root.putChild(b"", File("status.html", hosts))
    for name in ("status.css", "status.js"):
        root.putChild(name.encode(), File(name, hosts))
    root.putChild(b"status.json", Document(make, hosts))
