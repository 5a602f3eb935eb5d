"""The output of a connection: one queue of frames, also while the socket is full.

The rules:

* all output goes through the queue, including control frames and the handshake's response, to keep
  its order;
* **free**: ``send`` is the socket's own ``send``; the end of the turn calls it;
* **blocked**: the kernel accepted only a part. The transport has the rest, and calls back when it
  has been sent. Later frames are kept in ``_held``; above the high-water mark the client is
  disconnected;
* **sealed**: a Close frame is queued. It is the last one; later frames are dropped;
* **discarded**: the connection is lost, or its socket refused a send. All frames are dropped.

On a transport that is not a plain socket (TLS, tests) ``send`` stays None. Output goes to
``transport.write``, and the connection is a push producer: the transport calls pauseProducing when
it is full and resumeProducing when it has room again.
"""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.tcp import Connection

from cluster.net.unbuffered_output import transport_bytes
from cluster.net.websocket.connection_base import SLOW_CONSUMER, ConnectionBase


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
    on_frames_lost: Callable[[bytes], None] | None = None
    """Called each time ``blocked`` ends; the application may set it."""

    _held: list[bytes] | None = None
    _held_bytes = 0
    _producing = False  # registered as the transport's producer
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
        out.append(frame)

    # Called at the end of the turn.

    def flush_queue(self) -> None:
        """Called while ``send`` is None."""
        self._hold()
        if not self.blocked:
            self._write_held()
        elif self.out is not SINK and self.queued_bytes > self.factory.high_water:
            self._disconnect_slow_client()

    def wait_for_socket(self, rest: bytes) -> None:
        """Give ``rest``, which the kernel did not accept, to the transport, and hold later
        frames."""
        self.transport.write(rest)
        self._wait()

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
        if self._held:
            self.transport.write(b"".join(self._held))
            self._drop_held()
        self._stop_producing()
        return self.socket is not None and not transport_bytes(self.transport)

    def discard(self) -> None:
        """Count and drop the frames that were not sent: the connection is lost."""
        unsent = len(self._held or ()) + len(self.out)
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
        self.blocked = False
        if self.socket is not None and self.out is not SINK:
            self.send = self.socket.send
        self.flush_queue()
        if not self.blocked and self.on_drained is not None:
            self.on_drained()

    def pauseProducing(self) -> None:
        self.blocked = True

    def stopProducing(self) -> None:
        """The transport is lost, and calls connectionLost next."""

    # Internal.

    def _wait(self) -> None:
        self.blocked = True
        self.send = None
        self._offered = False
        self._producing = True
        self.transport.registerProducer(self, False)

    def _stop_producing(self) -> None:
        if self._producing:
            self._producing = False
            self.transport.unregisterProducer()

    def _disconnect_slow_client(self) -> None:
        self._hold()
        self.factory.dropped["slow_consumer"] += len(self._held or ())
        self._drop_held()
        self.was_slow = True
        self.close(*SLOW_CONSUMER)

    def _hold(self) -> None:
        out = self.out
        if out is SINK or not out:
            return
        if self._held is None:
            self._held = []
        self._held.extend(out)
        self._held_bytes += sum(map(len, out))
        out.clear()

    def _drop_held(self) -> None:
        self._held = None
        self._held_bytes = 0

    def _write_held(self) -> None:
        held = self._held
        if not held:
            return
        output = b"".join(held)
        self._drop_held()
        taken = len(output)
        if self.socket is None:
            self.transport.write(output)
        else:
            try:
                taken = self.socket.send(output)
            except BlockingIOError:
                taken = 0
            except OSError:
                self.broken(len(held))
                return
        self.factory.end_of_turn.frames_sent += len(held)
        if taken != len(output):
            self.wait_for_socket(output[taken:])

    def _discard(self) -> None:
        self.out = SINK
        self.send = None
        self._drop_held()
