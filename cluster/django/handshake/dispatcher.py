"""Serving: lets clients in, and runs a handler for each of them.

It decides on each opening handshake (Host, Origin, URL, limits, and what admission.py asks), starts
the URL's handler as an asyncio task when the connection is open, and sees to it that a handler and
its connection end together, whichever ends first.

Most handshakes are decided at once. One with a session cookie, an accept function or a decorated
view waits for a database thread; ``deciding`` has those.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from django.urls import ResolverMatch
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cluster.core.exceptions import Disconnected
from cluster.django.handshake import sessions
from cluster.django.handshake.admission import admit, is_for_users
from cluster.django.handshake.limits import Occupancy, Place, message_rate
from cluster.django.handshake.origins import check_host_and_origin
from cluster.django.handshake.proxies import forwarded
from cluster.django.handshake.requests import of_handshake
from cluster.django.handshake.url_resolver import NoHandler, find_handler
from cluster.django.revocation import registry
from cluster.django.websocket.decorator import Handler
from cluster.django.websocket.websocket import WebSocket
from cluster.net.websocket.autobahn_protocol import OPEN

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_INTERNAL_ERROR = 1011

MAX_CODES = 64
"""Close codes that are counted one by one. Clients may choose among thousands, and each would be a
time series to whoever collects the metrics."""

OTHER = "other"

Call = tuple[Handler, Sequence[Any], Mapping[str, Any]]
"""A handler with the arguments that its URL gives."""


class Dispatcher:
    """The callbacks of a LaneFactory: ``request``, ``opened``, ``closed`` and ``abandoned``.

    ``settings`` is the C10K setting with its defaults; ``is_serving`` says whether new connections
    are taken at all. ``disconnects`` counts ended connections by close code. ``occupancy`` and
    ``rate`` are the limits of connections and messages.
    """

    log = Logger()

    def __init__(
        self,
        pubsub: Any,
        settings: dict[str, Any],
        is_serving: Callable[[], bool],
        proxy_headers: bool = False,
    ) -> None:
        self.opened_total = 0
        self.disconnects: Counter[str] = Counter()
        self.deciding: set[Any] = set()
        self.occupancy = Occupancy(settings)
        self.rate = message_rate(settings)
        self._pubsub = pubsub
        self._limits = (
            settings["RECEIVE_QUEUE_MESSAGES"],
            settings["RECEIVE_QUEUE_BYTES"],
            settings["SEND_QUEUE_LOW_WATER"],
        )
        self._origins = settings["ALLOWED_ORIGINS"]
        self._is_serving = is_serving
        self._proxy_headers = proxy_headers
        self._has_sessions = sessions.are_used()
        self._is_limited = self.occupancy.is_limited
        self._handlers: dict[Any, Call] = {}  # of accepted connections that are not open yet
        self._tasks: dict[Any, asyncio.Task[None]] = {}
        self._places: dict[Any, Place] = {}  # empty without limits
        self._unwatch: dict[Any, Callable[[], None]] = {}  # of clients with a session

    @property
    def running(self) -> int:
        """Handlers that have not ended, those included whose client is gone."""
        return len(self._tasks)

    def request(self, connection: Any, request: ConnectionRequest) -> Any:
        """Decide on a handshake; returns the subprotocol, or a Deferred of it and of headers.

        Raises ConnectionDeny.
        """
        if not self._is_serving():
            raise ConnectionDeny(503, "this node is shutting down")
        headers = request.headers
        if self._proxy_headers:
            client, secure = forwarded(connection.http_request_data)
        else:
            client, secure = None, False
        if client is None:
            client = request.peer.partition(":")[2].rpartition(":")[0]  # "tcp4:127.0.0.1:40000"
        else:
            connection.peer = client
        secure = secure or connection.transport_details.is_secure
        check_host_and_origin(headers.get("host", ""), headers.get("origin"), secure, self._origins)
        try:
            handler, match, path = find_handler(request.path)
        except NoHandler:
            raise ConnectionDeny(404, "no WebSocket is served at this path") from None
        subprotocol = handler.choose(request.protocols)
        websocket = WebSocket(
            connection,
            self._pubsub,
            self._limits,
            path=path,
            query=request.params,
            headers=headers,
            client=client,
            subprotocol=subprotocol,
            secure=secure,
            gate=None if self.rate is None else self.rate.gate(connection),
        )
        if self._is_limited:
            self._places[connection] = self.occupancy.enter(client)
        connection.owner = websocket
        self._handlers[connection] = (handler, match.args, match.kwargs)
        if handler.accept is None and match.func is handler.view and not is_for_users(handler.view):
            cookies = headers.get("cookie")
            if cookies is None or not (self._has_sessions and sessions.may_have_one(cookies)):
                return subprotocol
        return self._decide_later(connection, websocket, handler, match, request.protocols)

    def _decide_later(
        self,
        connection: Any,
        websocket: WebSocket,
        handler: Handler,
        match: ResolverMatch,
        offered: list[str],
    ) -> Deferred[Any]:
        """Ask the application in a task of its own, which ends with the client."""
        deciding = self._decide(connection, websocket, handler, match, offered)
        decision: Deferred[Any] = Deferred.fromFuture(
            asyncio.get_running_loop().create_task(deciding)
        )
        self.deciding.add(connection)

        def decided(answer: Any) -> Any:
            self.deciding.discard(connection)
            return answer

        return decision.addBoth(decided)

    async def _decide(
        self,
        connection: Any,
        websocket: WebSocket,
        handler: Handler,
        match: ResolverMatch,
        offered: list[str],
    ) -> Any:
        request = of_handshake(
            connection.http_request_uri,
            websocket.path,
            websocket.headers,
            secure=websocket._secure,
            client=websocket.client,
            match=match,
        )
        subprotocol, headers = await admit(request, handler, offered)
        if not self._is_serving():
            raise ConnectionDeny(503, "this node is shutting down")
        place = self._places.get(connection)
        if place is not None and request.user_key is not None:
            place.be("user", request.user_key)
        websocket.request = request
        websocket.subprotocol = subprotocol
        return subprotocol, headers

    def opened(self, connection: Any) -> None:
        """The handshake is done: start the handler."""
        websocket = connection.owner
        handler, args, kwargs = self._handlers.pop(connection)
        self.opened_total += 1
        if websocket.identified_by is not None:
            self._unwatch[connection] = registry.add(websocket.identified_by, connection.close)
            if connection.state != OPEN:
                return  # revoked while it was let in
        if self._pubsub.full:
            connection.pause("bus")
        running = self._run(connection, websocket, handler.run, args, kwargs)
        task = asyncio.get_running_loop().create_task(running, name=handler.name)
        websocket.task = self._tasks[connection] = task
        # Not at the end of _run, which never begins if the client is gone before it could.
        task.add_done_callback(lambda _: self._tasks.pop(connection, None))

    def closed(self, connection: Any, code: int, was_clean: bool) -> None:
        """The client is gone: tell the handler, or cancel one that waits for something else."""
        self.count_end(code)
        self._leave(connection)
        websocket = connection.owner
        connection.owner = None
        learns = websocket.connection_closed(code)
        task = self._tasks.get(connection)
        if task is not None and not learns:
            task.cancel()

    def count_end(self, code: int) -> None:
        """One connection more has ended."""
        label = str(code)
        if label not in self.disconnects and len(self.disconnects) >= MAX_CODES and code >= 3000:
            label = OTHER
        self.disconnects[label] += 1

    def abandoned(self, connection: Any) -> None:
        """The client of a handshake that was not completed is gone."""
        self._leave(connection)
        self._handlers.pop(connection, None)
        connection.owner = None

    def refuse_undecided(self) -> None:
        """The node stops: answer the handshakes that still wait (503)."""
        for connection in list(self.deciding):
            connection.close(CLOSE_GOING_AWAY, "this node is shutting down")

    def _leave(self, connection: Any) -> None:
        place = self._places.pop(connection, None)
        if place is not None:
            place.leave()
        unwatch = self._unwatch.pop(connection, None)
        if unwatch is not None:
            unwatch()

    async def _run(
        self, connection: Any, websocket: WebSocket, run: Any, args: Any, kwargs: Any
    ) -> None:
        """Run a handler to its end, then close; its errors close 1011 and are logged once."""
        try:
            await run(websocket, *args, **kwargs)
        except (Disconnected, asyncio.CancelledError):
            if websocket.close_code is None:
                connection.close(CLOSE_GOING_AWAY)
        except Exception:
            self.log.failure("a WebSocket handler of {path!r} failed", path=websocket.path)
            connection.close(CLOSE_INTERNAL_ERROR, "internal error")
        else:
            connection.close(CLOSE_NORMAL)
