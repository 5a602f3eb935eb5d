"""SessionTransports: the part of a client that performs the decisions of its session.

The rules of a session are those of ``core.socketio.engine_session``: it is given what happens, and
returns decisions. This class performs them on the transports: the requests of polling.py, a
WebSocket, and the WebSocket of an upgrade. It ends a session exactly once.

Messages over a WebSocket do not pass the state machine: ``_received`` calls ``on_message``.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.logger import Logger

from cluster.core.exceptions import WireError
from cluster.core.socketio.engine_decisions import (
    AnswerPoll,
    Closed,
    CloseProbe,
    CloseWebSocket,
    Deliver,
    SendOnProbe,
    SendOnWebSocket,
    Upgraded,
)
from cluster.core.socketio.engine_packets import MESSAGE, PING, PONG, decode_packet
from cluster.core.socketio.engine_session import EngineSession
from cluster.django.handlers.websocket import WebSocket, connection_of
from cluster.logs.python_logging import WEBSOCKET as LOGGER
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.frames import binary_frame, text_frame
from cluster.socketio.engine.errors import (
    CLOSE_NORMAL,
    FINAL,
    FORCED_CLOSE,
    REASONS,
    TRANSPORT_ERROR,
)
from cluster.socketio.engine.heartbeat import Heartbeat
from cluster.socketio.engine.options import EngineOptions
from cluster.socketio.engine.polling import POST, PollingTransport
from cluster.socketio.engine.registry import sessions
from cluster.socketio.engine.websocket_transport import Upgrade

_log = Logger(LOGGER)

PONG_BYTES = 100
"""Memory of a queued answer to a ping, besides its data."""


class Server(Protocol):
    """What is needed here of an EngineServer."""

    @property
    def options(self) -> EngineOptions: ...

    @property
    def on_client(self) -> Callable[[Any], None]: ...


class SessionTransports(Heartbeat):
    """The transports of one session."""

    __slots__ = (
        "connection",
        "on_close",
        "on_closing",
        "on_message",
        "polling",
        "server",
        "session",
        "sid",
        "upgrade",
        "websocket",
    )

    def __init__(self, server: Server, session: EngineSession) -> None:
        super().__init__()
        self.server = server
        self.session = session
        self.sid = sessions.new_sid()
        self.on_message: Callable[[bytes, bool], None] = _ignore
        self.on_close: Callable[[str], None] = _no_close
        self.on_closing: Callable[[], None] = _nothing
        self.connection: ServerConnection | None = None
        self.websocket: WebSocket | None = None
        """The WebSocket in use, also after the end."""
        self.polling: PollingTransport | None = None
        """The requests of a session that began over polling."""
        self.upgrade: Upgrade | None = None

    @property
    def options(self) -> EngineOptions:
        """The options of the server."""
        return self.server.options

    @property
    def path(self) -> str:
        """The path of the server's URL, as the client has sent it."""
        if self.polling is not None:
            return self.polling.path.decode("latin-1")
        return "" if self.websocket is None else self.websocket.path

    def serves(self, path: bytes) -> bool:
        """Whether requests at a path belong to the session's server: else the URL is resolved."""
        return self.polling is not None and self.polling.path == path

    @property
    def is_paused(self) -> bool:
        """Whether the server does not read from the client."""
        if self.connection is not None:
            return self.connection.paused
        return self.polling is not None and bool(self.polling.pauses)

    # The beginning.

    def begin(self) -> None:
        """The session is open: register it, and let the application set its callbacks."""
        sessions.add(self)
        self.start_heartbeat()
        self.guarded(self.server.on_client, self)

    def use_websocket(self, websocket: WebSocket) -> None:
        """Send there from now on."""
        self.websocket = websocket
        self.connection = connection_of(websocket)
        self.connection.on_closing = self.closing

    def start_receiving(self) -> None:
        """Receive the messages of the WebSocket."""
        assert self.websocket is not None
        self.websocket.on_message(self._received)

    # What the client sends.

    def _received(self, payload: bytes, is_binary: bool) -> None:
        # The hot path: for each message one comparison and one slice.
        self.heard = True
        if is_binary:
            self.on_message(payload, True)
        elif payload[:1] == b"4":
            self.on_message(payload[1:], False)
        else:
            try:
                packet = decode_packet(payload, False)
            except WireError:
                self.perform(self.session.invalid())
            else:
                self.received(*packet)

    def received(self, kind: int, payload: bytes, is_binary: bool) -> None:
        """A packet of the client, by the transport in use."""
        self.heard = True
        if kind == MESSAGE:
            if self.session.is_open:
                self.on_message(payload, is_binary)
            return
        if kind == PONG:
            self.received_pong()
        self.perform(self.session.received(kind, payload, is_binary))
        if kind == PING and self.polling is not None:
            # Its answer waits for a GET, which the client need not send.
            self.polling.answered_pings += 1
            waiting = self.session.queued_bytes + PONG_BYTES * self.polling.answered_pings
            if waiting > sessions.high_water and self.connection is None:
                self.disconnect_slow_client()

    def websocket_lost(self) -> None:
        """The WebSocket of the session is gone."""
        self.connection = None
        self.perform(self.session.websocket_closed())

    def begin_upgrade(self, websocket: WebSocket) -> None:
        """The client has opened a WebSocket, to which it wants to change."""
        self.upgrade = Upgrade(self, websocket)
        self.perform(self.session.probe_opened())
        websocket.on_message(self.upgrade.received)

    def upgrade_lost(self, websocket: WebSocket) -> None:
        """A WebSocket that was opened for an upgrade is gone. The session may use it already."""
        if self.upgrade is not None and self.upgrade.websocket is websocket:
            self.upgrade.fail()
            self.perform(self.session.probe_closed())
        elif websocket is self.websocket:
            self.websocket_lost()

    # What the server does.

    def flush(self) -> None:
        """Give what waits for the end of the turn to the session."""
        if self.polling is not None and self.polling.queued_bytes:
            self.perform(self.session.send(self.polling.take_queue()))

    def send_ping(self) -> None:
        """Send a ping."""
        self.flush()
        self.perform(self.session.ping_due())

    def pong_overdue(self) -> None:
        """The client has not answered a ping in time."""
        self.flush()
        self.perform(self.session.pong_overdue())

    def close(self, reason: str = FORCED_CLOSE) -> None:
        """End the session after what is queued; a second close is ignored.

        Args:
            reason: What ``on_close`` is called with.
        """
        self.flush()
        self.perform(self.session.close(reason))

    def close_with(self, code: int, reason: str) -> None:
        """End the session as ``ServerConnection.close`` does.

        Args:
            code: A close code of WebSocket, which says whether the client shall connect again.
            reason: The text for a client over WebSocket.
        """
        if self.connection is not None:
            self.connection.close(code, reason)  # which calls ``closing``
        else:
            self.closing(code, reason)

    def closing(self, code: int, reason: str) -> None:
        """The server is about to close the connection, and may send before."""
        if not self.session.is_open:
            return
        if code in FINAL:
            self.guarded(self.on_closing)
        self.flush()
        decisions = self.session.close(REASONS.get(code, FORCED_CLOSE))
        self.perform(each for each in decisions if not isinstance(each, CloseWebSocket))

    def disconnect_slow_client(self) -> None:
        """More waits for a client over polling than may."""
        assert self.polling is not None
        sessions.dropped["slow_consumer"] += len(self.polling.take_queue())
        sessions.dropped["slow_consumer"] += self.session.drop_queue()
        self.perform(self.session.close(TRANSPORT_ERROR))

    def guarded(self, call: Callable[..., object], *args: Any) -> None:
        """Call the application; an error is logged and closes the session."""
        try:
            call(*args)
        except Exception:
            _log.failure("a callback of a Socket.IO client at {path!r} failed", path=self.path)
            self.close(TRANSPORT_ERROR)

    # The decisions.

    def perform(self, decisions: Iterable[Any]) -> None:
        """Do what the session has decided."""
        for decision in decisions:
            match decision:
                case AnswerPoll(packets):
                    if self.polling is not None:
                        self.polling.answer(packets)
                case SendOnWebSocket(packets):
                    if self.websocket is not None:
                        _send(self.websocket, packets)
                case SendOnProbe(packets):
                    if self.upgrade is not None:
                        _send(self.upgrade.websocket, packets)
                case Deliver(payload, is_binary):
                    self.on_message(payload, is_binary)
                case Upgraded():
                    self._upgraded()
                case CloseProbe():
                    if self.upgrade is not None:
                        self.upgrade.close()
                case CloseWebSocket():
                    if self.websocket is not None:
                        self.websocket.close_now(CLOSE_NORMAL)
                case Closed(reason, unsent, lost):
                    sessions.dropped["disconnected"] += lost
                    self._closed(reason, unsent)

    def _upgraded(self) -> None:
        """Use the WebSocket from now on. What was held follows in the next decision."""
        upgrade, polling = self.upgrade, self.polling
        assert upgrade is not None and polling is not None
        self.upgrade = None
        upgrade.end()
        sessions.upgraded += 1
        sessions.polling -= 1
        self.use_websocket(upgrade.websocket)
        assert self.connection is not None
        for why in (*polling.pauses, *((POST,) if polling.is_receiving else ())):
            self.connection.pause(why)
        polling.leave_seat()
        self.start_receiving()

    def _closed(self, reason: str, unsent: tuple[tuple[bytes, bool], ...]) -> None:
        """The session has ended."""
        sessions.remove(self, reason)
        self.stop_heartbeat()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.on_closing = None
        if self.polling is not None:
            self.polling.ended(reason, unsent)
        on_close, self.on_close = self.on_close, _no_close
        self.on_message, self.on_closing = _ignore, _nothing
        self.guarded(on_close, reason)


def _send(websocket: WebSocket, packets: Iterable[tuple[bytes, bool]]) -> None:
    for data, is_binary in packets:
        websocket.send_frame(binary_frame(data) if is_binary else text_frame(data))


def _ignore(payload: bytes, is_binary: bool) -> None:
    """A client whose application has set no ``on_message``."""


def _nothing() -> None:
    """A client whose application does not want to know that it is being closed."""


def _no_close(reason: str) -> None:
    """A client whose application does not want to know that it was closed."""
