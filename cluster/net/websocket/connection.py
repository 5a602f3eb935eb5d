"""The fast lane: a WebSocket connection that costs a few microseconds a message.

A lane is Autobahn's server protocol with four things replaced, each in its own module:

* handshake.py: quiet logging, refusals, errors of the application
* inlet.py: bytes to messages
* outlet.py: one queue of frames to one send an iteration (with flush.py)
* here: where the socket is read (read_hub.py or the reactor), pings, the end of a connection.

What all lanes of a node share is in lane_factory.py.
"""

from contextlib import suppress

from autobahn.twisted.util import create_transport_details, peer2str
from autobahn.util import encode_truncate
from autobahn.wamp.types import TransportDetails
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.python.failure import Failure

from cluster.net.loop.timers import Timeout
from cluster.net.websocket.handshake import CLOSED, CONNECTING, OPEN
from cluster.net.websocket.reader import MessageReader, ignore
from cluster.net.websocket.writer import FrameWriter

SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013})
"""Close codes below 3000 that RFC 6455 and its registry let an endpoint send."""


class _Unwanted:
    """Autobahn's futures for open and closed, of which each connection has two; on_open and
    on_close say the same. (Its result would also be a reference cycle.)"""

    def callback(self, result: object) -> None:
        pass


_UNWANTED = _Unwanted()


class ServerConnection(FrameWriter, MessageReader):
    """One client's connection; made by a ConnectionFactory, whose hooks say what to do with it."""

    # Autobahn's option of this name is read before it is copied from the factory, the
    # AttributeError swallowed, and Nagle stays on: that costs a third of the throughput.
    tcpNoDelay = True

    owner: object | None = None
    """What the application keeps for this connection. ``on_request`` sets it if it accepts the
    handshake; then ``on_close`` is called at the end, or ``on_abandoned`` if it never opened."""

    _utf8validator: Utf8Validator | None = None
    _opened = False
    _linger: Timeout | None = None
    epoll_fd = -1
    """The descriptor by which the read hub knows this lane; -1: it does not."""

    # Start and end

    def connectionMade(self) -> None:
        transport = self.transport
        self.peer = peer2str(transport)
        with suppress(AttributeError, OSError):  # a Unix socket, a transport without sockets
            transport.setTcpNoDelay(self.tcpNoDelay)
        self.attach()
        self._connectionMade()
        self.trafficStats = self.factory.traffic
        self.send_queue = ()
        self.is_open = self.is_closed = _UNWANTED
        self._transport_details = None

    @property
    def transport_details(self) -> TransportDetails:
        """What Autobahn stores for every connection; here it is made when somebody asks."""
        return create_transport_details(self.transport, is_server=True)

    @property
    def utf8validator(self) -> Utf8Validator:
        """Autobahn's validator of fragmented text; few connections ever need one."""
        if self._utf8validator is None:
            self._utf8validator = Utf8Validator()
        return self._utf8validator

    @utf8validator.setter
    def utf8validator(self, validator: Utf8Validator) -> None:
        self._utf8validator = None

    def _onOpen(self) -> None:
        # What only the handshake needed is some kilobytes for each of ten thousand connections.
        self.http_request_data = self.http_response_data = self.http_status_line = None
        self.http_headers = self.factory.headers
        self._opened = True
        self.factory.connections.add(self)
        self.factory.connections_opened += 1
        try:
            self.factory.on_open(self)
        except Exception:
            self.fail(Failure())
        if not self._stopped:
            self._start_reading()

    def connectionLost(self, reason: Failure) -> None:
        self._leave_epoll_reader()
        self.discard()
        for timeout in (self._linger, self.closeHandshakeTimeoutCall):
            if timeout is not None:
                timeout.cancel()
        self._linger = self.closeHandshakeTimeoutCall = None
        self._unread = b""
        self._connectionLost(reason)
        self.stop_deciding()

    def _onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.connections.discard(self)
        if self._opened:
            self._opened = False
            try:
                # 1005: the peer's Close frame had no code
                self.factory.on_close(self, 1005 if code is None else code, wasClean)
            except Exception:
                self.logger.failure("on_close of {peer} failed", peer=self.peer)
        elif self.owner is not None:
            self.factory.on_abandoned(self)
        self.receive = ignore
        self.on_drained = None

    # Reading

    def _start_reading(self) -> None:
        if self.state == CLOSED:
            return
        epoll_reader = self.factory.epoll_reader
        if epoll_reader is not None and self.socket is not None and self.state != CONNECTING:
            epoll_reader.add(self)
        else:
            self.transport.resumeProducing()

    def _stop_reading(self) -> None:
        self._leave_epoll_reader()
        self.transport.pauseProducing()

    def _leave_epoll_reader(self) -> None:
        if self.factory.epoll_reader is not None and self.socket is not None:
            self.factory.epoll_reader.remove(self)

    # Pings

    def _heard(self) -> None:
        """A data frame came, which is as good as the pong that we are waiting for."""
        if self.state == OPEN and self.autoPingRestartOnAnyTraffic:
            self._cancelAutoPingTimeoutCall()

    def onAutoPingTimeout(self) -> None:
        if not self._stopped:
            super().onAutoPingTimeout()
            return
        # It is we who do not read: the pong may be waiting. Ask again.
        self.autoPingTimeoutCall = self.autoPingPending = None
        self.autoPingPendingCall = self.factory._batched_timer.call_later(
            self.autoPingInterval, self._sendAutoPing
        )

    # Writing and closing

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Queue what Autobahn sends: the handshake's response and frames of every kind."""
        if self.state != OPEN or data[0] & 8:
            self.factory.control_frames += 1
        self.send_frame(data)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        was_open = self.state == OPEN
        super().sendCloseFrame(code=code, reasonUtf8=reasonUtf8, isReply=isReply)
        if was_open:
            self.seal()
            self._pauses = None  # the answer must be read; messages are not delivered any more
            self._go_on()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, then a Close frame; at most the first close has an effect.

        ``reason`` is cut to 123 bytes of UTF-8. ValueError for a code that must not be sent.
        """
        if code not in SENDABLE_CODES and not 3000 <= code < 5000:
            raise ValueError(f"close code {code} must not be sent")
        if self.state == OPEN:
            reason_utf8 = encode_truncate(reason, 123) if reason else None
            self.sendCloseFrame(code=code, reasonUtf8=reason_utf8, isReply=False)
        elif self.state == CONNECTING:
            self.failHandshake(reason or "closing", 503)

    def broken(self, frames: int) -> None:
        super().broken(frames)
        if self._stopped:  # nobody reads it, so nobody would find out
            self.transport.abortConnection()

    def unregisterProducer(self) -> None:
        pass  # Autobahn would unregister before it closes; drain_to_transport knows when

    def dropConnection(self, abort: bool = False) -> None:
        # After a closing handshake Autobahn's servers reset the connection, which may overtake
        # the last frames (and the Close of an invalid Close frame); end it with FIN instead.
        super().dropConnection(abort=abort and not self.wasClean)

    def _closeConnection(self, abort: bool = False) -> None:
        self._leave_epoll_reader()
        transport = self.transport
        if abort and hasattr(transport, "abortConnection"):
            self.discard()
            transport.abortConnection()
            return
        empty = self.drain_to_transport()
        transport.loseConnection()
        if not empty:
            self._linger = self.factory._batched_timer.call_later(
                self.closeHandshakeTimeout, self._linger_over
            )

    def _linger_over(self) -> None:
        """The peer did not take the rest in time."""
        self._linger = None
        self.transport.abortConnection()
