"""A feed as server-sent events (HTML standard, section 9.2), one for each client.

::

    retry: 2741                                  ms; another for each client, against stampedes
    : heartbeat 15                               how often such a comment comes at least, in s

    id: live=ab12:6                              where the client is in the whole feed
    event: recovered
    data: {"topic":"live","recovered":true,"id":"ab12:6"}

    id: live=ab12:7
    data: {"topic":"live","message":"hello","id":"ab12:7"}

    :

    event: close
    data: {"code":1001,"reason":"…"}             then the response ends

Who cannot be served just now is told so in a stream, too (``put_off``): an EventSource never comes
back after any other status than 200.

An EventSource gives the last id back when it reconnects, and does so by itself. A client that does
not read has what it is sent queued, up to a limit in bytes; then it is cut off.
"""

import random
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.logger import Logger

from cluster.django.feeds.feed_subscriptions import FeedSubscriptions
from cluster.django.feeds.message_format import encode
from cluster.net.direct_output import write_directly
from cluster.net.loop.timers import CoarseTimers, Timeout

CONTENT_TYPE = b"text/event-stream; charset=utf-8"

RETRY_MS = (1000, 5000)
"""Between which a client is told how long to wait before it reconnects. A browser waits exactly
that long, so it must not be the same for all."""

UNREAD_S = 15.0
"""A client for which something has waited for so long, at two heartbeats at least, is cut off."""

UNHEARD_S = 30
"""A client whose kernel acknowledges nothing for so long is given up. There are no pongs here."""


class Streams:
    """What all streams of a node share: ``heartbeat`` in seconds, ``high_water`` in bytes.
    ``schedule`` asks for a call of ``flush``."""

    _log = Logger()

    def __init__(
        self,
        timers: CoarseTimers,
        high_water: int,
        heartbeat: float,
        schedule: Callable[[], None],
    ) -> None:
        self.timers = timers
        self.high_water = high_water
        self.heartbeat = heartbeat
        self._schedule = schedule
        self._waiting: list[EventStream] = []

    def mark(self, stream: "EventStream") -> None:
        """It has something to send: what comes together leaves together."""
        self._waiting.append(stream)
        self._schedule()

    def flush(self) -> None:
        """Send what waits."""
        waiting, self._waiting = self._waiting, []
        for stream in waiting:
            try:
                stream.flush()
            except Exception:
                self._log.failure("sending to a stream failed")


class EventStream:
    """A client's stream, from the first byte on; ``ended(reason)`` is called once, at its end.

    Reasons: "client" (it left), "slow_consumer" (it does not read), "closed" (by us).
    """

    __slots__ = (
        "_beats_unread", "_blocked", "_ended", "_heartbeat", "_messages", "_out", "_queued",
        "_streams", "dropped", "following", "request", "sent",
    )  # fmt: skip

    def __init__(self, request: Any, streams: Streams, ended: Callable[[str], None]) -> None:
        self.following: FeedSubscriptions
        self.sent = 0  # messages handed to the transport
        self.dropped = 0  # messages that it never got
        self.request = request
        self._streams = streams
        self._ended: Callable[[str], None] | None = ended
        self._out: list[bytes] = []
        self._queued = 0
        self._messages = 0  # in _out
        self._blocked = False
        self._beats_unread = 0
        self._heartbeat: Timeout | None = None

    def begin(self) -> None:
        """Send the response's header, which says that the client is let in."""
        request = self.request
        request.setHeader(b"Content-Type", CONTENT_TYPE)
        request.registerProducer(self, True)
        _give_up_unheard(request)
        heartbeat = self._streams.heartbeat
        self._put(b"retry: %d\n: heartbeat %g\n\n" % (random.randint(*RETRY_MS), heartbeat))
        self._heartbeat = self._streams.timers.call_later(heartbeat, self._beat)

    def follow(self, topics: Sequence[str], since: Mapping[str, str]) -> None:
        """Send the topics' messages, unless it has been closed."""
        self.following.begin(topics, since)

    # What the feed says.

    def answered(self, topic: str, said: bytes, recovered: bool) -> None:
        self._put(self._id(), b"event: recovered\ndata: ", said, b"\n\n")

    def took(self, topic: str, said: bytes) -> None:
        self._messages += 1
        self._put(self._id(), b"data: ", said, b"\n\n")

    def close(self, code: int, reason: str) -> None:
        """End the stream after what is queued."""
        if self._ended is None:
            return
        self._put(b"event: close\ndata: ", encode(code=code, reason=reason), b"\n\n")
        self._write()
        self.request.channel.persistent = False
        self._end("closed")
        self.request.unregisterProducer()
        self.request.finish()

    def lost(self) -> None:
        """The connection is gone."""
        self._end("client")

    # What the transport says.

    def pauseProducing(self) -> None:
        self._blocked = True

    def resumeProducing(self) -> None:
        self._blocked = False
        self._beats_unread = 0
        self._write()

    def stopProducing(self) -> None:
        """The transport is lost; ``lost`` follows."""

    # Inside.

    def _id(self) -> bytes:
        place = self.following.place
        return b"id: %b\n" % place.encode() if place else b""

    def _put(self, *parts: bytes) -> None:
        if self._ended is None:
            return
        if not self._out and not self._blocked:
            self._streams.mark(self)
        self._out += parts
        self._queued += sum(map(len, parts))
        if self._blocked and self._queued > self._streams.high_water:
            self._cut_off()

    def flush(self) -> None:
        """Send what waits, unless the client does not read."""
        if not self._blocked:
            self._write()

    def _write(self) -> None:
        if not self._out or self._ended is None:
            return
        output = b"".join(self._out)
        self._out.clear()
        self.sent += self._messages
        self._queued = self._messages = 0
        request = self.request
        if not request.startedWriting:
            request.write(output)  # the header, too
            return
        request.sentLength += len(output)
        if request.chunked:
            output = b"%x\r\n%b\r\n" % (len(output), output)
        write_directly(request.channel.transport, output)

    def _beat(self) -> None:
        heartbeat = self._streams.heartbeat
        if self._blocked:
            if self._beats_unread * heartbeat >= UNREAD_S:
                self._cut_off()
                return
            self._beats_unread += 1
        self._heartbeat = self._streams.timers.call_later(heartbeat, self._beat)
        if not self._blocked:
            self._put(b":\n\n")

    def _cut_off(self) -> None:
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
    """A whole stream that says nothing but when to come back: ``after`` s or a little later."""
    retry = after * 1000 + random.randint(*RETRY_MS)
    close = encode(code=code, reason=reason, after=after or None)
    return b"retry: %d\n\nevent: close\ndata: %b\n\n" % (retry, close)


def tcp_of(request: Any) -> Any:
    """The TCP transport of a twisted.web request, TLS taken off."""
    transport = request.channel.transport
    return getattr(transport, "transport", transport)


def _give_up_unheard(request: Any) -> None:
    """Have the kernel break a connection on which nothing is acknowledged for too long."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    connection = getattr(tcp_of(request), "socket", None)
    if option is None or not isinstance(connection, socket.socket):
        return
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, option, UNHEARD_S * 1000)
