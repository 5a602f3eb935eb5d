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
  ``_unread``;
* when the turn's budget is spent (turn_budget.py), the reader pauses until a later turn;
* unread bytes that only wait for a turn are processed even if the connection is lost meanwhile:
  the last of them may be the client's Close;
* after our Close, closing_handshake.py processes what the client sends.
"""

from collections.abc import Callable

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

QUANTUM = 256
"""Bytes that the fast path parses between two looks at the clock: 37 messages of one byte."""


def ignore(payload: bytes, is_binary: bool) -> None:
    """Drop a message. This is ``receive`` before the application sets it, and after the close."""


class MessageReader(ConnectionBase):
    """The part of a connection that reads messages."""

    receive: Callable[[bytes, bool], None] = staticmethod(ignore)
    """Called with (payload, is_binary) for each message; the application may set it at any time.
    The payload of a text message is valid UTF-8."""

    count_frame: Callable[[], object] | None = None
    """Called for each control frame but Close, and each fragment of a message but its last, before
    it is processed. The application may set it; it may close the connection."""

    paused: bool
    """Whether reading is paused: for a reason of ``pause``, or until ``_unread`` is processed."""

    _small_limit = SMALL  # the factory lowers it to the maximum message size if that is less
    _replay_scheduled = False
    _is_replaying = False
    _when_read: Callable[[], None] | None = None
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
        pos = received = 0
        end = len(data)
        quantum = QUANTUM
        is_spent = False
        try:
            # The hot path of all input: inlined, with local names; the only call is ``receive``.
            while pos < end:
                if pos >= quantum:
                    quantum = pos + QUANTUM
                    if self.factory.end_of_turn.budget.is_spent():
                        is_spent = True
                        self.pause("busy")
                        break
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
                if (
                    data[pos] & 0x40  # RSV1: it may be compressed, and inflate to megabytes
                    and self.current_frame is None
                    and (pos or not self._is_replaying)  # each turn must get on by a frame
                    and self.factory.end_of_turn.budget.is_spent()
                ):
                    is_spent = True
                    self.pause("busy")
                    break
                pos = self._receive_slow_frame(data, pos, end, between)
                if self.state != OPEN or self.paused:
                    break
                between = self.current_frame is None and not self.inside_message
                quantum = pos  # such a frame takes as long as a quantum
        except Exception:
            self.fail(Failure())
        if received:
            self.factory.messages_received += received
            if self.autoPingTimeoutCall is not None:
                self.count_as_pong()
        if pos < end:
            self._receive_other(data[pos:])
        if is_spent:
            self.resume("busy")

    def receive_later(self, data: bytes) -> None:
        """Process bytes from the socket in a later turn, when others have been served."""
        self.pause("busy")
        self._unread += data
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
                if self.count_frame is not None and (data[pos] & 8 or not data[pos] & 0x80):
                    if data[pos] & 15 != 8:
                        self.count_frame()
                    if self.state != OPEN:
                        return pos
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
        if state == CLOSING:
            self.skip_to_close(data)
            return
        try:
            self._dataReceived(data)
        except Exception:
            self.logger.failure("parsing input of {peer} failed", peer=self.peer)
            self.dropConnection()

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
        """Stop reading from this client until ``resume(reason)``; reasons are independent.

        Ignored after our Close, because the client's Close must be read.
        """
        if self.state == CLOSING and reason != "busy":
            return
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

    @property
    def waits_for_turn(self) -> bool:
        """Whether reading continues in a later turn, although it is paused."""
        return self._replay_scheduled

    @property
    def is_lost(self) -> bool:
        """Whether the transport is lost, and unread bytes are still processed."""
        return self._when_read is not None

    def finish_reading(self, done: Callable[[], None]) -> None:
        """Call back when the unread bytes of a lost connection are processed.

        They are dropped if the application has paused reading.
        """
        if self._replay_scheduled and not self._pause_reasons and self.state != CLOSED:
            self._when_read = done
        else:
            self._unread = b""
            done()

    def _continue_reading(self) -> None:
        if not self.paused or self._pause_reasons or self._replay_scheduled:
            return
        if self._unread:
            # In another turn, because ``resume`` may be called inside a callback of a message. The
            # socket is not read until these bytes have been processed, to keep the order.
            self._replay_scheduled = True
            self.factory.end_of_turn.budget.later(self._replay)
        else:
            self.paused = False
            self.start_reading()

    def _replay(self) -> None:
        """Process the bytes that arrived before the pause, and what has arrived meanwhile."""
        self._replay_scheduled = False
        if not self._pause_reasons and self.state != CLOSED:
            self._process_unread()
        done = self._when_read
        if done is not None and not self._replay_scheduled:
            self._when_read = None
            self._unread = b""
            done()

    def _process_unread(self) -> None:
        data, self._unread = self._unread, b""
        self.paused = False
        budget = self.factory.end_of_turn.budget
        while data:
            self._is_replaying = True
            self.dataReceived(data)
            self._is_replaying = False
            if self.paused or self.state != OPEN or budget.is_spent():
                break
            data = self.read_now()
        if not self.paused and self._when_read is None:
            self.start_reading()
