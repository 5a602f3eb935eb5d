"""A feed as server-sent events (HTML standard, section 9.2): one endless response for each client.

::

    retry: 2741                                  ms; random, so that clients reconnect spread out
    : heartbeat 15                               at most so many seconds between comments

    id: live=ab12:6                              the client's position in the whole feed
    event: recovered
    data: {"topic":"live","recovered":true,"id":"ab12:6"}

    id: live=ab12:7
    data: {"topic":"live","message":"hello","id":"ab12:7"}

    :

    retry: 1830
    event: close
    data: {"code":1001,"reason":"…"}             then the response ends

A client that cannot be served for now gets a stream, too, which says when to come back (``defer``):
after any other status than 200 an EventSource never reconnects.

An EventSource reconnects by itself, and sends the last id. For a client that does not read, output
is queued up to a limit in bytes; beyond it the connection is aborted. The history of a topic does
not count for the limit, and is sent as the client reads.
"""

import random
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.logger import Logger

from cluster.django.feeds.feed_subscriptions import FeedSubscriptions
from cluster.django.feeds.message_format import encode, encode_shared
from cluster.django.feeds.web_request import WebRequest
from cluster.net.loop.timers import CoarseTimers, Timeout
from cluster.net.loop.turn_budget import TurnBudget
from cluster.net.unbuffered_output import write_directly

CONTENT_TYPE = b"text/event-stream; charset=utf-8"

RETRY_MS = (1000, 5000)
"""Range of the time after which a client shall reconnect. A browser waits exactly as long as the
``retry`` field says, so the time must differ between clients."""

RESTARTING = (1001, 1012)
"""Close codes after which a client shall reconnect soon: going away, service restart."""

DATA = b"data: "
"""Begins a message. A part of the output that has this value is counted as one."""

PIECE = 65536
"""Bytes of output that are joined. A history may have megabytes, of which the client reads a few
at a time. So its messages are encoded in the piece in which they are sent."""

UNREAD_S = 15.0
"""Seconds for which a client may not read its output, and two heartbeats at least."""

UNHEARD_S = 30
"""Seconds without an acknowledgement of TCP, after which the kernel ends the connection. It stands
for the pongs of a WebSocket."""


class LaterEvent:
    """A message of a topic's history, which is encoded when it is sent."""

    __slots__ = ("_begin", "_frame", "_position", "_topic")

    def __init__(self, begin: bytes, topic: str, frame: bytes, position: str | None) -> None:
        self._begin = begin
        self._topic = topic
        self._frame = frame
        self._position = position

    def __len__(self) -> int:
        return len(self._frame)

    def encode(self) -> bytes:
        message = encode_shared(self._topic, self._frame, self._position)
        return b"".join((self._begin, DATA, message, b"\n\n"))


class Streams:
    """What all streams of a node share.

    Args:
        timers: For heartbeats.
        high_water: Bytes that may wait for a client that does not read.
        heartbeat: Seconds between comments.
        schedule: Asks for a call of ``flush``.
        budget: That of the turns of the event loop.
    """

    _log = Logger()

    def __init__(
        self,
        timers: CoarseTimers,
        high_water: int,
        heartbeat: float,
        schedule: Callable[[], None],
        budget: TurnBudget,
    ) -> None:
        self.timers = timers
        self.high_water = high_water
        self.heartbeat = heartbeat
        self.budget = budget
        self._schedule = schedule
        self._waiting: list[EventStream] = []

    def mark(self, stream: "EventStream") -> None:
        """The stream has output, which leaves with that of others at the next ``flush``."""
        self._waiting.append(stream)
        self._schedule()

    def flush(self) -> None:
        """Send the output of all streams."""
        waiting, self._waiting = self._waiting, []
        for stream in waiting:
            try:
                stream.flush()
            except Exception:
                self._log.failure("sending to a stream failed")


class EventStream:
    """The stream of one client.

    Args:
        request: The twisted.web request, to which nothing has been written.
        streams: What all streams share.
        ended: Called once, with the reason: "client" (it left), "slow_consumer" (it does not read),
            "closed" (by this node).

    The creator sets ``subscriptions``. ``sent`` counts messages handed to the transport,
    ``dropped`` messages that were not.
    """

    __slots__ = (
        "_beats_unread", "_blocked", "_continues", "_ended", "_heartbeat", "_history", "_later",
        "_messages", "_out", "_queued", "_streams", "dropped", "request", "sent", "subscriptions",
    )  # fmt: skip

    def __init__(self, request: WebRequest, streams: Streams, ended: Callable[[str], None]) -> None:
        self.subscriptions: FeedSubscriptions
        self.sent = 0
        self.dropped = 0
        self.request = request
        self._streams = streams
        self._ended: Callable[[str], None] | None = ended
        self._out: list[bytes | LaterEvent] = []
        self._queued = 0
        self._messages = 0  # in _out
        self._blocked = False
        self._history = 0  # bytes of history in _out, which do not count for the limit
        self._later = 0  # how many of its messages
        self._continues = False  # in a later turn: the budget of this one is spent
        self._beats_unread = 0
        self._heartbeat: Timeout | None = None

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the client."""
        return self._queued

    def begin(self) -> None:
        """Send the response's header: the client is accepted."""
        request = self.request
        request.setHeader(b"Content-Type", CONTENT_TYPE)
        request.registerProducer(self, True)
        _give_up_unheard(request)
        heartbeat = self._streams.heartbeat
        self._put(b"retry: %d\n: heartbeat %g\n\n" % (random.randint(*RETRY_MS), heartbeat))
        self._heartbeat = self._streams.timers.call_later(heartbeat, self._beat)

    def subscribe(self, topics: Sequence[str], since: Mapping[str, str]) -> None:
        """Send the messages of topics, unless the stream has ended."""
        self.subscriptions.begin(topics, since)

    # Called by the subscriptions.

    def send_answer(self, topic: str, recovered: bool, answer: bytes, at_once: bool) -> None:
        self._put(self._id(), b"event: recovered\ndata: ", answer, b"\n\n")

    def send_message(self, topic: str, frame: bytes, position: str | None) -> None:
        if self._ended is None:
            return
        self._messages += 1
        if self.subscriptions.is_history:
            self._history += len(frame)
            self._later += 1
            self._put(LaterEvent(self._id(), topic, frame, position))
        else:
            self._put(self._id(), DATA, encode_shared(topic, frame, position), b"\n\n")

    def close(self, code: int, reason: str) -> None:
        """Send what is queued and the reason, then end the response.

        If the node stops or restarts, a new random ``retry`` precedes the reason. A history that is
        not sent yet is not: the client receives it when it reconnects, with what came after it.
        """
        if self._ended is None:
            return
        if self._later:
            is_later = [isinstance(part, LaterEvent) for part in self._out]
            del self._out[is_later.index(True) :]
            self._later = 0
        if code in RESTARTING:
            self._put(b"retry: %d\n" % random.randint(*RETRY_MS))
        self._put(b"event: close\ndata: ", encode(code=code, reason=reason), b"\n\n")
        self._blocked = False
        self._write_piece(self._out)
        self._out = []
        self.request.channel.persistent = False
        self._end("closed")
        self.request.unregisterProducer()
        self.request.finish()

    def lost(self) -> None:
        """The connection is gone."""
        self._end("client")

    # Called by the transport, of which this is the producer.

    def pauseProducing(self) -> None:
        self._blocked = True

    def resumeProducing(self) -> None:
        self._blocked = False
        self._beats_unread = 0
        self.flush()

    def stopProducing(self) -> None:
        """The transport is lost; ``lost`` follows."""

    # Inside.

    def _id(self) -> bytes:
        position = self.subscriptions.feed_position
        return b"id: %b\n" % position.encode() if position else b""

    def _put(self, *parts: bytes | LaterEvent) -> None:
        if self._ended is None:
            return
        if not self._out and not self._blocked:
            self._streams.mark(self)
        self._out += parts
        self._queued += sum(map(len, parts))
        if self._blocked and self._queued - self._history > self._streams.high_water:
            self._abort()

    def flush(self) -> None:
        """Send the output, unless the client does not read."""
        if not self._blocked and not self._continues:
            self._write()

    def _continue(self) -> None:
        self._continues = False
        self.flush()

    def _write(self) -> None:
        """Write the output piece by piece, until the client does not read or the turn is spent."""
        while self._out and self._ended is not None and not self._blocked:
            if self._queued <= PIECE:
                piece, self._out = self._out, []
            else:
                piece = self._next_piece()
            self._write_piece(piece)
            if self._out and not self._blocked and self._streams.budget.is_spent():
                self._continues = True
                self._streams.budget.later(self._continue)
                return

    def _next_piece(self) -> "list[bytes | LaterEvent]":
        size = count = 0
        while size < PIECE:
            size += len(self._out[count])
            count += 1
        piece = self._out[:count]
        del self._out[:count]
        return piece

    def _write_piece(self, piece: "list[bytes | LaterEvent]") -> None:
        size = sum(map(len, piece))
        self._queued -= size
        self._history = max(0, self._history - size)
        messages = piece.count(DATA)
        parts = [each if isinstance(each, bytes) else each.encode() for each in piece]
        later = sum(isinstance(each, LaterEvent) for each in piece) if self._later else 0
        self._later -= later
        output = b"".join(parts)
        self._messages -= messages + later
        self.sent += messages + later
        request = self.request
        if not request.startedWriting:
            request.write(output)  # with the header
            return
        request.sentLength += len(output)
        if request.chunked:
            output = b"%x\r\n%b\r\n" % (len(output), output)
        write_directly(request.channel.transport, output)

    def _beat(self) -> None:
        heartbeat = self._streams.heartbeat
        if self._blocked:
            if self._beats_unread * heartbeat >= UNREAD_S:
                self._abort()
                return
            self._beats_unread += 1
        self._heartbeat = self._streams.timers.call_later(heartbeat, self._beat)
        if not self._blocked:
            self._put(b":\n\n")

    def _abort(self) -> None:
        self._end("slow_consumer")
        self.request.channel.transport.abortConnection()

    def _end(self, reason: str) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self.dropped = self._messages
        self._out.clear()
        ended(reason)


def defer(code: int, reason: str, after: int) -> bytes:
    """A complete stream that says when to reconnect: in ``after`` seconds or a little later."""
    retry = after * 1000 + random.randint(*RETRY_MS)
    close = encode(code=code, reason=reason, after=after or None)
    return b"retry: %d\n\nevent: close\ndata: %b\n\n" % (retry, close)


def tcp_of(request: WebRequest) -> Any:
    """The TCP transport of a twisted.web request, also under TLS."""
    transport = request.channel.transport
    return getattr(transport, "transport", transport)


def _give_up_unheard(request: WebRequest) -> None:
    """Have the kernel end a connection on which nothing is acknowledged for too long."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    connection = getattr(tcp_of(request), "socket", None)
    if option is None or not isinstance(connection, socket.socket):
        return
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, option, UNHEARD_S * 1000)
