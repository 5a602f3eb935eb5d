"""Requests of long polling, answered by the event loop: no thread waits with their clients.

The node calls ``take`` with each request before its feeds and views. A request that has the
parameters of Engine.IO, at the URL of a server, is answered here:

* GET without ``sid``: a handshake, which is decided on as that of a WebSocket (Host, Origin,
  limits, and handshake/admission.py), and begins a session;
* GET and POST with ``sid``: they belong to the session (polling.py). The id is a secret, and the
  session has been admitted; the Host and the page that sends them are checked each time;
* OPTIONS: a browser asks whether a page of another origin may send them (cors.py);
* anything else: an error (errors.py).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from django.core.exceptions import SynchronousOnlyOperation
from django.urls import ResolverMatch
from twisted.logger import Logger

from cluster.core.socketio.engine_session import POLLING
from cluster.django.api.database_threads import ain_database
from cluster.django.client_expiry import ClientExpiry
from cluster.django.handshake.admission import Admission, Target
from cluster.django.handshake.limits import Occupancy, Seat
from cluster.django.handshake.refusals import refusal_or_bug, stopping
from cluster.django.handshake.requests import ReactorRequest, from_web
from cluster.django.handshake.url_resolver import NoHandler, find_view
from cluster.django.revocation.revocable_clients import revocable_clients
from cluster.logs.python_logging import WEBSOCKET
from cluster.net.websocket.refusal import Refusal
from cluster.socketio.engine.answers import (
    Exchange,
    answer_packets,
    answer_payload,
    answer_preflight,
    answer_refusal,
)
from cluster.socketio.engine.cors import Headers, check_page, is_preflight, preflight_headers
from cluster.socketio.engine.errors import BAD_METHOD, BAD_REQUEST, UNKNOWN_SID, in_json, refused
from cluster.socketio.engine.options import Query, query_of
from cluster.socketio.engine.polling import PollingTransport
from cluster.socketio.engine.registry import sessions
from cluster.socketio.engine.server import EngineServer, server_of

_log = Logger(WEBSOCKET)

FAILED = "the handshake of a Socket.IO client at {path!r} failed"


class SocketIORequests:
    """The requests of Engine.IO over HTTP that one node receives.

    Args:
        settings: The C10K setting with its defaults.
        is_serving: Whether new clients are accepted at all.
        occupancy: The limits of clients and users. A session over polling counts as a connection
            of its client, besides those of its requests.
        expiry: Closes clients by time.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        is_serving: Callable[[], bool],
        occupancy: Occupancy,
        expiry: ClientExpiry,
    ) -> None:
        self._origins = settings["ALLOWED_ORIGINS"]
        self._most: int | None = settings["MAX_CONNECTIONS"]
        self._is_serving = is_serving
        self._occupancy = occupancy
        self._expiry = expiry
        self._tasks: set[asyncio.Task[None]] = set()
        self.sessions = sessions
        """Those of this process, over all transports."""

    @property
    def open_clients(self) -> list[PollingTransport]:
        """The sessions over polling. ``close(code, reason)`` ends them."""
        return [
            client.polling
            for client in sessions.clients.values()
            if client.transport_name == POLLING
        ]

    @property
    def running(self) -> int:
        """Handlers of Socket.IO events that have not ended."""
        return len(sessions.tasks)

    def cancel_running(self) -> None:
        """The node ends: cancel the handlers that have not ended."""
        for task in tuple(sessions.tasks):
            task.cancel()

    def resume(self, why: str) -> None:
        """Read again from the clients over polling that were paused for a reason."""
        for polling in self.open_clients:
            polling.resume(why)

    def take(self, request: Any) -> bool:
        """Answer a twisted.web request if it is one of Engine.IO; return False if it is not.

        ``request.serve_view()`` is called if that is known only later.
        """
        uri = request.uri
        if b"transport=" not in uri and b"EIO=" not in uri:
            return False
        query = query_of(uri)
        client = sessions.clients.get(query.sid)
        if client is not None and client.serves(request.path):
            self._serve(request, client.server, query, None)
            return True
        try:
            match, _ = find_view(request.path.decode("ascii"))
        except (NoHandler, UnicodeDecodeError):
            return False
        except SynchronousOnlyOperation:  # a path converter that asks the database
            self._start(request, self._resolve_and_serve(request, query))
            return True
        server = server_of(match)
        if server is None:
            return False
        self._serve(request, server, query, match)
        return True

    def _start(self, request: Any, serving: Coroutine[Any, Any, None]) -> None:
        """Serve in a task, which is cancelled if the client leaves."""
        task = asyncio.get_running_loop().create_task(serving)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        request.on_gone = task.cancel

    async def _resolve_and_serve(self, request: Any, query: Query) -> None:
        """Resolve the URL in a database thread; the request may turn out to be for a view."""
        try:
            match, _ = await ain_database(find_view, request.path.decode("ascii"))
        except NoHandler:
            request.serve_view()
            return
        except Exception as error:
            answer_refusal(Exchange(request, []), refusal_or_bug(_log, FAILED, request, error))
            return
        server = server_of(match)
        if server is None:
            request.serve_view()
        else:
            self._serve(request, server, query, match)

    def _serve(
        self, request: Any, server: EngineServer, query: Query, match: ResolverMatch | None
    ) -> None:
        cors: Headers = []
        try:
            cors = check_page(request, self._origins)
            if is_preflight(request):
                answer_preflight(Exchange(request, preflight_headers(request, cors)))
                return
            query.check(server.options.transports)
            if query.sid:
                self._continue(Exchange(request, cors), server, query)
            elif request.method != b"GET":
                raise refused(BAD_METHOD)
            elif query.transport != POLLING:
                raise refused(BAD_REQUEST)
            else:
                self._start(request, self._begin(Exchange(request, cors), match))
        except ConnectionDeny as error:
            self._refuse(Exchange(request, cors), error)

    def _continue(self, exchange: Exchange, server: EngineServer, query: Query) -> None:
        """Serve a request of a session."""
        method = exchange.request.method
        client = sessions.clients.get(query.sid)
        if client is None or client.server is not server:
            farewell = sessions.take_farewell(query.sid) if method == b"GET" else None
            if farewell is None:
                raise refused(UNKNOWN_SID)
            answer_payload(exchange, farewell)
            return
        polling = client.polling
        if query.transport != POLLING or client.transport_name != POLLING or polling is None:
            raise refused(BAD_REQUEST)
        if method == b"GET":
            polling.get(exchange)
        elif method == b"POST":
            polling.post(exchange)
        else:
            raise refused(BAD_REQUEST)

    # A new session.

    async def _begin(self, exchange: Exchange, match: ResolverMatch | None) -> None:
        request = exchange.request
        seat = None
        try:
            self._check_room()
            seat = self._occupancy.enter(request.getClientAddress().host)
            http = from_web(request, match)
            admission = Admission(http, _target_of)
            await admission.decide()
            if request.is_gone:
                return  # and a function of the application ignored the cancellation
            if http.user_key is not None:
                seat.assign_user(http.user_key)
            self._check_room()
            self._open(exchange, admission.found, http, seat)
            seat = None
        except ConnectionDeny as error:
            self._refuse(exchange, error)
        except Exception as error:
            self._refuse(exchange, refusal_or_bug(_log, FAILED, request, error))
        finally:
            if seat is not None:
                seat.leave()

    def _check_room(self) -> None:
        if not self._is_serving():
            raise stopping()
        if self._most is not None and sessions.polling >= self._most:
            raise Refusal(503, "too many sessions over polling", (("Retry-After", "5"),))

    def _open(
        self, exchange: Exchange, server: EngineServer, http: ReactorRequest, seat: Seat
    ) -> None:
        request = exchange.request
        client = server.new_client(POLLING)
        client.request = http
        client.polling = PollingTransport(client, request.path, request.getClientAddress().host)
        client.polling.seat = seat
        request.on_gone = _nothing
        answer_packets(exchange, [(server.open_packet(client), False)])
        client.begin()
        if client.is_open:
            client.polling.at_end.append(revocable_clients.add(http, client.close_with))
        unwatch = self._expiry.watch(http, client.close_with) if client.is_open else None
        if unwatch is not None:
            client.polling.at_end.append(unwatch)

    # Refusals.

    @staticmethod
    def _refuse(exchange: Exchange, denied: ConnectionDeny) -> None:
        if not isinstance(denied, Refusal) or denied.body is None:
            denied = in_json(denied)
        answer_refusal(exchange, denied)


def _target_of(match: ResolverMatch) -> Target[EngineServer] | None:
    server = server_of(match)
    return None if server is None else Target(server, server.carrier, server.allow)


def _nothing() -> None:
    """The response is complete."""
