"""Accepts WebSocket clients, and runs a handler for each of them.

The dispatcher decides on each opening handshake (Host, Origin, limits, URL, and what admission.py
asks the application), starts the URL's handler as an asyncio task when the connection is open, and
makes a handler and its connection end together, whichever ends first.

Most handshakes are decided at once. One with a session cookie, an accept function, a decorated view
or middleware of the site waits for a database thread; ``deciding`` has those.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from django.core.exceptions import SynchronousOnlyOperation
from django.urls import ResolverMatch
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import Disconnected
from cluster.core.interfaces import ClientConnection, PubSub
from cluster.django.client_expiry import ClientExpiry
from cluster.django.handlers.handler_decorator import Handler
from cluster.django.handlers.websocket import WebSocket, known_request
from cluster.django.handshake import sessions
from cluster.django.handshake.admission import Admission, Target, handshake_answer, is_for_users
from cluster.django.handshake.limits import Occupancy, Seat, message_rate
from cluster.django.handshake.middleware import of_site
from cluster.django.handshake.origins import check_host_and_origin
from cluster.django.handshake.proxies import Proxies, forwarded
from cluster.django.handshake.refusals import not_found
from cluster.django.handshake.requests import Opening, ReactorRequest, of_handshake
from cluster.django.handshake.url_resolver import NoHandler, decode, find_handler, handler_of
from cluster.django.revocation.revocable_clients import revocable_clients
from cluster.logs.python_logging import WEBSOCKET
from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.websocket.autobahn_protocol import OPEN

INTERNAL_ERROR = 500
CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_INTERNAL_ERROR = 1011

MAX_CODES = 64
"""Close codes that are counted one by one. Clients may choose among thousands, and each would be a
time series of its own in the metrics."""

OTHER = "other"

LOOPBACK = "127.0.0.1"
"""The address of clients of a Unix socket, which are on this machine."""

Call = tuple[Handler, Sequence[Any], Mapping[str, Any], ReactorRequest | None]
"""A handler, the arguments that its URL captured, and the request if the application was asked."""

Answer = tuple[str | None, Mapping[str, Any]]
"""The subprotocol and more headers for a handshake that is accepted."""


_log = Logger(WEBSOCKET)


class Connection(ClientConnection, Protocol):
    """A connection during its opening handshake."""

    owner: object | None
    http_request_data: bytes | None  # the header, until the connection is open
    transport: Any

    @property
    def transport_details(self) -> Any:
        """Autobahn's TransportDetails."""


class Dispatcher:
    """The hooks of a ConnectionFactory: ``request``, ``opened``, ``closed`` and ``abandoned``.

    Args:
        pubsub: The topics of the node.
        settings: The C10K setting with its defaults.
        is_serving: Whether new connections are accepted at all.
        expiry: Closes clients by time.
        proxies: The proxies whose headers report a client's address and scheme.
        sockets: The limits of the node's sockets.

    ``disconnects`` counts ended connections by close code. ``occupancy`` and ``rate`` are the
    limits of connections and messages.
    """

    def __init__(
        self,
        pubsub: PubSub,
        settings: dict[str, Any],
        is_serving: Callable[[], bool],
        expiry: ClientExpiry,
        proxies: Proxies | None = None,
        sockets: SocketLimits | None = None,
    ) -> None:
        self.opened_total = 0
        self.disconnects: Counter[str] = Counter()
        self.deciding: set[Connection] = set()
        self.otherwise: ResolverMatch | None = None
        """The match of clients for which the URLconf has no handler; None: they get 404."""
        self.threads: Any = None
        """The threads for synchronous code of ASGI applications; the node sets them."""
        self.occupancy = Occupancy(settings, sockets or SocketLimits())
        self.rate = message_rate(settings)
        self._pubsub = pubsub
        self._limits = (
            settings["RECEIVE_QUEUE_MESSAGES"],
            settings["RECEIVE_QUEUE_BYTES"],
            settings["SEND_QUEUE_LOW_WATER"],
        )
        self._origins = settings["ALLOWED_ORIGINS"]
        self._is_serving = is_serving
        self._proxies = proxies or Proxies()
        self._has_sessions = sessions.are_used()
        self._limits_users = self.occupancy.limits_users
        self._calls: dict[Connection, Call] = {}  # of accepted connections, until they are open
        self._tasks: dict[Connection, asyncio.Task[None]] = {}
        self._seats: dict[Connection, Seat] = {}  # of users, and of proxies' clients
        self._expiry = expiry
        # Of clients with a session or a maximum age.
        self._at_end: dict[Connection, list[Callable[[], None]]] = {}
        of_site()  # load middleware now, so that its errors end the start

    @property
    def running(self) -> int:
        """Handlers that have not ended, including those whose client is gone."""
        return len(self._tasks)

    def request(
        self, connection: Connection, request: ConnectionRequest
    ) -> str | Deferred[Answer] | None:
        """Decide on a handshake.

        Returns:
            The subprotocol, or a Deferred of it and of headers.

        Raises:
            ConnectionDeny: The client is refused.
        """
        if not self._is_serving():
            raise ConnectionDeny(503, "this node is shutting down")
        headers = request.headers
        client, secure, reported = _host_of(request.peer), False, None
        if self._proxies.trusts(client):
            reported, secure = forwarded(connection.http_request_data or b"")
            if reported is not None:
                client = connection.peer = reported
        client = client or LOOPBACK
        secure = secure or connection.transport_details.is_secure
        check_host_and_origin(headers.get("host", ""), headers.get("origin"), secure, self._origins)
        handler: Handler | None = None
        match: ResolverMatch | None = None
        try:
            if of_site().chain is None:
                handler, match, path = find_handler(request.path)
            else:
                path = decode(request.path)
        except SynchronousOnlyOperation:
            path = decode(request.path)  # a path converter that asks the database
        except NoHandler:
            path, match = self._path_of_others(request.path), self.otherwise
        websocket = WebSocket(
            connection,
            self._pubsub,
            self._limits,
            path=path,
            query=request.params,
            headers=headers,
            client=client,
            subprotocol=None if handler is None else handler.choose(request.protocols),
            secure=secure,
            gate=None if self.rate is None else self.rate.gate(connection),
        )
        if self._limits_users or reported is not None:
            self._seats[connection] = self.occupancy.enter(reported)
        connection.owner = websocket
        if handler is not None and handler.check is not None:
            handler.check(request.params)
        if handler is not None and match is not None and self._needs_no_thread(handler, match):
            cookies = headers.get("cookie")
            if cookies is None or not (self._has_sessions and sessions.may_have_one(cookies)):
                self._calls[connection] = (handler, match.args, match.kwargs, None)
                return websocket.subprotocol
        return self._decide_later(connection, websocket, match, request.protocols)

    def _path_of_others(self, raw_path: str) -> str:
        """The decoded path of a client for which the URLconf has no handler."""
        if self.otherwise is None:
            raise not_found()
        try:
            return decode(raw_path)
        except NoHandler:
            raise not_found() from None

    @staticmethod
    def _needs_no_thread(handler: Handler, match: ResolverMatch) -> bool:
        """Whether a client without a session can be accepted without asking the application."""
        is_open = handler.accept is None and match.func is handler.view
        return is_open and not is_for_users(match.func)

    def _decide_later(
        self,
        connection: Connection,
        websocket: WebSocket,
        match: ResolverMatch | None,
        offered: Sequence[str],
    ) -> Deferred[Answer]:
        """Ask the application in a task of its own, which is cancelled if the client leaves."""
        deciding = self._decide(connection, websocket, match, offered)
        decision: Deferred[Answer] = Deferred.fromFuture(
            asyncio.get_running_loop().create_task(deciding)
        )
        self.deciding.add(connection)

        def decided(answer: Any) -> Any:
            self.deciding.discard(connection)
            return answer

        return decision.addBoth(decided)

    async def _decide(
        self,
        connection: Connection,
        websocket: WebSocket,
        match: ResolverMatch | None,
        offered: Sequence[str],
    ) -> Answer:
        request = of_handshake(
            connection.http_request_uri,
            websocket.path,
            websocket.headers,
            secure=websocket.secure,
            client=websocket.client,
            match=match,
        )
        websocket.request = request
        request.opening = partial(_opening, connection, websocket.client, offered, self.threads)
        try:
            return await self._ask(connection, websocket, request, offered)
        except BaseException:
            request.abandon()
            raise
        finally:
            request.opening = None

    async def _ask(
        self,
        connection: Connection,
        websocket: WebSocket,
        request: ReactorRequest,
        offered: Sequence[str],
    ) -> Answer:
        admission = Admission(request, _handler_target, self.otherwise)
        await admission.decide()
        handler = admission.found
        if handler.check is not None:  # again: the middleware may have taken its time
            handler.check(websocket.query)
        subprotocol, headers = handshake_answer(handler, admission.result, offered)
        if connection.owner is not websocket:
            # The client has left, and a function of the application ignored its cancellation.
            raise ConnectionDeny(503, "the client has left")
        if not self._is_serving():
            raise ConnectionDeny(503, "this node is shutting down")
        seat = self._seats.get(connection)
        if seat is not None and request.user_key is not None:
            seat.assign_user(request.user_key)
        match = request.resolver_match
        assert match is not None
        self._calls[connection] = (handler, match.args, match.kwargs, request)
        websocket.subprotocol = subprotocol
        return subprotocol, headers

    def opened(self, connection: Connection) -> None:
        """The handshake is done: start the handler."""
        websocket = connection.owner
        assert isinstance(websocket, WebSocket)
        handler, args, kwargs, request = self._calls.pop(connection)
        self.opened_total += 1
        context = None
        if request is not None:
            self._at_end[connection] = [revocable_clients.add(request, connection.close)]
            if connection.state != OPEN:  # revoked while it was being accepted
                request.abandon()
                return
            if request.context is not None:
                context = request.context.for_task()
        unwatch = self._expiry.watch(request, connection.close)
        if unwatch is not None:
            self._at_end.setdefault(connection, []).append(unwatch)
        if self._pubsub.full:
            connection.pause("bus")
        running = self._run(connection, websocket, handler.run, args, kwargs)
        task = asyncio.get_running_loop().create_task(running, name=handler.name, context=context)
        websocket.task = self._tasks[connection] = task
        # Not at the end of _run, which does not begin if the client is gone before it could.
        task.add_done_callback(lambda _: self._tasks.pop(connection, None))

    def closed(self, connection: Connection, code: int, was_clean: bool) -> None:
        """The client is gone: wake a handler that waits for it, cancel any other."""
        self.count_end(code)
        self._leave(connection)
        websocket = connection.owner
        assert isinstance(websocket, WebSocket)
        connection.owner = None
        request = known_request(websocket)
        if request is not None:
            request.abandon()
        learns = websocket.connection_closed(code)
        task = self._tasks.get(connection)
        if task is not None and not learns:
            task.cancel()

    def failed(self, connection: Connection, failure: Failure, what: str) -> None:
        """Log an error in a callback of a handler, or in what decides on a client."""
        websocket: WebSocket | None = connection.owner  # type: ignore[assignment]
        path = (
            connection.http_request_uri.partition("?")[0] if websocket is None else websocket.path
        )
        self._log_error(failure, what, path, websocket)

    def _log_error(
        self, failure: Failure, what: str, path: str, websocket: WebSocket | None
    ) -> None:
        request = None
        if websocket is not None:
            with suppress(Exception):  # it resolves the URL, which calls the application
                request = websocket.request
        _log.failure(
            "{what} of {path!r} failed", failure, what=what, path=path, request=request,
            status_code=INTERNAL_ERROR,
        )  # fmt: skip

    def count_end(self, code: int) -> None:
        """Count one more ended connection."""
        label = str(code)
        if label not in self.disconnects and len(self.disconnects) >= MAX_CODES and code >= 3000:
            label = OTHER
        self.disconnects[label] += 1

    def abandoned(self, connection: Connection) -> None:
        """The client of a handshake that was not completed is gone."""
        self._leave(connection)
        call = self._calls.pop(connection, None)
        if call is not None and call[3] is not None:
            call[3].abandon()
        connection.owner = None

    def refuse_undecided(self) -> None:
        """The node stops: answer the handshakes that still wait with 503."""
        for connection in list(self.deciding):
            connection.close(CLOSE_GOING_AWAY, "this node is shutting down")

    def cancel_running(self) -> None:
        """The node ends: cancel the handlers that have not ended."""
        for task in tuple(self._tasks.values()):
            task.cancel()

    def _leave(self, connection: Connection) -> None:
        seat = self._seats.pop(connection, None)
        if seat is not None:
            seat.leave()
        for call in self._at_end.pop(connection, ()):
            call()

    async def _run(
        self,
        connection: Connection,
        websocket: WebSocket,
        run: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        """Run a handler to its end, then close; its errors close 1011 and are logged once."""
        try:
            await run(websocket, *args, **kwargs)
        except (Disconnected, asyncio.CancelledError):
            if websocket.close_code is None:
                connection.close(CLOSE_GOING_AWAY)
        except Exception:
            self._log_error(Failure(), "a WebSocket handler", websocket.path, websocket)
            connection.close(CLOSE_INTERNAL_ERROR, "internal error")
        else:
            connection.close(CLOSE_NORMAL)


def _host_of(peer: str) -> str:
    """The host of Autobahn's description of a peer; empty for a Unix socket."""
    if peer.startswith("unix"):
        return ""
    return peer.partition(":")[2].rpartition(":")[0]  # "tcp4:127.0.0.1:40000"


def _handler_target(match: ResolverMatch) -> Target[Handler] | None:
    handler = handler_of(match)
    return None if handler is None else Target(handler, handler.view, handler.accept)


def _opening(connection: Connection, client: str, offered: Sequence[str], threads: Any) -> Opening:
    """What an accept function may need to know of a handshake besides its request."""
    port = connection.peer.rpartition(":")[2] if connection.peer.startswith("tcp") else "0"
    server = connection.transport.getHost()
    host = getattr(server, "host", None)
    return Opening(
        connection.http_request_data or b"",
        (client, int(port)),
        None if host is None else (host, server.port),
        offered,
        lambda: getattr(connection, "remoteCloseReason", None) or "",
        threads,
    )
