"""The closing handshake: what the client sends after our Close (RFC 6455, section 7.1.2).

The rules:

* frames that the client had sent before it received our Close are skipped unseen;
* the client's Close ends the connection, also if it is invalid;
* a client whose input was invalid has SKIPPED_FRAMES to send its Close;
* when the turn's budget is spent (turn_budget.py), the rest waits for a later turn.
"""

from cluster.net.websocket.autobahn_protocol import CLOSED
from cluster.net.websocket.connection_base import ConnectionBase
from cluster.net.websocket.frames import SMALL

SLICE = 4096
"""Bytes that are skipped between two looks at the clock: up to 680 frames."""

SKIPPED_FRAMES = 1000
"""Frames that are skipped after invalid input before the client is disconnected. A client that
receives our Close has some more on the way; it must not cause work without end."""


class ClosingHandshake(ConnectionBase):
    """The part of a connection that waits for the client's Close."""

    _skip = 0  # bytes of the present frame
    _skipped = 0  # frames after invalid input

    def skip_to_close(self, data: bytes) -> None:
        if self.current_frame is not None:
            self._skip = self.current_frame.length - self.current_frame_masker.pointer()
            self.current_frame = None
        if self.data:
            data = self.data + data
            self.data = b""
        pos, end = self._skip, len(data)
        check = pos + SLICE
        while end - pos > 1:
            length = data[pos + 1] & 127
            head = pos + (2 if length < 126 else 4 if length == 126 else 10)
            start = head + (4 if data[pos + 1] & 128 else 0)
            if start > end:
                break
            if data[pos] & 15 == 8:
                stop = start + min(length, SMALL)
                if stop > end:
                    break
                self._receive_close(data[pos:stop])
                return
            if length > SMALL:
                length = int.from_bytes(data[pos + 2 : head], "big")
            pos = start + length
            if self.failedByMe:
                self._skipped += 1
                if self._skipped > SKIPPED_FRAMES:
                    self.dropConnection()
                    return
            if pos > check:
                check = pos + SLICE
                if pos < end and self.factory.end_of_turn.budget.is_spent():
                    self._skip = 0
                    self.receive_later(data[pos:])
                    return
        self._skip = max(0, pos - end)
        self.data = data[pos:]

    def _receive_close(self, frame: bytes) -> None:
        """Process the client's Close, which ends the connection, also if it is invalid."""
        self.inside_message = False
        try:
            self._dataReceived(frame)
        except Exception:
            # After an invalid frame Autobahn's state may be inconsistent.
            if not self.failedByMe:
                self.logger.failure("parsing input of {peer} failed", peer=self.peer)
        if self.state != CLOSED:
            self.dropConnection()
