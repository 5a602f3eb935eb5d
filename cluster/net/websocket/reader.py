"""The fast path of input: bytes from a client to messages.

The loop in ``dataReceived`` parses complete data frames. It passes all other frames (fragments,
control frames, compressed, invalid and incomplete frames) to Autobahn's state machine, one at a
time, and continues after each. So Autobahn decides which input is valid, and with which code a
connection with invalid input is closed.

The rules:

* between frames, ``data`` holds at most an incomplete frame header, which is prepended to the next
  bytes. Inside a frame ``current_frame`` is set and ``data`` is empty;
* a callback may close or pause the connection, so ``state`` and ``paused`` are read again after
  each;
* no message is delivered after a Close frame was sent or received;
* an exception of a callback is logged once and closes this connection with 1011;
* while paused, the socket is not read, and bytes that have been read already are kept in
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
"""Frames of one read that are passed to Autobahn's state machine before other connections are
served. It is much slower than the fast path, and 64 KiB of empty pings are 10,900 frames."""

TURN_S = 0.005
"""Seconds for which the bytes after our Close are searched before other connections are served."""

SLICE = 4096
"""Bytes that are searched between two checks of the clock: up to 680 frames."""

UNPARSED_LIMIT = 65536
"""Bytes that may be kept unparsed after an invalid frame. After a broken deflate stream Autobahn
stops parsing, but collects further input until the closing handshake times out."""


def ignore(payload: bytes, is_binary: bool) -> None:
    """Drop a message. This is ``receive`` before the application sets it, and after the close."""


class MessageReader(ConnectionBase):
    """The part of a connection that reads messages."""

    receive: Callable[[bytes, bool], None] = staticmethod(ignore)
    """Called with (payload, is_binary) for each message; the application may set it at any time.
    The payload of a text message is valid UTF-8."""

    paused = False
    """Whether reading is paused: for a reason of ``pause``, or until ``_unread`` is processed."""

    _small_limit = SMALL  # the factory lowers it to the maximum message size if that is less
    _replay_scheduled = False
    _unread = b""
    _pause_reasons: set[str] | None = None

    def dataReceived(self, data: bytes) -> None:
        """Process bytes from the socket, in chunks of any size. Raises nothing."""
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
            # The hot path of all input: inlined, with local names; the only call is ``receive``.
            while pos < end:
                # 6 bytes are the header and mask of an empty message. Only between messages:
                # Autobahn processes the frames of fragmented messages, and control frames between
                # them.
                if between and end - pos > 5:
                    first = data[pos]
                    # ``size`` is out of range if the frame has no mask, or an extended length.
                    size = data[pos + 1] - 128
                    # FIN is set, the reserved bits are 0, and the opcode is text or binary.
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
                # Count the messages so far as a pong now: the next frame may be the pong itself.
                if received and self.autoPingTimeoutCall is not None:
                    self.count_as_pong()
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
                self.count_as_pong()
        if pos < end:
            self._receive_other(data[pos:])
        if slow > SLOW_FRAMES:
            self.resume("busy")

    def _receive_slow_frame(self, data: bytes, pos: int, end: int, between: bool) -> int:
        """Process one frame that the fast path does not handle, or its part that has arrived.

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
                            self.count_as_pong()
                        self._deliver(payload, is_binary)
                        return stop
        if not pos < stop < end:  # also if the frame claims an impossible length
            stop = end
        try:
            self._dataReceived(data[pos:stop])
        except Exception:
            self.fail(Failure())
            # Autobahn stopped inside this frame. Skip it: the answer to our Close follows.
            self.current_frame, self.data, self.inside_message = None, b"", False
        return stop

    def _receive_other(self, data: bytes) -> None:
        """Process bytes that arrived while paused, or before or after the connection was open."""
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
            # After an invalid frame Autobahn may parse garbage, so its exceptions are no bugs.
            if not self.failedByMe:
                self.logger.failure("parsing input of {peer} failed", peer=self.peer)
            self.dropConnection()
        if state == CLOSING and len(self.data) > UNPARSED_LIMIT:
            self.dropConnection()

    def _search_for_close(self, data: bytes) -> None:
        """Search the client's bytes for its Close. It may have sent many before it received
        ours."""
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
        # Autobahn would append an entry for each empty continuation frame, without limit.
        if not self.failedByMe:
            self.message_data.extend(filter(None, payload))

    def onMessageEnd(self) -> None:
        """Called by Autobahn after the last fragment of a message."""
        if not self.failedByMe:
            self._deliver(b"".join(self.message_data), self.message_is_binary)
        self.message_data = None

    def _deliver(self, payload: bytes, is_binary: bool) -> None:
        """Call ``receive`` with a message from outside the fast path, unless closing."""
        if self.state != OPEN:
            return
        self.factory.messages_received += 1
        try:
            self.receive(payload, is_binary)
        except Exception:
            self.fail(Failure())

    @property
    def unread_bytes(self) -> int:
        """Bytes that have been read and are not processed yet."""
        return len(self._unread)

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
        """Remove all reasons, to read the client's Close; messages before it are dropped."""
        self._pause_reasons = None
        self._continue_reading()

    def forget_unread(self) -> None:
        """Drop the unread bytes: the connection is lost."""
        self._unread = b""

    def _continue_reading(self) -> None:
        if not self.paused or self._pause_reasons or self._replay_scheduled:
            return
        if self._unread:
            # In another turn, because ``resume`` may be called inside a callback of a message. The
            # socket is not read until these bytes have been processed, to keep the order.
            self._replay_scheduled = True
            self.factory.reactor.callLater(0, self._replay)
        else:
            self.paused = False
            self.start_reading()

    def _replay(self) -> None:
        """Process the bytes that arrived before the pause."""
        self._replay_scheduled = False
        if self._pause_reasons or self.state == CLOSED:
            return
        data, self._unread = self._unread, b""
        self.paused = False
        self.start_reading()
        self.dataReceived(data)
