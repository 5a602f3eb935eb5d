"""ServerConnection: one client's WebSocket connection (RFC 6455).

It is Autobahn's server protocol with other parts for the handshakes (opening_handshake.py,
closing_handshake.py), input (reader.py), output (writer.py) and pings (keepalive.py). This module
has the start and the end of a connection, and the choice of who reads its socket.
connection_base.py describes how the parts work together.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from autobahn.twisted.util import create_transport_details, peer2str
from autobahn.util import encode_truncate
from autobahn.wamp.types import TransportDetails
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from cluster.net.loop.timers import Timeout
from cluster.net.loop.turn_budget import TurnBudget
from cluster.net.websocket.autobahn_protocol import CLOSED, CONNECTING, OPEN
from cluster.net.websocket.closing_handshake import ClosingHandshake
from cluster.net.websocket.connection_base import SLOW_CONSUMER
from cluster.net.websocket.keepalive import KeepAlive
from cluster.net.websocket.opening_handshake import Handshake
from cluster.net.websocket.reader import MessageReader, ignore
from cluster.net.websocket.writer import FrameWriter

CLOSE_FRAMES_LOST = 1012
"""For a client that must connect again, because its topics have lost messages."""

SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013})
"""Close codes below 3000 that an endpoint may send (RFC 6455, section 7.4.1, and the IANA
registry)."""

BULK_READ = 16384
"""Bytes read at a time from a client that sends more than its share. A thousand of them may keep as
many unparsed."""


class _NoFuture:
    """Replaces the two futures that Autobahn creates for each connection.

    ``on_open`` and ``on_close`` report the same events. The result of such a future would be the
    connection itself, a reference cycle.
    """

    def callback(self, result: object) -> None:
        pass


_NO_FUTURE = _NoFuture()


class ServerConnection(FrameWriter, MessageReader, ClosingHandshake, KeepAlive, Handshake):
    """One client's connection. ConnectionFactory creates it and calls the application's hooks."""

    # Without this Nagle's algorithm stays on: Autobahn reads its option of this name before it
    # copies it from the factory, and suppresses the AttributeError.
    tcpNoDelay = True

    owner: Any = None
    """An object of the application. If the application sets it in ``on_request``, it must reset it
    in ``on_close``, or in ``on_abandoned`` if the connection never opened."""

    on_closing: Callable[[int, str], None] | None = None
    """Called once when this end is about to close an open connection, with the code and the reason;
    the application may set it, and may send its last frames in it."""

    epoll_fd = -1
    """The descriptor under which EpollReader reads this connection; -1 if it does not."""

    _utf8validator: Utf8Validator | None = None
    _opened = False
    _linger: Timeout | None = None

    # Start and end

    def connectionMade(self) -> None:
        transport = self.transport
        self.peer = peer2str(transport)
        self.paused = False
        with suppress(AttributeError, OSError):  # a Unix socket, a transport without sockets
            transport.setTcpNoDelay(self.tcpNoDelay)
        self.attach()
        self._connectionMade()
        # Objects that Autobahn creates for each connection, and that are not used here.
        self.trafficStats = self.factory.traffic
        self.send_queue = ()
        self.is_open = self.is_closed = _NO_FUTURE
        self._transport_details = None

    @property
    def budget(self) -> TurnBudget:
        """The budget of the turns of the event loop."""
        return self.factory.end_of_turn.budget

    @property
    def transport_details(self) -> TransportDetails:
        """Created on each access. Autobahn keeps one for each connection."""
        details = create_transport_details(self.transport, is_server=True)
        if getattr(self.transport, "is_secure", False):  # another process has decrypted it
            details.is_secure = True
        return details

    @property
    def utf8validator(self) -> Utf8Validator:
        """Autobahn's validator of fragmented text, created on first access: few connections need
        it."""
        if self._utf8validator is None:
            self._utf8validator = Utf8Validator()
        return self._utf8validator

    @utf8validator.setter
    def utf8validator(self, validator: Utf8Validator) -> None:
        self._utf8validator = None

    def _onOpen(self) -> None:
        # Free what only the handshake needed: kilobytes for each of many idle connections.
        self.http_request_data = self.http_response_data = self.http_status_line = None
        self.http_headers = self.factory.headers
        self._opened = True
        self.factory.connections.add(self)
        try:
            self.factory.on_open(self)
        except Exception:
            self.fail(Failure())
        if not self.paused:
            self.start_reading()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._leave_epoll_reader()
        self.discard()
        self.finish_reading(partial(self._lost, reason))

    def _lost(self, reason: Failure) -> None:
        for timeout in (self._linger, self.closeHandshakeTimeoutCall):
            if timeout is not None:
                timeout.cancel()
        self._linger = self.closeHandshakeTimeoutCall = None
        self._connectionLost(reason)
        self.cancel_decision()

    def _onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.connections.discard(self)
        if self._opened:
            self._opened = False
            if self.was_slow:
                code = SLOW_CONSUMER[0]  # the client may never have read the Close frame
                self.factory.log_slow_client(
                    "1013",
                    "a client of {path!r} ({peer}) did not read, and was disconnected (1013)",
                    path=self.http_request_uri.partition("?")[0],
                    peer=self.peer,
                )
            try:
                # 1005: the peer's Close frame had no code (RFC 6455, section 7.1.5)
                self.factory.on_close(self, 1005 if code is None else code, wasClean)
            except Exception:
                self.factory.on_error(self, Failure(), "the end")
        elif self.owner is not None:
            self.factory.on_abandoned(self)
        self.receive = ignore
        self.count_frame = None
        self.on_drained = self.on_frames_lost = self.on_closing = None

    # Reading

    def start_reading(self) -> None:
        if self.state == CLOSED:
            return
        epoll_reader = self.factory.epoll_reader
        if epoll_reader is not None and self.socket is not None and self.state != CONNECTING:
            epoll_reader.add(self)
        else:
            self.transport.resumeProducing()

    def stop_reading(self) -> None:
        if not self.is_lost:
            self._leave_epoll_reader()
            self.transport.pauseProducing()

    def read_now(self) -> bytes:
        if self.factory.epoll_reader is None or self.socket is None:
            return b""
        try:
            data: bytes = self.socket.recv(BULK_READ)
        except OSError:
            return b""  # none, or an error, which the epoll reader finds
        return data

    def _leave_epoll_reader(self) -> None:
        if self.factory.epoll_reader is not None and self.socket is not None:
            self.factory.epoll_reader.remove(self)

    # Writing and closing

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Queue what Autobahn sends: the handshake's response, and frames of all kinds."""
        if self.state != OPEN or data[0] & 8:  # the opcode of a control frame
            self.factory.control_frames += 1
        self.send_frame(data)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        was_open = self.state == OPEN
        super().sendCloseFrame(code=code, reasonUtf8=reasonUtf8, isReply=isReply)
        if was_open:
            self.seal()
            self.resume_for_close()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, then a Close frame; a second call has no effect.

        Args:
            code: The close code.
            reason: Text for the client, cut to 123 bytes of UTF-8.

        Raises:
            ValueError: An endpoint must not send this code (RFC 6455, section 7.4).
        """
        if code not in SENDABLE_CODES and not 3000 <= code < 5000:
            raise ValueError(f"close code {code} must not be sent")
        on_closing, self.on_closing = self.on_closing, None
        if on_closing is not None and self.state == OPEN:
            on_closing(code, reason)
        if self.state == OPEN:
            reason_utf8 = encode_truncate(reason, 123) if reason else None
            self.sendCloseFrame(code=code, reasonUtf8=reason_utf8, isReply=False)
        elif self.state == CONNECTING:
            self.failHandshake(reason or "closing", 503)

    def frames_lost(self, topic: bytes) -> None:
        """Frames of a topic are lost. Without ``on_frames_lost`` the client must reconnect, as a
        client that does not know of the loss would rely on what it has."""
        if self.on_frames_lost is not None:
            self.on_frames_lost(topic)
        else:
            self.close(CLOSE_FRAMES_LOST, "messages were lost")

    def fail(self, failure: Failure) -> None:
        self.factory.on_error(self, failure, "a callback")
        if self.state == OPEN:
            self.sendCloseFrame(code=1011, reasonUtf8=b"internal error", isReply=False)
        elif self.state == CONNECTING:
            self.dropConnection(abort=True)

    def broken(self, frames: int) -> None:
        super().broken(frames)
        # If nothing reads the socket, nothing else would find it lost.
        if self.paused and not self.waits_for_turn:
            self.transport.abortConnection()

    def unregisterProducer(self) -> None:
        """Called by Autobahn before it closes the transport. Ignored, because output may be queued:
        drain_to_transport unregisters the producer."""

    def dropConnection(self, abort: bool = False) -> None:
        # After a closing handshake Autobahn's servers reset the connection. The reset could
        # overtake the last frames (and the Close that answers an invalid one), so end with FIN.
        super().dropConnection(abort=abort and not self.wasClean)

    def _closeConnection(self, abort: bool = False) -> None:
        if self.is_lost:
            return
        self._leave_epoll_reader()
        transport = self.transport
        if abort and hasattr(transport, "abortConnection"):
            self.discard()
            transport.abortConnection()
            return
        empty = self.drain_to_transport()
        transport.loseConnection()
        if not empty:
            self._linger = self.factory.timers.call_later(
                self.closeHandshakeTimeout, self._linger_over
            )

    def _linger_over(self) -> None:
        """Abort: the client did not read the last frames in time."""
        self._linger = None
        self.transport.abortConnection()
