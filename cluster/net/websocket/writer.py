"""The output of a connection: one queue of frames, also while the socket is full.

The rules:

* all output goes through the queue, including control frames and the handshake's response, to keep
  its order;
* **free**: ``send`` is the socket's own ``send``; the end of the turn calls it;
* **blocked**: the kernel accepted only a part. The transport has the next PIECE bytes, and calls
  back when they have been sent. The rest and later frames are kept in ``_held``; above the
  high-water mark the client is disconnected;
* a long or large queue is sent before the end of the turn, so that the mark holds at any time;
* frames of a topic's history are shared by all its subscribers, or encoded when they are sent. They
  do not count for the mark, and are sent piece by piece, as the client reads;
* **sealed**: a Close frame is queued. It is the last one; later frames are dropped;
* **discarded**: the connection is lost, or its socket refused a send. All frames are dropped.

On a transport that is not a plain socket (TLS, tests) ``send`` stays None. Output goes to
``transport.write``, and the connection is a push producer: the transport calls pauseProducing when
it is full and resumeProducing when it has room again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.tcp import Connection

from cluster.core.interfaces import LaterFrame
from cluster.net.unbuffered_output import transport_bytes
from cluster.net.websocket.connection_base import SLOW_CONSUMER, ConnectionBase

PIECE = 65536
"""Bytes that are copied into one piece of output for a client that does not keep up."""

LARGE_FRAME = 16384
"""Bytes of a frame that is sent at once instead of at the end of the turn."""

MANY_FRAMES = 256
"""Frames in the queue of a connection that is sent at once instead of at the end of the turn. With
LARGE_FRAME it bounds a queue to 4 MiB, of which only the high-water mark can remain."""

SMALL_AVERAGE = 64
"""Bytes below which held frames are joined: each takes as much memory besides its bytes."""


class _Sink(list[bytes]):
    """The ``out`` of a connection that sends no further frames.

    It is true although it is empty: code that queues a frame adds the connection to a list of
    EndOfTurn only if ``out`` is false.
    """

    def append(self, frame: bytes) -> None:
        pass

    def extend(self, frames: Iterable[bytes]) -> None:
        pass

    def __bool__(self) -> bool:
        return True


SINK = _Sink()


class FrameWriter(ConnectionBase):
    """The part of a connection that sends frames. Call ``attach`` when the transport is set."""

    out: list[bytes]
    """Frames to send at the end of the turn. Read it each time: a sealed connection replaces it."""

    send: Callable[[bytes], int] | None = None
    """The socket's ``send`` while the connection is free, else None."""

    socket: Any = None
    """The plain socket; None on a transport that has none."""

    blocked = False
    """Whether the kernel's or the transport's buffer is full."""

    on_drained: Callable[[], None] | None = None
    """Called each time ``blocked`` ends; the application may set it."""

    on_frames_lost: Callable[[bytes], None] | None = None
    """Called with a topic of which frames are lost; the application may set it."""

    _held: "deque[tuple[bytes | memoryview | LaterFrame, int]] | None" = None
    """Output that waits, and how many frames end in it. A memoryview continues what was begun."""

    _held_bytes = 0
    _held_frames = 0
    _history_bytes = 0  # of the held bytes: those that do not count for the mark
    _producing = False  # registered as the transport's producer
    _continues = False  # in a later turn: the budget of this one is spent
    _offered = False  # resumeProducing has been called for the registration itself

    def attach(self) -> None:
        """Choose the way of sending for this kind of transport; register as its producer if
        needed."""
        self.out = []
        transport = self.transport
        if getattr(transport, "producer", None) is not None:
            transport.unregisterProducer()  # the HTTP channel that used the connection before
        if isinstance(transport, Connection) and not getattr(transport, "TLS", False):
            self.socket = transport.socket
            if transport_bytes(transport):
                self._wait()
            else:
                self.send = self.socket.send
        else:
            self._producing = True
            transport.registerProducer(self, True)

    @property
    def queued_bytes(self) -> int:
        """Bytes that the kernel has not accepted. Bytes inside a TLS transport are not counted."""
        waiting = self._held_bytes + sum(map(len, self.out))
        if self.socket is not None and self.blocked:
            waiting += transport_bytes(self.transport)
        return waiting

    def send_frame(self, frame: bytes) -> None:
        """Queue an encoded frame (frames.py); ignored when the connection is closing."""
        out = self.out
        if not out:
            end_of_turn = self.factory.end_of_turn
            end_of_turn.direct.append(self)
            end_of_turn.schedule()
        elif len(out) >= MANY_FRAMES:
            self.factory.end_of_turn.send_direct(self)
            self.send_frame(frame)  # the queue is empty now
            return
        out.append(frame)
        if len(frame) > LARGE_FRAME:
            self.factory.end_of_turn.send_direct(self)

    def send_history(self, frames: Sequence[bytes | LaterFrame]) -> None:
        """Queue the frames of a topic's history, which do not count for the high-water mark."""
        if self.out is SINK:
            return
        if not self.blocked and sum(map(len, frames)) <= LARGE_FRAME:
            for frame in frames:
                self.send_frame(_encoded(frame))
            return
        self.hold_history(frames)
        if not self.blocked:
            self._continue_later()

    def hold_history(self, frames: Sequence[bytes | LaterFrame]) -> None:
        """Hold the frames of a long history; they are sent piece by piece."""
        self._hold()
        before = self._held_bytes
        self._hold_frames(frames)
        self._history_bytes += self._held_bytes - before

    # Called at the end of the turn.

    def flush_queue(self) -> None:
        """Called while ``send`` is None."""
        self._hold()
        if not self.blocked:
            self._write_held()
        elif (
            not self._continues  # else it is this process that has not sent more
            and self.out is not SINK
            and self.queued_bytes - self._exempt_bytes > self.factory.high_water
        ):
            self._disconnect_slow_client()

    @property
    def _exempt_bytes(self) -> int:
        """Bytes of history that wait; the transport may have a piece of it."""
        return self._history_bytes + PIECE if self._history_bytes else 0

    def wait_for_socket(self, frames: list[bytes], taken: int) -> None:
        """Hold what the kernel did not accept of the frames, and later frames."""
        first = 0
        while taken >= len(frames[first]):
            taken -= len(frames[first])
            first += 1
        begun = memoryview(frames[first])[taken:]
        self._held = deque([(begun, 1)])
        self._held_bytes, self._held_frames = len(begun), 1
        self._hold_frames(frames[first + 1 :])
        piece, ending = self._next_piece()
        # EndOfTurn counts all frames as sent.
        self.factory.end_of_turn.frames_sent += ending + first - len(frames)
        self._wait(piece)

    def broken(self, frames: int) -> None:
        """Drop all output: sending ``frames`` frames failed. The next read detects the reason."""
        self.factory.dropped["disconnected"] += frames
        self._discard()

    # The end of a connection.

    def seal(self) -> None:
        """Accept no more frames: a Close, the last one, is queued."""
        if self.out is not SINK:
            self._hold()
            self.out = SINK
            self.send = None
            end_of_turn = self.factory.end_of_turn
            end_of_turn.direct.append(self)
            end_of_turn.schedule()

    def drain_to_transport(self) -> bool:
        """Give all output to the transport, which is about to be closed.

        Returns whether the kernel has accepted all of it.
        """
        if self.out is not SINK:
            self._hold()
            self.out = SINK
        self.send = None
        if not self.blocked:
            self._write_held()
        while self._held:
            self.transport.write(self._next_piece()[0])
        self._stop_producing()
        return self.socket is not None and not transport_bytes(self.transport)

    def discard(self) -> None:
        """Count and drop the frames that were not sent: the connection is lost."""
        unsent = self._held_frames + len(self.out)
        if unsent:
            self.factory.dropped["disconnected"] += unsent
        self._discard()

    # The methods of a producer, which the transport calls. On a plain socket this is a pull
    # producer: the transport calls resumeProducing once when it is registered, and again when the
    # kernel has accepted all earlier output.

    def resumeProducing(self) -> None:
        if self.socket is not None:
            if not self._offered:
                self._offered = True
                return
            self._stop_producing()
        self._resume()

    def pauseProducing(self) -> None:
        self.blocked = True

    def stopProducing(self) -> None:
        """The transport is lost, and calls connectionLost next."""

    # Internal.

    def _wait(self, piece: bytes = b"") -> None:
        """Give the transport a piece, and wait until the kernel has taken all that it has."""
        self.transport.write(piece)
        self.blocked = True
        self.send = None
        self._offered = False
        self._producing = True
        self.transport.registerProducer(self, False)

    def _continue_later(self) -> None:
        """Continue with the held output in a later turn."""
        self.blocked = self._continues = True
        self.send = None
        self.factory.end_of_turn.budget.later(self._resume)

    def _resume(self) -> None:
        self.blocked = self._continues = False
        self.flush_queue()
        if not self.blocked and self.on_drained is not None:
            self.on_drained()

    def _stop_producing(self) -> None:
        if self._producing:
            self._producing = False
            self.transport.unregisterProducer()

    def _disconnect_slow_client(self) -> None:
        self._hold()
        held, unsent = self._held, self._held_frames
        self._drop_held()
        if held and isinstance(held[0][0], memoryview):
            # The client has received the beginning of this frame, so its end must follow.
            begun, ending = held[0]
            self._held = deque([(begun, ending)])
            self._held_bytes, self._held_frames = len(begun), ending
            unsent -= ending
        self.factory.dropped["slow_consumer"] += unsent
        self.was_slow = True
        self.close(*SLOW_CONSUMER)

    def _hold(self) -> None:
        out = self.out
        if out is SINK or not out:
            return
        self._hold_frames(out)
        out.clear()

    def _hold_frames(self, frames: Sequence[bytes | LaterFrame]) -> None:
        if self._held is None:
            self._held = deque()
        count, size = len(frames), sum(map(len, frames))
        if count > 1 and size < SMALL_AVERAGE * count:
            joined = b"".join([_encoded(each) for each in frames])
            size = len(joined)  # the length of a LaterFrame is rough
            self._held.append((joined, count))
        else:
            self._held.extend((frame, 1) for frame in frames)
        self._held_bytes += size
        self._held_frames += count

    def _drop_held(self) -> None:
        self._held = None
        self._held_bytes = self._held_frames = self._history_bytes = 0

    def _next_piece(self) -> tuple[bytes, int]:
        """Take the next PIECE bytes of the held output; returns them, and how many frames end."""
        held = self._held
        assert held is not None
        parts: list[bytes | memoryview] = []
        room, frames = PIECE, 0
        while held and room:
            data, ending = held.popleft()
            if not isinstance(data, bytes | memoryview):
                data = self._encode(data)
            if len(data) > room:
                view = memoryview(data)
                held.appendleft((view[room:], ending))
                data, ending = view[:room], 0
            parts.append(data)
            room -= len(data)
            frames += ending
        self._held_bytes -= PIECE - room
        self._held_frames -= frames
        self._history_bytes = max(0, self._history_bytes - (PIECE - room))
        if not held:
            self._drop_held()
        return b"".join(parts), frames

    def _encode(self, frame: LaterFrame) -> bytes:
        data = frame.encode()
        more = len(data) - len(frame)
        self._held_bytes += more
        self._history_bytes += more
        return data

    def _write_held(self) -> None:
        """Write the held output until the kernel or the transport is full, or the turn too long."""
        end_of_turn = self.factory.end_of_turn
        while self._held and not self.blocked:
            piece, frames = self._next_piece()
            taken = len(piece)
            if self.socket is None:
                self.transport.write(piece)
            else:
                try:
                    taken = self.socket.send(piece)
                except BlockingIOError:
                    taken = 0
                except OSError:
                    self.broken(frames + self._held_frames)
                    return
            end_of_turn.frames_sent += frames
            if taken != len(piece):
                self._wait(piece[taken:])
            elif self._held and not self.blocked and end_of_turn.budget.is_spent():
                self._continue_later()
        if not self.blocked and self.socket is not None and self.out is not SINK:
            self.send = self.socket.send

    def _discard(self) -> None:
        self.out = SINK
        self.send = None
        self._drop_held()


def _encoded(frame: bytes | LaterFrame) -> bytes:
    return frame if isinstance(frame, bytes) else frame.encode()
