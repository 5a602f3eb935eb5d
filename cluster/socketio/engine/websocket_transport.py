"""A session's WebSocket: from the beginning, or as the upgrade of one over polling.

The node has decided on the handshake as on any other (handshake/dispatcher.py), and has run the
server's ``check_handshake``. Engine.IO has its own pings, so those of WebSocket are off.

An upgrade::

    client                              server
    opens a WebSocket with the sid
    2probe                        ->
                                  <-    3probe; 6 (noop) answers the GET that waits
    5                             ->    packets that were held follow on the WebSocket

What is wrong, or takes longer than ``upgrade_timeout``, closes the WebSocket alone; the session
stays on polling.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from autobahn.websocket.types import ConnectionDeny

from cluster.core.exceptions import WireError
from cluster.core.socketio.engine_decisions import Decision
from cluster.core.socketio.engine_packets import decode_packet
from cluster.core.socketio.engine_session import WEBSOCKET, EngineSession
from cluster.django.handlers.websocket import WebSocket, connection_of
from cluster.net.websocket.frames import text_frame
from cluster.socketio.engine.errors import CLOSE_NORMAL
from cluster.socketio.engine.options import EngineOptions, Query, query_of_handshake
from cluster.socketio.engine.registry import Timer, sessions


class Client(Protocol):
    """What is needed here of an EngineClient."""

    upgrade: Any
    polling: Any

    @property
    def session(self) -> EngineSession: ...

    @property
    def options(self) -> EngineOptions: ...

    def perform(self, decisions: Iterable[Decision]) -> None: ...


class Server(Protocol):
    """What is needed here of an EngineServer."""

    @property
    def options(self) -> EngineOptions: ...

    def new_client(self, transport: str) -> Any: ...

    def open_packet(self, client: Any) -> bytes: ...

    def upgrading_client(self, query: Query) -> Any: ...


class Upgrade:
    """One attempt of a session.

    Args:
        client: The session.
        websocket: The WebSocket.
    """

    __slots__ = ("_client", "_timer", "websocket")

    def __init__(self, client: Client, websocket: WebSocket) -> None:
        self.websocket = websocket
        self._client = client
        timeout = client.options.upgrade_timeout
        self._timer: Timer | None = sessions.call_later(timeout, self._overdue)

    def received(self, data: bytes, is_binary: bool) -> None:
        """A message of the client."""
        client = self._client
        if client.upgrade is not self:
            return  # it was closed meanwhile
        try:
            packet = decode_packet(data, is_binary)
        except WireError:
            client.perform(client.session.invalid_on_probe())
        else:
            client.perform(client.session.probe_received(*packet))

    def end(self) -> None:
        """The session uses the WebSocket, or does not need it any more. Idempotent."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def fail(self) -> None:
        """The session stays on polling, or has ended."""
        self.end()
        self._client.upgrade = None
        self._client.polling.count_seat_again()

    def close(self) -> None:
        """Close the WebSocket, which the session does not use."""
        self.fail()
        self.websocket.close_now(CLOSE_NORMAL)

    def _overdue(self) -> None:
        self._timer = None
        self._client.perform(self._client.session.probe_overdue())


async def serve(server: Server, websocket: WebSocket) -> None:
    """The handler of a server's WebSockets; returns when the client is gone.

    Args:
        server: The server of the URL.
        websocket: The client's connection.
    """
    connection = connection_of(websocket)
    connection.stop_pings()
    connection.maxMessagePayloadSize = server.options.max_payload
    query = query_of_handshake(websocket.query)
    websocket.query = {}  # the application has the request; half a kilobyte in each idle client
    if query.sid:
        await _upgrade(server, websocket, query)
        return
    client = server.new_client(WEBSOCKET)
    client.use_websocket(websocket)
    websocket.send_frame(text_frame(server.open_packet(client)))
    client.begin()
    client.start_receiving()
    try:
        await websocket.wait_closed()
    finally:
        client.websocket_lost()


async def _upgrade(server: Server, websocket: WebSocket, query: Query) -> None:
    try:
        client = server.upgrading_client(query)
    except ConnectionDeny:  # the session has ended since the handshake was checked
        websocket.close_now(CLOSE_NORMAL)
        return
    client.begin_upgrade(websocket)
    try:
        await websocket.wait_closed()
    finally:
        client.upgrade_lost(websocket)
