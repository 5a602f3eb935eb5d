"""EngineServer: the Engine.IO side of one URL.

Its view carries two things: a handler (cluster.django.handlers.handler_decorator), which serves
WebSockets, and the server itself, by which a node finds it for requests of long polling.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import ResolverMatch
from django.views.decorators.csrf import csrf_exempt

from cluster.core.socketio.engine_packets import open_packet
from cluster.core.socketio.engine_session import WEBSOCKET, EngineSession
from cluster.django.handlers.handler_decorator import (
    Handler,
    UpgradeRequired,
    View,
    answer_upgrade_required,
    is_decision,
)
from cluster.django.handlers.websocket import WebSocket
from cluster.django.handshake.permissions import call_permission
from cluster.django.handshake.requests import ReactorRequest
from cluster.socketio.engine import websocket_transport
from cluster.socketio.engine.client import EngineClient
from cluster.socketio.engine.errors import (
    BAD_REQUEST,
    FORBIDDEN,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    body_of,
    refused,
)
from cluster.socketio.engine.options import EngineOptions, Query, query_of_handshake
from cluster.socketio.engine.registry import sessions

Allow = Callable[..., Any]


class EngineServer:
    """The Engine.IO side of one URL.

    Args:
        on_client: Called with each new client, in the thread of the event loop. It sets the
            client's callbacks.
        options: How sessions are kept.
        allow: ``allow(request, **captured)``, called once for each session, as the accept function
            of ``@websocket`` is: it raises PermissionDenied or returns a response to refuse the
            client. None accepts every client.
        name: The dotted name of the application's object, for the log.

    Raises:
        TypeError: ``allow`` is not a function.
    """

    def __init__(
        self,
        on_client: Callable[[EngineClient], None],
        options: EngineOptions | None = None,
        *,
        allow: Allow | None = None,
        name: str = "cluster.socketio.SocketIO",
    ) -> None:
        if allow is not None and not callable(allow):
            raise TypeError(f"allow must be a function, not {allow!r}")
        self.on_client = on_client
        self.options = options or EngineOptions()
        self.allow = allow
        self.name = name
        self.carrier: View | None = None
        """The view that ``view`` has returned."""

    def new_client(self, transport: str) -> EngineClient:
        """A session that begins.

        Args:
            transport: Its first transport.
        """
        return EngineClient(self, EngineSession(transport))

    def open_packet(self, client: EngineClient) -> bytes:
        """The first packet of a session."""
        options = self.options
        return open_packet(
            client.sid,
            options.upgrades_from(client.transport_name),
            round(options.ping_interval * 1000),
            round(options.ping_timeout * 1000),
            options.max_payload,
        )

    def view(self) -> View:
        """The view for the URL, which carries this server.

        It answers the requests that reach Django's views: those without the parameters of
        Engine.IO, and all if another server runs the site.
        """

        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if is_decision(request):
                return UpgradeRequired()
            return answer_upgrade_required(request) or HttpResponse(
                body_of(UNKNOWN_TRANSPORT), status=400, content_type="application/json"
            )

        carrier: Any = csrf_exempt(view)
        carrier.websocket_handler = Handler(
            self._run(),
            accept=None if self.allow is None else self._accept,
            view=carrier,
            check=self.check_handshake,
        )
        carrier.engine_server = self
        self.carrier = carrier
        module, _, name = self.name.rpartition(".")
        carrier.__module__, carrier.__name__, carrier.__qualname__ = module, name, name
        found: View = carrier
        return found

    def check_handshake(self, parameters: Mapping[str, Sequence[str]]) -> None:
        """Check the parameters of a WebSocket's handshake.

        Args:
            parameters: Those of the URL: name -> values.

        Raises:
            Refusal: They are wrong, or the session that they name is unknown or cannot be upgraded.
        """
        query = query_of_handshake(parameters)
        query.check(self.options.transports)
        if query.transport != WEBSOCKET:
            raise refused(BAD_REQUEST)
        if query.sid:
            polling = self.upgrading_client(query).polling
            assert polling is not None
            polling.lend_seat()

    def upgrading_client(self, query: Query) -> EngineClient:
        """The session that a WebSocket's client wants to upgrade.

        Raises:
            Refusal: It is unknown, or cannot be upgraded.
        """
        client: EngineClient | None = sessions.clients.get(query.sid)
        if client is None or client.server is not self:
            raise refused(UNKNOWN_SID)
        if not client.can_upgrade:
            raise refused(BAD_REQUEST)
        return client

    async def _accept(self, request: ReactorRequest, *args: Any, **kwargs: Any) -> Any:
        """The accept function of WebSockets: an upgrade continues a session that was allowed."""
        assert self.allow is not None
        if request.GET.get("sid"):
            return None
        try:
            return await call_permission(self.allow, request, args, kwargs)
        except PermissionDenied:
            raise refused(FORBIDDEN) from None

    def _run(self) -> Callable[..., Awaitable[None]]:
        # No coroutine of its own: it would cost memory in each idle client.
        def run(websocket: WebSocket, *args: Any, **kwargs: Any) -> Awaitable[None]:
            return websocket_transport.serve(self, websocket)

        run.__module__, _, run.__qualname__ = self.name.rpartition(".")
        return run


def server_of(match: ResolverMatch) -> EngineServer | None:
    """The server whose URL was resolved."""
    server: EngineServer | None = getattr(match.func, "engine_server", None)
    return server
