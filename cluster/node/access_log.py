"""The access log of a node: a line for each HTTP request, feed and WebSocket when it has ended.

::

    192.0.2.7 GET /chat/ 200 5120 0.012
    192.0.2.7 GET /live/events/ 200 9216 63.204 stream 31
    192.0.2.7 WEBSOCKET /chat/ 1000 5120 63.204 in 12/840 out 31/5120

The client's address, the method, the URI, the status, the bytes of the response, and the duration
in seconds from the first byte of the request. Then for a stream or a long poll the number of
messages; for a WebSocket messages and bytes in both directions. The status of a WebSocket is its
close code, or the HTTP status of a handshake that was refused.

A node without --access-log counts nothing of this.
"""

from typing import Any

from twisted.logger import Logger
from twisted.web.http import Request as HTTPRequest

from cluster.net.websocket.counted_connection import CountedConnection

LOGGER = "cluster.access"

HTTP = "{client} {method} {uri} {status} {bytes_out} {seconds:.3f}"
FEED = HTTP + " {kind} {messages_out}"
WEBSOCKET = HTTP + " in {messages_in}/{bytes_in} out {messages_out}/{bytes_out}"

_log = Logger(LOGGER)


class AccessLog:
    """Logs the requests of one node.

    Args:
        clock: The reactor.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def http(self, request: HTTPRequest) -> None:
        """Log an HTTP request whose response is complete, or whose client has left."""
        began: float = request.began  # type: ignore[attr-defined]  # http_request.BoundedRequest
        kind, client = request.feed or ("http", None)  # type: ignore[attr-defined]
        agent = request.getHeader(b"user-agent")
        values: dict[str, Any] = {} if client is None else {"messages_out": client.sent}
        _log.info(
            HTTP if client is None else FEED,
            kind=kind,
            client=request.getClientIP(),
            method=request.method.decode("latin-1"),
            uri=request.uri.decode("latin-1"),
            status=request.code,
            bytes_out=request.sentLength,
            seconds=self._clock.seconds() - began,
            user_agent=None if agent is None else agent.decode("utf-8", "backslashreplace"),
            **values,
        )

    def watch(self, factory: Any) -> None:
        """Log the WebSockets of a ConnectionFactory, whose connections must be counted.

        Call it when the other hooks are assigned.
        """
        opened, closed, refused = factory.on_open, factory.on_close, factory.on_refused

        def log_opened(connection: CountedConnection) -> None:
            connection.begin_counting(self._clock.seconds())
            opened(connection)

        def log_closed(connection: CountedConnection, code: int, was_clean: bool) -> None:
            self._websocket(connection, code)  # before the owner is gone
            closed(connection, code, was_clean)

        def log_refused(connection: CountedConnection, code: int) -> None:
            self._websocket(connection, code)
            refused(connection, code)

        factory.on_open, factory.on_close, factory.on_refused = log_opened, log_closed, log_refused

    def _websocket(self, connection: CountedConnection, code: int) -> None:
        owner = connection.owner
        counts = connection.counts
        began = counts.began or connection.connected_at
        _log.info(
            WEBSOCKET,
            kind="websocket",
            client=connection.peer if owner is None else owner.client,
            method="WEBSOCKET",
            uri=getattr(connection, "http_request_uri", "-"),
            status=code,
            seconds=self._clock.seconds() - began,
            messages_in=counts.messages_in,
            bytes_in=counts.bytes_in,
            messages_out=counts.messages_out,
            bytes_out=counts.bytes_out,
            user_agent=None if owner is None else owner.headers.get("user-agent"),
        )
