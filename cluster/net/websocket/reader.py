"""The input half of a connection: messages out of bytes, a few microseconds each.

Complete data frames are parsed here, in one loop over the bytes that came. Everything else
(fragments, control frames, compressed ones, anything invalid, a frame that is not all there yet)
goes to Autobahn's own state machine, one frame at a time, and the loop goes on behind it. So what
is valid, and how a bad client is told, stays Autobahn's.

The rules:

* between frames, ``data`` holds at most an incomplete frame header; it is put in front of the next
  bytes. Inside a frame ``current_frame`` is set and ``data`` is empty;
* after each callback the state and the pauses are looked at again: it may have closed or paused;
* no message is delivered once a Close frame was sent or received;
* what a callback raises closes this connection 1011, is logged once, and hurts no other;
* while paused, bytes wait in ``_unread``, and nothing is read from the socket.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from twisted.python.failure import Failure

from cluster.net.websocket.frames import (
    BINARY,
    MASK_REPEAT,
    MASKED_LENGTH,
    SMALL,
    TEXT,
    is_utf8,
    unmask,
)
from cluster.net.websocket.handshake import CLOSED, CLOSING, CONNECTING, OPEN, QuietProtocol

SLOW_FRAMES = 200
"""Frames of one read that Autobahn's machine (20-40 µs each) may take before others get a turn:
64 KiB of empty pings are 10,900 frames, a third of a second."""

TURN_S = 0.005
"""How long what follows a Close may be looked through before others get a turn, and"""

SLICE = 4096
"""how many bytes of it are at once: up to 680 frames, which Autobahn ignores one by one."""

UNPARSED_LIMIT = 65536
"""Bytes that may wait unparsed after a bad frame (a broken deflate stream is not parsed any more,
but Autobahn goes on collecting until the closing handshake times out)."""


def ignore(payload: bytes, is_binary: bool) -> None:
    """Where messages go that nobody wanted."""


class MessageReader(QuietProtocol):
    """Mixed into a lane, which says how reading its socket is started and stopped.

    The factory has ``reactor`` and counts ``messages_received``.
    """

    receive: Callable[[bytes, bool], None] = staticmethod(ignore)
    """Set by the owner, at any time: called with (payload, is_binary). Text is valid UTF-8."""

    autoPingTimeoutCall: Any
    maxMessagePayloadSize: int

    _small_limit = SMALL
    _stopped = False
    _replaying = False
    _unread = b""
    _pauses: set[str] | None = None

    def _start_reading(self) -> None:
        raise NotImplementedError

    def _stop_reading(self) -> None:
        raise NotImplementedError

    def _heard(self) -> None:
        """A data frame came while the answer to a ping was awaited."""
        raise NotImplementedError

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
                                self.receive(payload, True)
                                if self.state != OPEN or self._stopped:
                                    break
                                continue
                            if payload.isascii() or is_utf8(payload):
                                pos = stop
                                received += 1
                                self.receive(payload, False)
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
            # Autobahn stopped inside this frame; the answer to our Close is behind it.
            self.current_frame, self.data, self.inside_message = None, b"", False
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
        if state == CLOSING and len(data) > SLICE:
            self._look_through(data)
            return
        try:
            self._dataReceived(data)
        except Exception:
            # Behind a frame that it refused Autobahn may be lost; then it is no bug of ours.
            if not self.failedByMe:
                self.logger.failure("parsing what {peer} sent failed", peer=self.peer)
            self.dropConnection()
        if state == CLOSING and len(self.data) > UNPARSED_LIMIT:
            self.dropConnection()

    def _look_through(self, data: bytes) -> None:
        """Find the peer's Close in all that it had sent before it knew of ours."""
        until = perf_counter() + TURN_S
        for start in range(0, len(data), SLICE):
            self._received_aside(data[start : start + SLICE])
            if self.state == CLOSED:
                return
            if perf_counter() > until:
                self.pause("busy")
                self._unread += data[start + SLICE :]
                self.resume("busy")
                return

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
            self._stop_reading()

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
