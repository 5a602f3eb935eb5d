"""The fast path of input: bytes from a client to messages.

Complete data frames are parsed here, in one loop over the bytes that arrived. All others
(fragments, control frames, compressed and invalid frames, a frame that has not arrived completely)
go to Autobahn's state machine, one frame at a time, and the loop continues after each. So Autobahn
decides which input is valid, and with which code a connection with invalid input is closed.

The rules:

* between frames, ``data`` holds at most an incomplete frame header, which is put in front of the
  next bytes. Inside a frame ``current_frame`` is set and ``data`` is empty;
* a callback may close or pause, so the state and ``paused`` are read again after each;
* no message is delivered after a Close frame was sent or received;
* an exception of a callback is logged once and closes this connection with 1011;
* while paused, nothing is read from the socket, and bytes that were read already wait in
  ``_unread``.
"""

from collections.abc import Callable
from time import perf_counter

from twisted.python.failure import Failure

from cluster.net.websocket.autobahn_protocol import CLOSED, CLOSING, CONNECTING, OPEN
from cluster.net.websocket.connection_base import ConnectionBase
from cluster.net.websocket.frames import (
    BINARY,
    MASK_REPEAT,
    MASKED_LENGTH,
    SMALL,
    TEXT,
    is_utf8,
    unmask,
)

SLOW_FRAMES = 200
"""Frames that Autobahn's state machine takes from one read before other connections get a turn. It
is much slower than the fast path, and 64 KiB of empty pings are 10,900 frames."""

TURN_S = 0.005
"""Seconds for which the bytes after a Close are searched before other connections get a turn."""

SLICE = 4096
"""Bytes that are searched between two looks at the clock: up to 680 frames."""

UNPARSED_LIMIT = 65536
"""Bytes that may wait unparsed after an invalid frame. Autobahn does not parse on after a broken
deflate stream, but collects what follows until the closing handshake times out."""


def ignore(payload: bytes, is_binary: bool) -> None:
    """Drop a message: ``receive`` before the application sets it, and after the end."""


class MessageReader(ConnectionBase):
    """The part of a connection that reads messages."""

    receive: Callable[[bytes, bool], None] = staticmethod(ignore)
    """Called with (payload, is_binary) for each message; the application may set it at any time.
    The payload of a text message is valid UTF-8."""

    paused = False
    """Whether reading is stopped: ``pause`` gave a reason, or bytes of before the pause wait."""

    _small_limit = SMALL  # the factory lowers it to the largest message that is allowed
    _replay_scheduled = False
    _unread = b""
    _pause_reasons: set[str] | None = None

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the socket, cut anywhere. Raises nothing."""
        if self.state != OPEN or self.paused:
            self._receive_other(data)
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
            # The hot path of all input: written out, with local names, without calls but receive.
            while pos < end:
                # 6 bytes are the header and mask of an empty message. Between messages only: the
                # frames of a fragmented one (and control frames among them) are Autobahn's.
                if between and end - pos > 5:
                    first = data[pos]
                    # Without a mask, and with the length in further bytes, size is out of range.
                    size = data[pos + 1] - 128
                    # No other first byte is a message in one frame, uncompressed, reserved bits 0.
                    if TEXT <= first <= BINARY and 0 <= size <= limit:
                        start = pos + 2
                        stop = start + 4 + size
                        if stop <= end:
                            # See frames.py for the arithmetic.
                            masked = int.from_bytes(data[start:stop], "little")
                            payload = (masked ^ (masked & 0xFFFFFFFF) * MASK_REPEAT[size]).to_bytes(
                                MASKED_LENGTH[size], "little"
                            )[4 : 4 + size]
                            if first == BINARY:
                                pos = stop
                                received += 1
                                self.receive(payload, True)
                                if self.state != OPEN or self.paused:
                                    break
                                continue
                            if payload.isascii() or is_utf8(payload):
                                pos = stop
                                received += 1
                                self.receive(payload, False)
                                if self.state != OPEN or self.paused:
                                    break
                                continue
                # In the order of arrival: the next frame may be the pong.
                if received and self.autoPingTimeoutCall is not None:
                    self._count_as_pong()
                slow += 1
                if slow > SLOW_FRAMES:
                    self.pause("busy")
                    break
                pos = self._receive_slow_frame(data, pos, end, between)
                if self.state != OPEN or self.paused:
                    break
                between = self.current_frame is None and not self.inside_message
        except Exception:
            self.fail(Failure())
        if received:
            self.factory.messages_received += received
            if self.autoPingTimeoutCall is not None:
                self._count_as_pong()
        if pos < end:
            self._receive_other(data[pos:])
        if slow > SLOW_FRAMES:
            self.resume("busy")

    def _count_as_pong(self) -> None:
        """A data frame shows as well as the pong that is awaited that the client is alive."""
        if self.state == OPEN:
            self._cancelAutoPingTimeoutCall()

    def _receive_slow_frame(self, data: bytes, pos: int, end: int, between: bool) -> int:
        """Take one frame that is not for the fast path, or as much of it as has arrived.

        Returns the position of the next frame.
        """
        available = end - pos
        if self.current_frame is not None:
            remaining: int = self.current_frame.length - self.current_frame_masker.pointer()
            stop = pos + remaining
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
                    # A valid message of more than 125 bytes in one frame that has arrived
                    # completely. Autobahn's state machine would take much longer.
                    payload = unmask(data[mask:start], data[start:stop])
                    is_binary = data[pos] == BINARY
                    if is_binary or payload.isascii() or is_utf8(payload):
                        if self.autoPingTimeoutCall is not None:
                            self._count_as_pong()
                        self._deliver(payload, is_binary)
                        return stop
        if not pos < stop < end:  # also if the length that the frame claims is beyond all bounds
            stop = end
        try:
            self._dataReceived(data[pos:stop])
        except Exception:
            self.fail(Failure())
            # Autobahn stopped inside this frame. The answer to our Close comes after it.
            self.current_frame, self.data, self.inside_message = None, b"", False
        return stop

    def _receive_other(self, data: bytes) -> None:
        """Take bytes that arrived while paused, or before or after the connection was open."""
        state = self.state
        if state == CLOSED:
            return
        if state == OPEN or self.paused:
            self._unread += data
            return
        if state == CONNECTING and self.refuse_large_request(data):
            return
        if state == CLOSING and len(data) > SLICE:
            self._search_for_close(data)
            return
        try:
            self._dataReceived(data)
        except Exception:
            # After a frame that it refused, Autobahn may parse garbage; that is not our bug.
            if not self.failedByMe:
                self.logger.failure("parsing input of {peer} failed", peer=self.peer)
            self.dropConnection()
        if state == CLOSING and len(self.data) > UNPARSED_LIMIT:
            self.dropConnection()

    def _search_for_close(self, data: bytes) -> None:
        """Look for the client's Close in all that it sent before it received ours."""
        until = perf_counter() + TURN_S
        for start in range(0, len(data), SLICE):
            self._receive_other(data[start : start + SLICE])
            if self.state == CLOSED:
                return
            if perf_counter() > until:
                self.pause("busy")
                self._unread += data[start + SLICE :]
                self.resume("busy")
                return

    def onMessageFrame(self, payload: list[bytes]) -> None:
        """Called by Autobahn with the pieces of a fragment."""
        # Autobahn would keep a list entry for each empty continuation frame, without limit.
        if not self.failedByMe:
            self.message_data.extend(filter(None, payload))

    def onMessageEnd(self) -> None:
        """Called by Autobahn after the last fragment of a message."""
        if not self.failedByMe:
            self._deliver(b"".join(self.message_data), self.message_is_binary)
        self.message_data = None

    def _deliver(self, payload: bytes, is_binary: bool) -> None:
        """Call ``receive`` with a message that did not take the fast path, unless closing."""
        if self.state != OPEN:
            return
        self.factory.messages_received += 1
        try:
            self.receive(payload, is_binary)
        except Exception:
            self.fail(Failure())

    # Pausing

    def pause(self, reason: str) -> None:
        """Stop reading from this client until ``resume(reason)``; reasons are independent."""
        if self._pause_reasons is None:
            self._pause_reasons = set()
        self._pause_reasons.add(reason)
        if not self.paused and self.state != CLOSED:
            self.paused = True
            self.stop_reading()

    def resume(self, reason: str) -> None:
        """Remove a reason for the pause; when none is left, reading continues."""
        if self._pause_reasons is not None:
            self._pause_reasons.discard(reason)
        self._continue_reading()

    def resume_for_close(self) -> None:
        """Remove all reasons: the client's Close must be read, messages are dropped."""
        self._pause_reasons = None
        self._continue_reading()

    def forget_unread(self) -> None:
        """Drop the bytes that wait: the connection is lost."""
        self._unread = b""

    def _continue_reading(self) -> None:
        if not self.paused or self._pause_reasons or self._replay_scheduled:
            return
        if self._unread:
            # In a turn of its own: resume may be called inside a callback of another message. The
            # socket is read only after these bytes, or the order would break.
            self._replay_scheduled = True
            self.factory.reactor.callLater(0, self._replay)
        else:
            self.paused = False
            self.start_reading()

    def _replay(self) -> None:
        """Take the bytes that waited."""
        self._replay_scheduled = False
        if self._pause_reasons or self.state == CLOSED:
            return
        data, self._unread = self._unread, b""
        self.paused = False
        self.start_reading()
        self.dataReceived(data)
