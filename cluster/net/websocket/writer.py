"""The output half of a connection: one queue, and where it stands when the socket is full.

The rules:

* everything goes through the queue, control frames and the closing handshake included, or the
  order on the wire would break;
* **free**: ``send`` is the socket's own; the flush calls it;
* **blocked**: the kernel took only a part. The rest of that send is the transport's, which says
  when it is gone; later frames wait in ``held``, up to ``high_water`` bytes;
* **sealed**: a Close frame is queued. It is the last; what anybody appends later is dropped;
* **gone**: the connection is lost or its socket refused a send; everything is dropped.

On a transport that is no plain socket (TLS, tests) ``send`` stays None and output goes to
``transport.write``, whose push-producer calls then say blocked and free.
"""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.tcp import Connection

from cluster.net.direct_output import transport_bytes


class _Sink(list[bytes]):
    """The ``out`` of a connection that sends no more: true, so that nobody marks it as dirty."""

    def append(self, frame: bytes) -> None:
        pass

    def extend(self, frames: Iterable[bytes]) -> None:
        pass

    def __bool__(self) -> bool:
        return True


SINK = _Sink()


class FrameWriter:
    """Mixed into a protocol; the protocol sets ``transport`` and ``factory`` and calls ``attach``.

    The factory has ``end_of_turn``, ``high_water`` (bytes) and ``dropped`` (a Counter).
    """

    factory: Any
    transport: Any

    out: list[bytes]
    """Queued frames that the next flush sends. Replaced by a sink once sealed: never keep it."""

    send: Callable[[bytes], int] | None = None
    """The socket's send while output may go there directly."""

    socket: Any = None
    """The plain socket, or None where there is none."""

    blocked = False
    """The kernel (or the transport) takes no more for now."""

    on_drained: Callable[[], None] | None = None
    """Called each time ``blocked`` ends."""

    _held: list[bytes] | None = None
    _held_bytes = 0
    _producing = False
    _offered = False

    def attach(self) -> None:
        """Start: look what kind of transport this is, and take over as its producer."""
        self.out = []
        transport = self.transport
        if getattr(transport, "producer", None) is not None:
            transport.unregisterProducer()  # whoever had the connection before: an HTTP channel
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
        """Bytes that the kernel has not taken yet, as far as we can see."""
        waiting = self._held_bytes + sum(map(len, self.out))
        if self.socket is not None and self.blocked:
            waiting += transport_bytes(self.transport)
        return waiting

    def send_frame(self, frame: bytes) -> None:
        """Queue one ready frame (frames.py); dropped when the connection is closing."""
        out = self.out
        if not out:
            end_of_turn = self.factory.end_of_turn
            end_of_turn.direct.append(self)
            end_of_turn.schedule()
        out.append(frame)

    def flush_queue(self) -> None:
        """Do what the flush does for a connection whose ``send`` is None."""
        self._hold()
        if not self.blocked:
            self._write_held()
        elif self.out is not SINK and self.queued_bytes > self.factory.high_water:
            self.overflow()

    def overflow(self) -> None:
        """Give up on a client that reads too slowly: drop its queue, count it, close 1013."""
        self._hold()
        self.factory.dropped["slow_consumer"] += len(self._held or ())
        self._drop_held()
        self.close(1013, "slow consumer")

    def close(self, code: int = 1000, reason: str = "") -> None:
        """The protocol's closing handshake."""
        raise NotImplementedError

    def wait_for_socket(self, rest: bytes) -> None:
        """The kernel took only a part: leave ``rest`` to the transport, hold what comes later."""
        self.transport.write(rest)
        self._wait()

    def broken(self, frames: int) -> None:
        """The socket refused a send of so many; whoever reads it next finds the reason."""
        self.factory.dropped["disconnected"] += frames
        self._discard()

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
        """Before the transport is told to close: hand all output to it. True if none is left."""
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
        """The connection is lost: count and drop what was not sent."""
        unsent = len(self._held or ()) + len(self.out)
        if unsent:
            self.factory.dropped["disconnected"] += unsent
        self._discard()

    # The producer that the transport knows. A pull producer is asked once when it registers, and
    # again when all that was written before is with the kernel.

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
        """The transport is lost and calls connectionLost next."""

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
        end_of_turn = self.factory.end_of_turn
        end_of_turn.frames_sent += len(held)
        if taken != len(output):
            self.wait_for_socket(output[taken:])

    def _discard(self) -> None:
        self.out = SINK
        self.send = None
        self._drop_held()
