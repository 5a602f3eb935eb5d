"""The ASGI scopes of HTTP requests and of WebSocket handshakes.

``path`` is the whole path of the URL, decoded, and ``root_path`` is empty, unless
``strip_prefix`` moved the prefix at which an application is mounted. A value of ``state`` or
``extensions`` belongs to one request: the dictionaries are copied, what they contain is not.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from cluster.net.websocket.request_header import restore_bytes

Scope = dict[str, Any]
"""What ASGI calls the scope of a connection."""

Application = Callable[..., Awaitable[None]]
"""``async def application(scope, receive, send)``."""

Address = tuple[str, int]
"""The host and the port of one end of a connection."""

ASGI_VERSION = "3.0"

HTTP_SPEC = "2.4"
"""The version of the HTTP specification: ``send`` raises OSError when the client has left."""

WEBSOCKET_SPEC = "2.4"


def http_scope(
    request: Any,
    *,
    state: Mapping[str, Any] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Scope:
    """The scope of an HTTP request.

    The headers of a trusted proxy are in effect: ``client`` and ``scheme`` are those of the
    proxy's client.

    Args:
        request: A request of the node (cluster.node.http_request), whose header is complete.
        state: What the application stored at its start-up (lifespan).
        extensions: The extensions that the caller honours.
    """
    client = request.getClientAddress()
    return _scope(
        "http",
        HTTP_SPEC,
        request.uri,
        (
            (name, value)
            for name, all_ in request.requestHeaders.getAllRawHeaders()
            for value in all_
        ),
        http_version=request.clientproto.rpartition(b"/")[2].decode("latin-1"),
        method=request.method.decode("latin-1"),
        scheme="https" if request.isSecure() else "http",
        client=(client.host, client.port),
        server=_server_of(request.getHost()),
        state=state,
        extensions=extensions,
    )


def websocket_scope(
    header: bytes,
    *,
    secure: bool,
    client: Address,
    server: Address | None = None,
    subprotocols: Sequence[str] = (),
    state: Mapping[str, Any] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Scope:
    """The scope of a WebSocket handshake.

    Args:
        header: The header of the request, from the request line on: ``http_request_data`` of a
            connection whose handshake is being decided.
        secure: Whether the client uses TLS, or the proxy says so.
        client: The address of the client, or that which the proxy reports, with port 0.
        server: The address at which the client arrived; None for a Unix socket.
        subprotocols: The subprotocols that the client offers.
        state: What the application stored at its start-up (lifespan).
        extensions: The extensions that the caller honours.
    """
    head = header.partition(b"\r\n\r\n")[0]
    request_line, *fields = head.split(b"\r\n")
    _, uri, version = request_line.split(b" ", 2)
    pairs = (field.partition(b":") for field in fields)
    scope = _scope(
        "websocket",
        WEBSOCKET_SPEC,
        uri,
        ((name, restore_bytes(value.strip(b" \t"))) for name, _, value in pairs),
        http_version=version.rpartition(b"/")[2].decode("latin-1"),
        method="GET",
        scheme="wss" if secure else "ws",
        client=client,
        server=server,
        state=state,
        extensions=extensions,
    )
    scope["subprotocols"] = list(subprotocols)
    return scope


def _scope(
    kind: str,
    spec_version: str,
    uri: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    state: Mapping[str, Any] | None,
    extensions: Mapping[str, Any] | None,
    **parts: Any,
) -> Scope:
    raw_path, _, query = uri.partition(b"#")[0].partition(b"?")
    return {
        "type": kind,
        "asgi": {"version": ASGI_VERSION, "spec_version": spec_version},
        "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        # A name with an underscore is one that WSGI applications and Django's META cannot tell
        # from that with a hyphen: a client could forge the header of a proxy.
        "headers": [(name.lower(), value) for name, value in headers if b"_" not in name],
        "state": dict(state or ()),
        "extensions": dict(extensions or ()),
        **parts,
    }


def _server_of(where: Any) -> Address | None:
    """The address of a listening socket; None for a Unix socket."""
    host = getattr(where, "host", None)
    return None if host is None else (host, where.port)


def strip_prefix(scope: Scope, prefix: str) -> Scope:
    """A copy of a scope in which a prefix has moved from ``path`` to ``root_path``.

    ``raw_path`` stays as the client sent it.

    Args:
        scope: A scope whose path begins with the prefix.
        prefix: Where the application is mounted, such as "/live/". The slash at its end remains
            in ``path``.
    """
    root = prefix.rstrip("/")
    return {
        **scope,
        "root_path": scope["root_path"] + root,
        "path": scope["path"].removeprefix(root) or "/",
    }
