"""EventLog: the events of a namespace, which all nodes receive in one order.

It is a retained topic. The exchange numbers the events, and each node that has had a socket in the
namespace caches them. The position of an event, its epoch and offset, is appended to its arguments:
clients send the last one when they come back.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cluster.core.broker_state.retained_topic import (
    GAP,
    Position,
    format_position,
    parse_position,
)
from cluster.core.exceptions import NotPublished, WireError
from cluster.core.interfaces import Callback, PubSub
from cluster.django.api.payloads import as_message
from cluster.socketio.bus.emits import Emit, emit_of, log_mark, publication_of
from cluster.socketio.bus.envelopes import EMIT, Envelope, decode_envelope
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.recovery.options import RecoveryOptions

DECODED = 1000
"""Events that are kept decoded: after the death of a node many clients miss the same ones."""

READY_TIMEOUT_S = 5.0
"""Seconds to wait for the exchange's answer, which comes in milliseconds while the bus is up."""

MAX_POSITION = 100
"""Characters of a position that a client sends."""


class LogPacket(OutPacket):
    """The packet of an event of the log."""

    __slots__ = ()


class LogEntry(NamedTuple):
    """An event of the log; ``node`` is the token of the only node that it is for, or empty."""

    frame: bytes
    packet: LogPacket
    rooms: Sequence[str]
    skipped: Sequence[str]
    node: str


class Missed(NamedTuple):
    """Frames of the log after a position, with their offsets in an epoch."""

    epoch: str
    frames: Sequence[tuple[bytes, int]]
    newest: int


class EventLog:
    """The log of one namespace, on a node.

    Args:
        server: The name of the server.
        namespace: The namespace.
        pubsub: The topics of the node.
        options: The options of the server.
        deliver: Called with each new event.
        lost: Called when events are lost on the way to this node.
        renumbered: Called when another process numbers the events: with the last offset that is
            still valid, and the newest.
        count: Counts what is dropped.
    """

    def __init__(
        self,
        server: str,
        namespace: str,
        pubsub: PubSub,
        options: RecoveryOptions,
        deliver: Callable[[LogEntry, int], None],
        lost: Callable[[], None],
        renumbered: Callable[[int, int], None],
        count: Callable[[str, str], None],
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._pubsub = pubsub
        self._options = options
        self._deliver = deliver
        self._lost = lost
        self._renumbered = renumbered
        self._count = count
        self._mark = log_mark(server, namespace, options)
        self._topic = self._mark.topic
        self._callback: Callback | None = None
        self._ready: asyncio.Future[None] | None = None
        self._is_answered = False
        self._epoch = ""
        self._entries: dict[int, LogEntry | None] = {}

    async def ready(self) -> bool:
        """Follow the log, and wait until its position is known; returns False after a time.

        The next call begins again then."""
        ready = self._ready
        if ready is None:
            ready = self._ready = asyncio.get_running_loop().create_future()
            self._callback = self._pubsub.follow(
                self._topic, self._take, replay=False, answer=self._answer
            )
        if not ready.done():
            await asyncio.wait([ready], timeout=READY_TIMEOUT_S)
            if not ready.done() and self._ready is ready:
                self.stop()
                self._ready = None
                self._is_answered = False
        return ready.done()

    def stop(self) -> None:
        """Do not follow the log any more."""
        if self._callback is not None:
            self._callback.stop()

    # Positions.

    def position(self) -> Position:
        """The position of the newest event that this node has received."""
        kept = self._pubsub.retained(self._topic)
        if kept is None:
            return "", 0
        if kept.epoch != self._epoch:
            self._new_epoch(kept.epoch, kept.earlier.get(self._epoch), kept.offset)
        return kept.epoch, kept.offset

    def last_offset_of(self, epoch: str) -> int | None:
        """The last offset of an epoch that belongs to the same event now; None if unknown."""
        kept = self._pubsub.retained(self._topic)
        if kept is None:
            return None
        return kept.offset if epoch == kept.epoch else kept.earlier.get(epoch)

    def since(self, position: Position) -> Missed | None:
        """All events after a position; None if some of them are not known."""
        kept = self._pubsub.retained(self._topic)
        if kept is None:
            return None
        history = kept.history(position)
        if not history.recovered:
            return None
        return Missed(history.epoch, tuple(history.numbered()), history.offset)

    async def received(self, position: Position) -> None:
        """Wait until this node has received the event at a position, for a time."""
        kept = self._pubsub.retained(self._topic)
        if kept is None or not kept.is_behind(position):
            return
        answered = asyncio.get_running_loop().create_future()

        def answer(recovered: bool, epoch: str, offset: int) -> None:
            if not answered.done():
                answered.set_result(None)

        waiting = self._pubsub.follow(
            self._topic, lambda frame, offset: None, since=position, answer=answer
        )
        await asyncio.wait([answered], timeout=READY_TIMEOUT_S)
        waiting.stop()

    # Events.

    def publish(self, emit: Emit, node: str = "") -> int:
        """Append an event, for all nodes or one; returns how many nodes follow the log.

        Raises:
            NotPublished: Too much waits for the exchange. Then no client misses the event.
        """
        if self._pubsub.limit_reached:
            self._count("bus_queue_full", "too much waits for the broker")
            raise NotPublished("too many publications wait for the broker; this event is refused")
        sent = publication_of(self._server, emit, node, recovery=self._options)
        return self._pubsub.publish_retained(sent.topic, sent.frame, *sent.kept)[0]

    def entry(self, frame: bytes, offset: int, epoch: str) -> LogEntry | None:
        """The event of a frame; None if it is none."""
        entries = self._entries
        entry = entries.get(offset)
        if entry is not None and entry.frame is frame and epoch == self._epoch:
            return entry
        entry = self._decoded(frame, offset, epoch)
        if epoch == self._epoch:
            entries[offset] = entry
            if len(entries) > DECODED:
                del entries[next(iter(entries))]
        return entry

    def stamped(self, packet: OutPacket) -> OutPacket:
        """The packet of an event that is not in the log, with the position of the newest one.

        Clients take the last text of any event for a position."""
        return OutPacket(_with_position(packet.text, *self.position()), packet.attachments)

    def _decoded(self, frame: bytes, offset: int, epoch: str) -> LogEntry | None:
        try:
            data = as_message(frame)
            if not isinstance(data, bytes):
                raise WireError("it is not binary")
            envelope: Envelope = decode_envelope(data)
            if envelope.kind != EMIT or not envelope.parts:
                return None
            emit = emit_of(envelope)
        except (WireError, ValueError) as error:
            self._count("malformed", str(error))
            return None
        packet = LogPacket(_with_position(emit.packet.text, epoch, offset), emit.packet.attachments)
        return LogEntry(frame, packet, emit.rooms, emit.skipped, envelope.sender)

    def _take(self, frame: bytes, offset: int) -> None:
        if frame == GAP or not offset:
            return
        epoch, _ = self.position()
        self._be_ready()
        entry = self.entry(frame, offset, epoch)
        if entry is not None:
            self._deliver(entry, offset)

    def _answer(self, recovered: bool, epoch: str, offset: int) -> None:
        if self._is_answered:
            self._lost()
            return
        self._is_answered = True
        if epoch:
            self.position()
            self._be_ready()
        else:  # the first event gives the log a position
            self._pubsub.publish_retained(self._topic, self._mark.frame, *self._mark.kept)

    def _be_ready(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def _new_epoch(self, epoch: str, last: int | None, newest: int) -> None:
        before, self._epoch = self._epoch, epoch
        self._entries.clear()
        if before:
            self._renumbered(0 if last is None else last, newest)


def parse_offset(text: object) -> Position | None:
    """The position that a client has sent; None if it is none."""
    if not isinstance(text, str) or len(text) > MAX_POSITION:
        return None
    try:
        return parse_position(text)
    except ValueError:
        return None


def _with_position(text: bytes, epoch: str, offset: int) -> bytes:
    # The text of an event ends with the "]" of its arguments, of which there is at least one.
    return b'%b,"%b"]' % (text[:-1], format_position(epoch, offset).encode())
