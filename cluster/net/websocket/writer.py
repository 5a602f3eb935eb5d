"""Output: one queue of frames, and what happens to it while the socket is full.

The rules:

* all output goes through the queue, also control frames and the handshake's response: anything
  else would change the order on the wire;
* **free**: ``send`` is the socket's own ``send``; the end of the turn calls it;
* **blocked**: the kernel took only a part. The transport has the rest, and calls back when it has
  been sent. Later frames wait in ``_held``; above the high-water mark the client is disconnected;
* **sealed**: a Close frame is queued. It is the last one; frames that come later are dropped;
* **discarded**: the connection is lost, or its socket refused a send. All frames are dropped.

On a transport that is not a plain socket (TLS, tests) ``send`` stays None. Output goes to
``transport.write``, and the transport calls the methods of a push producer when it is full and when
it is free again.
"""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.tcp import Connection

from cluster.net.unbuffered_output import transport_bytes
from cluster.net.websocket.connection_base import ConnectionBase


class _Sink(list[bytes]):
    """The ``out`` of a connection that sends nothing more.

    It is true although it is empty, so that code that queues frames finds no reason to put the
    connection on a list of EndOfTurn.
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
    """Frames for the end of the turn. Read it again each time: a sealed connection replaces it."""

    send: Callable[[bytes], int] | None = None
    """The socket's ``send`` while output may go there directly."""

    socket: Any = None
    """The plain socket; None on a transport that has none."""

    blocked = False
    """Whether the kernel, or the transport, takes no more for now."""

    on_drained: Callable[[], None] | None = None
    """Called each time ``blocked`` ends; the application may set it."""

    _held: list[bytes] | None = None
    _held_bytes = 0
    _producing = False  # registered as the transport's producer
    _offered = False  # the pull producer had its first call

    def attach(self) -> None:
        """Find out what kind of transport this is, and become its producer if needed."""
        self.out = []
        transport = self.transport
        if getattr(transport, "producer", None) is not None:
            transport.unregisterProducer()  # an HTTP channel that had the connection before
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
        """Bytes that the kernel has not taken. Bytes inside a TLS transport are not counted."""
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
        """The kernel did not take ``rest``: leave it to the transport, and hold later frames."""
        self.transport.write(rest)
        self._wait()

    def broken(self, frames: int) -> None:
        """The socket refused a send of so many frames. The next read finds the reason."""
        self.factory.dropped["disconnected"] += frames
        self._discard()

    # The end of a connection.

    def seal(self) -> None:
        """Take no more frames: the last one, a Close, is queued."""
        if self.out is not SINK:
            self._hold()
            self.out = SINK
            self.send = None
            end_of_turn = self.factory.end_of_turn
            end_of_turn.direct.append(self)
            end_of_turn.schedule()

    def drain_to_transport(self) -> bool:
        """Before the transport is closed: hand all output to it. True if the kernel took it."""
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
        """The connection is lost: count and drop the frames that were not sent."""
        unsent = len(self._held or ()) + len(self.out)
        if unsent:
            self.factory.dropped["disconnected"] += unsent
        self._discard()

    # The producer that the transport knows. On a plain socket it is a pull producer: the transport
    # calls resumeProducing once when it is registered, and again when all earlier output is with
    # the kernel.

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

    # Inside.

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
        self.close(1013, "slow consumer")

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
