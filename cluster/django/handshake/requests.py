"""The HttpRequest of a client that the reactor serves: of a handshake, or of a feed over HTTP.

It is an ordinary GET: path, GET, COOKIES, META, headers, scheme, get_host(), resolver_match. Its
session and user are those of the cookie once ``sessions.load`` has run in a database thread.
Before, and for a client without a session cookie, they are an empty session and the anonymous user.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from io import BytesIO
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote_to_bytes, urlsplit

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponseBase
from django.urls import ResolverMatch

from cluster.django.request_context import RequestContext

PORT_DIGITS = 5
"""Digits of a port. ALLOWED_HOSTS accepts thousands of them, which int() refuses."""


class Opening(NamedTuple):
    """An opening handshake, as the client sent it.

    Attributes:
        header: The header, from the request line on.
        client: The client's address; port 0 if a proxy reported it.
        server: The address at which it arrived; None for a Unix socket.
        subprotocols: Those that the client offers.
        close_reason: Returns the text of the client's Close frame, after it has left.
        threads: Those for synchronous code of ASGI applications, if the node has any.
    """

    header: bytes
    client: tuple[str, int]
    server: tuple[str, int] | None
    subprotocols: Sequence[str]
    close_reason: Callable[[], str]
    threads: Any


class Pending(Protocol):
    """What an accept function has begun."""

    def abandon(self) -> None:
        """The client is not served after all."""


class ReactorRequest(ASGIRequest):
    """A request made from what the client sent.

    Args:
        path: The decoded path.
        query: The query as in the URL.
        headers: Names in lower case, and values.
        secure: Whether the client came over TLS.
        client: Its address; behind a proxy, that of the proxy's client.
        match: How the path was resolved, if it was.
        method: The HTTP method.
    """

    is_handshake = False
    """Whether it asks for a WebSocket."""

    auth_hash = ""
    """The user's ``get_session_auth_hash()``; set by ``sessions.note_user``."""

    noted_user: Any = None
    """The user whose ``auth_hash`` it is."""

    session_cookie: str | None = None
    """The session's key as the client sent it, if there is such a session."""

    revocations_seen = -1
    """How many revocations this node had received before the user was looked for."""

    loaded_at = 0
    """When that was, in Unix milliseconds."""

    context: RequestContext | None = None
    """What middleware made active; None if none has run."""

    opening: Callable[[], Opening] | None = None
    """Of a handshake: returns what the client sent; None when it has been answered."""

    pending: Pending | None = None
    """What an accept function has begun for the client, until the handler takes it over."""

    decide: Callable[["ReactorRequest"], HttpResponseBase]
    """What middleware runs around, while it does (middleware.py)."""

    def __init__(
        self,
        path: str,
        query: str,
        headers: Iterable[tuple[str, str]],
        *,
        secure: bool,
        client: str,
        match: ResolverMatch | None = None,
        method: str = "GET",
    ) -> None:
        name, bracket, rest = dict(headers).get("host", "").rpartition("]")  # of IPv6
        host, _, port = rest.partition(":")
        host = name + bracket + host
        has_port = port.isascii() and port.isdecimal() and len(port) <= PORT_DIGITS
        super().__init__(
            {
                "type": "http",
                "method": method,
                "scheme": "https" if secure else "http",
                "path": path,
                "root_path": "",
                "query_string": query,
                "headers": [
                    (name.encode("latin-1"), value.encode("latin-1", "replace"))
                    for name, value in headers
                    if "_" not in name  # META cannot tell it from "-"
                ],
                "client": (client, 0),
                "server": (host, int(port) if has_port else 443 if secure else 80),
            },
            BytesIO(),
        )
        self.resolver_match = match

    @cached_property
    def session(self) -> Any:  # type: ignore[override]
        """Empty until sessions.load has found the client's."""
        return import_module(settings.SESSION_ENGINE).SessionStore()

    @cached_property
    def user(self) -> Any:  # type: ignore[override]
        """Anonymous until sessions.load has found the client's."""
        if not apps.is_installed("django.contrib.auth"):
            raise ImproperlyConfigured("users need django.contrib.auth in INSTALLED_APPS")
        from django.contrib.auth.models import AnonymousUser

        self.noted_user = AnonymousUser()
        return self.noted_user

    def abandon(self) -> None:
        """The client is not served: end what the accept function has begun."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.abandon()

    @property
    def user_key(self) -> str | None:
        """The primary key of the user, as text; None for guests."""
        user = vars(self).get("user")
        return str(user.pk) if user is not None and user.is_authenticated else None

    @property
    def user_name(self) -> str:
        """The name of the user; empty for guests."""
        user = vars(self).get("user")
        if user is None or not user.is_authenticated:
            return ""
        return str(user.get_username())

    async def auser(self) -> Any:
        """The user, for Django's asynchronous decorators."""
        return self.user


def of_handshake(
    uri: str,
    path: str,
    headers: Mapping[str, str],
    *,
    secure: bool,
    client: str,
    match: ResolverMatch | None = None,
) -> ReactorRequest:
    """The HttpRequest of a handshake.

    Args:
        uri: The request's target as Autobahn has it: bytes as Latin-1.
        path: The path decoded from it.
        headers: Names in lower case -> values.
        secure: Whether the client came over TLS.
        client: Its address.
        match: How the path was resolved, if it was.
    """
    request = ReactorRequest(
        path,
        urlsplit(uri).query.encode("latin-1", "replace").decode("utf-8", "replace"),
        headers.items(),
        secure=secure,
        client=client,
        match=match,
    )
    request.is_handshake = True
    return request


def from_web(request: Any, match: ResolverMatch | None = None) -> ReactorRequest:
    """The HttpRequest of a twisted.web request.

    Raises:
        ValueError: The path is not UTF-8.
    """
    path, _, query = request.uri.partition(b"?")
    return ReactorRequest(
        unquote_to_bytes(path).decode(),
        query.decode("utf-8", "replace"),
        [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        ],
        secure=request.isSecure(),
        client=request.getClientAddress().host,
        match=match,
        method=request.method.decode("latin-1"),
    )
