"""The fast lane: a WebSocket connection that costs a few microseconds a message.

Once open, complete data frames are parsed here, in one loop over the bytes that came. Everything
else (fragments, control frames, compressed ones, anything invalid, a frame that is not all there
yet) goes to Autobahn's own state machine, one frame at a time, and the loop goes on behind it. So
what is valid, and how a bad client is told, stays Autobahn's.

The rules:

* between frames, ``data`` holds at most an incomplete frame header; it is put in front of the next
  bytes. Inside a frame ``current_frame`` is set and ``data`` is empty;
* after each callback the state and the pauses are looked at again: it may have closed or paused;
* no message is delivered once a Close frame was sent or received;
* what a callback raises closes this connection 1011, is logged once, and hurts no other.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from autobahn.twisted.util import peer2str
from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.util import encode_truncate
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.types import ConnectionRequest
from twisted.python.failure import Failure

from cluster.core.outbound import HIGH_WATER, LOW_WATER
from cluster.net.flush import FlushList
from cluster.net.frames import (
    BINARY,
    MASK_REPEAT,
    MASKED_LENGTH,
    SMALL,
    TEXT,
    binary_frame,
    frame_payload,
    is_utf8,
    text_frame,
    unmask,
)
from cluster.net.handshake import CLOSED, CLOSING, CONNECTING, OPEN, QuietProtocol
from cluster.net.outlet import Outlet
from cluster.net.read_hub import ReadHub
from cluster.net.timers import CoarseTimers, Timeout

__all__ = ["Lane", "LaneFactory", "binary_frame", "frame_payload", "text_frame"]

SLOW_FRAMES = 200
"""Frames of one read that Autobahn's machine (20-40 µs each) may take before others get a turn:
64 KiB of empty pings are 10,900 frames, a third of a second."""

UNPARSED_LIMIT = 65536
"""Bytes that may wait unparsed after a bad frame (a broken deflate stream is not parsed any more,
but Autobahn goes on collecting until the closing handshake times out)."""

SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013})
"""Close codes below 3000 that RFC 6455 and its registry let an endpoint send."""


def _ignore(payload: bytes, is_binary: bool) -> None:
    """Where messages go that nobody wanted."""


class Lane(Outlet, QuietProtocol):
    """One client's connection; made by a LaneFactory, whose hooks say what to do with it."""

    # Autobahn's option of this name is read before it is copied from the factory, the
    # AttributeError swallowed, and Nagle stays on: that costs a third of the throughput.
    tcpNoDelay = True

    owner: Any = None
    """For the owner's per-connection object."""

    receive: Callable[[bytes, bool], None] = staticmethod(_ignore)
    """Set by the owner in on_open; called with (payload, is_binary). Text is checked UTF-8."""

    _small_limit = SMALL
    _opened = False
    _stopped = False
    _replaying = False
    _unread = b""
    _pauses: set[str] | None = None
    _linger: Timeout | None = None
    hub_fd = -1
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

    def _onOpen(self) -> None:
        # What only the handshake needed is some kilobytes for each of ten thousand connections.
        self.http_request_data = self.http_response_data = None
        self.http_headers = self.factory.headers
        self._opened = True
        self.factory.lanes.add(self)
        self.factory.connections_opened += 1
        try:
            self.factory.on_open(self)
        except Exception:
            self.fail(Failure())
        if not self._stopped:
            self._start_reading()

    def connectionLost(self, reason: Failure) -> None:
        self._leave_hub()
        self.discard()
        for timeout in (self._linger, self.closeHandshakeTimeoutCall):
            if timeout is not None:
                timeout.cancel()
        self._linger = self.closeHandshakeTimeoutCall = None
        self._unread = b""
        self._connectionLost(reason)

    def _onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.lanes.discard(self)
        if self._opened:
            self._opened = False
            try:
                # 1005: the peer's Close frame had no code
                self.factory.on_close(self, 1005 if code is None else code, wasClean)
            except Exception:
                self.logger.failure("on_close of {peer} failed", peer=self.peer)
        self.receive = _ignore
        self.on_drained = None

    # Reading

    def dataReceived(self, data: bytes) -> None:
        """Take what came from the socket, at any cut. Raises nothing."""
        if self.state != OPEN or self._stopped:
            self._received_aside(data)
            return
        if self.current_frame is None:
            if self.data:
                data = self.data + data
                self.data = b""
            between = not self.inside_message
        else:
            between = False
        receive = self.receive
        limit = self._small_limit
        pos = received = slow = 0
        end = len(data)
        try:
            while pos < end:
                if between and end - pos > 5:
                    first = data[pos]
                    size = data[pos + 1] - 128
                    if TEXT <= first <= BINARY and 0 <= size <= limit:
                        start = pos + 2
                        stop = start + 4 + size
                        if stop <= end:
                            masked = int.from_bytes(data[start:stop], "little")
                            payload = (masked ^ (masked & 0xFFFFFFFF) * MASK_REPEAT[size]).to_bytes(
                                MASKED_LENGTH[size], "little"
                            )[4 : 4 + size]
                            if first == BINARY:
                                pos = stop
                                received += 1
                                receive(payload, True)
                                if self.state != OPEN or self._stopped:
                                    break
                                continue
                            if payload.isascii() or is_utf8(payload):
                                pos = stop
                                received += 1
                                receive(payload, False)
                                if self.state != OPEN or self._stopped:
                                    break
                                continue
                if received and self.autoPingTimeoutCall is not None:
                    self._heard()
                slow += 1
                if slow > SLOW_FRAMES:
                    self.pause("busy")
                    break
                pos = self._slow_frame(data, pos, end, between)
                if self.state != OPEN or self._stopped:
                    break
                between = self.current_frame is None and not self.inside_message
        except Exception:
            self.fail(Failure())
        if received:
            self.factory.messages_received += received
            if self.autoPingTimeoutCall is not None:
                self._heard()
        if pos < end:
            self._received_aside(data[pos:])
        if slow > SLOW_FRAMES:
            self.resume("busy")

    def _slow_frame(self, data: bytes, pos: int, end: int, between: bool) -> int:
        """Take one frame, or as much of it as is there, that the fast loop did not; say where the
        next one starts."""
        available = end - pos
        if self.current_frame is not None:
            stop = pos + self.current_frame.length - self.current_frame_masker.pointer()
        elif available < 2:
            stop = end
        else:
            length = data[pos + 1] & 127
            mask = pos + (2 if length < 126 else 4 if length == 126 else 10)
            start = mask + (4 if data[pos + 1] & 128 else 0)
            if start > end:
                stop = end
            else:
                if length > SMALL:
                    length = int.from_bytes(data[pos + 2 : mask], "big")
                stop = start + length
                if (
                    between
                    and stop <= end
                    and data[pos + 1] >= 254
                    and TEXT <= data[pos] <= BINARY
                    and length > (SMALL if start - pos == 8 else 0xFFFF)
                    and (length <= self.maxMessagePayloadSize or not self.maxMessagePayloadSize)
                ):
                    # A big frame that is all here: Autobahn's machine would take ten times as long.
                    payload = unmask(data[mask:start], data[start:stop])
                    is_binary = data[pos] == BINARY
                    if is_binary or payload.isascii() or is_utf8(payload):
                        if self.autoPingTimeoutCall is not None:
                            self._heard()
                        self._deliver(payload, is_binary)
                        return stop
        if not pos < stop < end:
            stop = end
        try:
            self._dataReceived(data[pos:stop])
        except Exception:
            self.fail(Failure())
            return end
        return stop

    def _received_aside(self, data: bytes) -> None:
        """Take bytes that came while paused, or before or after the connection was open."""
        state = self.state
        if state == CLOSED:
            return
        if state == OPEN or self._stopped:
            self._unread += data
            return
        if state == CONNECTING and self.request_too_large(data):
            return
        try:
            self._dataReceived(data)
        except Exception:
            self.logger.failure("parsing what {peer} sent failed", peer=self.peer)
            self.dropConnection(abort=True)
        if state == CLOSING and len(self.data) > UNPARSED_LIMIT:
            self.dropConnection(abort=True)

    def onMessageFrame(self, payload: list[bytes]) -> None:
        # Autobahn keeps a list entry for each empty continuation frame, without limit.
        if not self.failedByMe:
            self.message_data.extend(filter(None, payload))

    def onMessageEnd(self) -> None:
        if not self.failedByMe:
            self._deliver(b"".join(self.message_data), self.message_is_binary)
        self.message_data = None

    def _deliver(self, payload: bytes, is_binary: bool) -> None:
        """Hand over a message that came by the slow way, if there is still somebody to take it."""
        if self.state != OPEN:
            return
        self.factory.messages_received += 1
        try:
            self.receive(payload, is_binary)
        except Exception:
            self.fail(Failure())

    # Pausing

    def pause(self, why: str) -> None:
        """Stop reading from this client until ``resume(why)``; reasons are independent."""
        if self._pauses is None:
            self._pauses = set()
        self._pauses.add(why)
        if not self._stopped and self.state != CLOSED:
            self._stopped = True
            self._leave_hub()
            self.transport.pauseProducing()

    def resume(self, why: str) -> None:
        """Take back a reason for not reading; without any left, reading goes on."""
        if self._pauses is not None:
            self._pauses.discard(why)
        self._go_on()

    def _go_on(self) -> None:
        if not self._stopped or self._pauses or self._replaying:
            return
        if self._unread:
            # Not from within somebody's callback; and nothing is read before these bytes are gone.
            self._replaying = True
            self.factory.reactor.callLater(0, self._replay)
        else:
            self._stopped = False
            self._start_reading()

    def _replay(self) -> None:
        self._replaying = False
        if self._pauses or self.state == CLOSED:
            return
        data, self._unread = self._unread, b""
        self._stopped = False
        self._start_reading()
        self.dataReceived(data)

    def _start_reading(self) -> None:
        if self.state == CLOSED:
            return
        hub = self.factory.hub
        if hub is not None and self.socket is not None and self.state != CONNECTING:
            hub.add(self)
        else:
            self.transport.resumeProducing()

    def _leave_hub(self) -> None:
        if self.factory.hub is not None and self.socket is not None:
            self.factory.hub.remove(self)

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

    def broken(self) -> None:
        super().broken()
        if self._stopped:  # nobody reads it, so nobody would find out
            self.transport.abortConnection()

    def unregisterProducer(self) -> None:
        pass  # Autobahn would unregister before it closes; drain_to_transport knows when

    def dropConnection(self, abort: bool = False) -> None:
        # After a closing handshake Autobahn's servers reset the connection, which may overtake
        # the last frames (and the Close of an invalid Close frame); end it with FIN instead.
        super().dropConnection(abort=abort and not self.wasClean)

    def _closeConnection(self, abort: bool = False) -> None:
        self._leave_hub()
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


_Factory: Any = WebSocketServerFactory  # its annotations contradict its code


class LaneFactory(_Factory):
    """Makes lanes and holds what they share. The node assigns the hooks and reads the counters."""

    protocol: type[Lane] = Lane
    noisy = False

    def __init__(
        self,
        flush_list: FlushList,
        hub: ReadHub | None,
        *,
        ping_interval: float = 20.0,
        ping_timeout: float = 30.0,
        max_message_size: int = 1 << 20,
        close_timeout: float = 5.0,
        handshake_timeout: float = 10.0,
        high_water: int = HIGH_WATER,
        low_water: int = LOW_WATER,
        compression: bool = False,
    ) -> None:
        """Times are in seconds (0: none), sizes and marks in bytes.

        Without a ``hub`` the reactor reads each socket. ``compression`` accepts permessage-deflate
        from clients; what we send stays uncompressed, which the extension allows.
        """
        super().__init__(server="c10k", reactor=flush_list.reactor)
        self.flush_list = flush_list
        self.hub = hub
        self.high_water = high_water
        self.low_water = low_water
        self.on_request: Callable[[Lane, ConnectionRequest], Any] = lambda lane, request: None
        self.on_open: Callable[[Lane], None] = lambda lane: None
        self.on_close: Callable[[Lane, int, bool], None] = lambda lane, code, was_clean: None
        self.lanes: set[Lane] = set()
        self.connections_opened = 0
        self.messages_received = 0
        self.control_frames = 0
        self.dropped: Counter[str] = Counter()
        self.handshakes_refused: Counter[str] = Counter()
        self.traffic = TrafficStats()
        self._batched_timer = CoarseTimers(flush_list.reactor)
        self.setProtocolOptions(
            webStatus=False,
            serveFlashSocketPolicy=False,
            failByDrop=False,
            echoCloseCodeReason=True,
            openHandshakeTimeout=handshake_timeout,
            closeHandshakeTimeout=close_timeout,
            maxMessagePayloadSize=max_message_size,
            autoPingInterval=ping_interval,
            autoPingTimeout=ping_timeout,
            autoPingRestartOnAnyTraffic=True,
            allowNullOrigin=True,  # on_request decides about origins
            perMessageCompressionAccept=_accept_deflate if compression else _accept_none,
        )
        # Autobahn copies its 30 options to every connection; as attributes of a class of our own
        # they are there once.
        options = {name: getattr(self, name) for name in Lane.CONFIG_ATTRS}
        options["perMessageCompressionAccept"] = staticmethod(self.perMessageCompressionAccept)
        options["_small_limit"] = min(SMALL, max_message_size or SMALL)
        base = self.protocol
        self.protocol = type(base.__name__, (base,), {**options, "CONFIG_ATTRS": ()})

    @property
    def messages_sent(self) -> int:
        """Data frames handed to the kernel (or to TLS) by this factory's flush list."""
        return max(0, self.flush_list.frames_sent - self.control_frames)


def _accept_none(offers: list[Any]) -> None:
    return None


def _accept_deflate(offers: list[Any]) -> PerMessageDeflateOfferAccept | None:
    # No context takeover by the client: no window of 32 KiB stays with an idle connection. The
    # inflated size is bounded by maxMessagePayloadSize, while it is inflated.
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer, request_no_context_takeover=True)
    return None
