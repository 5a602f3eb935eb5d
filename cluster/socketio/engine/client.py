"""EngineClient: one session of a browser, as the application sees it."""

from cluster.core.socketio.engine_session import EngineSession
from cluster.django.handshake.requests import ReactorRequest
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.engine.registry import sessions
from cluster.socketio.engine.session_transports import Server, SessionTransports


class EngineClient(SessionTransports):
    """One session. You do not create it yourself: an EngineServer calls ``on_client`` with it.

    Set the three callbacks there. They are called in the thread of the event loop and must not
    block; an error in one is logged, and closes the session. ``close`` ends the session.

    Attributes:
        sid: The id of the session, which only the client should know.
        server: The EngineServer.
        connection: The WebSocket connection of a session that is open and uses one; None for a
            session over polling, and for one that has ended. See ``send_to_all``.
        on_message: Called with the payload of each message, and whether it is binary. The payload
            of text is valid UTF-8, not decoded.
        on_close: Called exactly once, at the end, with the reason: "transport close", "transport
            error", "ping timeout", "parse error", "forced close" or "server shutting down".
        on_closing: Called before the server closes the client for good (its user has logged out,
            an operator disconnects it). Send the last packets in it, which tell the client not to
            connect again.
    """

    __slots__ = ("_request",)

    def __init__(self, server: Server, session: EngineSession) -> None:
        super().__init__(server, session)
        self._request: ReactorRequest | None = None

    @property
    def request(self) -> ReactorRequest:
        """The handshake as Django's HttpRequest, with its user and session."""
        if self._request is None:
            assert self.websocket is not None
            return self.websocket.request
        return self._request

    @request.setter
    def request(self, request: ReactorRequest) -> None:
        # Of a session over polling.
        self._request = request

    @property
    def is_open(self) -> bool:
        """Whether the session has not ended."""
        return self.session.is_open

    @property
    def transport_name(self) -> str:
        """The transport in use: "polling" or "websocket"."""
        return self.session.transport

    @property
    def address(self) -> str:
        """The client's address; behind a trusted proxy, that of the proxy's client."""
        if self.websocket is not None:
            return self.websocket.client
        return "" if self.polling is None else self.polling.address

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the client."""
        if self.connection is not None:
            return self.connection.queued_bytes
        queued = self.session.queued_bytes
        return queued if self.polling is None else queued + self.polling.queued_bytes

    @property
    def can_upgrade(self) -> bool:
        """Whether a WebSocket may take the session over now."""
        return self.session.can_probe and bool(self.options.upgrades_from(self.transport_name))

    def send(self, packet: OutPacket) -> None:
        """Queue a message, without waiting; ignored when the session has ended.

        A client for which more than SEND_QUEUE_HIGH_WATER bytes wait is closed, and counted as
        "slow_consumer".

        Args:
            packet: The message, which other clients may receive too.
        """
        connection = self.connection
        if connection is not None:
            for frame in packet.frames:
                connection.send_frame(frame)
        elif self.polling is not None and self.session.is_open:
            self.polling.queue(packet)
            if self.queued_bytes > sessions.high_water:
                self.disconnect_slow_client()

    def send_volatile(self, packet: OutPacket) -> bool:
        """Send a message if the client can receive it now; otherwise drop and count it.

        Args:
            packet: The message.

        Returns:
            Whether it was sent. It is not while the client does not read, and, over polling, while
            no request of the client waits.
        """
        connection = self.connection
        if connection is None:
            is_writable = self.session.poll_is_open and not self.session.is_probing
        else:
            is_writable = not connection.blocked
        if is_writable:
            self.send(packet)
        else:
            sessions.dropped["volatile"] += 1
        return is_writable

    def pause(self, why: str) -> None:
        """Read no further message of the client until ``resume(why)``; reasons are independent.

        Over polling the request with the messages is answered only when they have been processed.

        Args:
            why: The reason.
        """
        if self.polling is not None:
            self.polling.pauses.add(why)
        if self.connection is not None:
            self.connection.pause(why)

    def resume(self, why: str) -> None:
        """Undo ``pause``; ignored if it was not called with this reason.

        Args:
            why: The reason.
        """
        if self.polling is not None:
            self.polling.resume(why)
        if self.connection is not None:
            self.connection.resume(why)
