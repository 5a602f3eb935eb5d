"""The state machine of one Engine.IO session (Engine.IO protocol, revision 4). No clock, no I/O.

The caller reports what happens, and performs the decisions that each method returns, in their
order. A session is over one transport at a time. The rules:

* at most one GET and one POST are open. A second one is refused, and closes the session: the GET
  that waits is answered with a close packet;
* packets wait in the queue while no GET is open, and are the answer to the next one;
* while a WebSocket probes (from its ``2probe`` on), packets wait for it, and each GET is answered
  with a noop; with ``5`` the session uses the WebSocket, and what waited follows. A probe that
  fails leaves the session on polling;
* over a WebSocket, messages do not come here: see ``is_plain_websocket``;
* a ping of the client is answered with its data;
* a close packet closes the session; a GET that waits is answered with a noop;
* pongs and noops change nothing: the caller notes when it has heard from the client;
* any other packet, or an invalid one, closes the session.

The reasons of ends are those of the reference server.
"""

from collections.abc import Iterable

from cluster.core.socketio.engine_decisions import (
    AnswerPoll,
    Closed,
    CloseProbe,
    CloseWebSocket,
    Decision,
    Deliver,
    Packets,
    RefusePoll,
    RefusePost,
    SendOnProbe,
    SendOnWebSocket,
    Upgraded,
)
from cluster.core.socketio.engine_packets import CLOSE, MESSAGE, NOOP, PING, PONG, UPGRADE

POLLING, WEBSOCKET = "polling", "websocket"

TRANSPORT_CLOSE = "transport close"
TRANSPORT_ERROR = "transport error"
PARSE_ERROR = "parse error"
PING_TIMEOUT = "ping timeout"

PROBE = b"probe"

_CLOSE: Packets = ((b"1", False),)
_PING: Packets = ((b"2", False),)
_NOOP: Packets = ((b"6", False),)
_NONE: tuple[Decision, ...] = ()


class EngineSession:
    """One session.

    Args:
        transport: Its first transport: POLLING or WEBSOCKET.
    """

    __slots__ = (
        "_closing",
        "_is_probed",
        "_queue",
        "is_open",
        "is_probing",
        "poll_is_open",
        "post_is_open",
        "queued_bytes",
        "transport",
    )

    def __init__(self, transport: str) -> None:
        self.is_open = True
        self.transport = transport
        self.poll_is_open = False
        """Whether a GET waits."""
        self.post_is_open = False
        """Whether packets of a POST are being processed."""
        self.is_probing = False
        """Whether a WebSocket is open to which the session may change."""
        self.queued_bytes = 0
        """Bytes that wait for a GET, or for the end of an upgrade."""
        self._is_probed = False  # its probe was answered: no GET waits until the upgrade ends
        self._closing: str | None = None
        """The reason for which the server closes the session when the upgrade has ended."""
        self._queue: list[tuple[bytes, bool]] = []

    @property
    def is_plain_websocket(self) -> bool:
        """Whether messages go over the session's WebSocket both ways, without this machine."""
        return self.is_open and self.transport == WEBSOCKET

    @property
    def can_probe(self) -> bool:
        """Whether a WebSocket may be opened to which the session changes."""
        return self.is_open and self.transport == POLLING and not self.is_probing

    # Polling.

    def poll_begins(self) -> tuple[Decision, ...]:
        """A GET has come."""
        if not self.is_open or self.transport != POLLING:
            return (RefusePoll(),)
        if self.poll_is_open:
            return (RefusePoll(), *self._abort(TRANSPORT_ERROR))
        self.poll_is_open = True
        if self._is_probed:
            return self._answer(_NOOP)
        return self._flush()

    def poll_left(self) -> tuple[Decision, ...]:
        """The client of the GET that waited is gone."""
        if not self.poll_is_open:
            return _NONE
        self.poll_is_open = False
        return self._end(TRANSPORT_ERROR)

    def post_begins(self) -> tuple[Decision, ...]:
        """A POST has come. Without a decision, report its packets, and then its end."""
        if not self.is_open or self.transport != POLLING:
            return (RefusePost(),)
        if self.post_is_open:
            return (RefusePost(), *self._abort(TRANSPORT_ERROR))
        self.post_is_open = True
        return _NONE

    def post_ended(self) -> tuple[Decision, ...]:
        """All packets of the POST were processed."""
        self.post_is_open = False
        return _NONE

    # Packets of the client.

    def received(self, kind: int, payload: bytes, is_binary: bool) -> tuple[Decision, ...]:
        """A packet has come by the transport in use."""
        if not self.is_open:
            return _NONE
        if kind == MESSAGE:
            return (Deliver(payload, is_binary),)
        if kind in (PONG, NOOP):
            return _NONE
        if kind == PING:
            return self.send(((b"3" + payload, False),))
        if kind == CLOSE:
            if self.poll_is_open:
                return (*self._answer(_NOOP), *self._end(TRANSPORT_CLOSE))
            return self._end(TRANSPORT_CLOSE)
        return self.invalid()

    def invalid(self) -> tuple[Decision, ...]:
        """What has come by the transport in use is not a packet."""
        return self._abort(PARSE_ERROR)

    # The upgrade.

    def probe_opened(self) -> tuple[Decision, ...]:
        """A WebSocket with the session's id is open. Call it only if ``can_probe``."""
        self.is_probing = True
        return _NONE

    def probe_received(self, kind: int, payload: bytes, is_binary: bool) -> tuple[Decision, ...]:
        """A packet has come on the WebSocket that probes."""
        if not self.is_open or not self.is_probing:
            return _NONE
        if kind == PING and payload == PROBE:
            self._is_probed = True
            answer = SendOnProbe(((b"3" + PROBE, False),))
            return (answer, *self._answer(_NOOP)) if self.poll_is_open else (answer,)
        if kind == UPGRADE and self._is_probed:
            self.transport = WEBSOCKET
            self.is_probing = self._is_probed = False
            sent = (Upgraded(), *self._flush())
            return sent if self._closing is None else (*sent, *self.close(self._closing))
        return self.invalid_on_probe()

    def invalid_on_probe(self) -> tuple[Decision, ...]:
        """What has come on the WebSocket that probes is not a packet."""
        return (CloseProbe(), *self.probe_closed()) if self.is_probing else _NONE

    def probe_overdue(self) -> tuple[Decision, ...]:
        """The client has not completed the upgrade in time."""
        return self.invalid_on_probe()

    def probe_closed(self) -> tuple[Decision, ...]:
        """The WebSocket that probes is gone: the session stays on polling."""
        self.is_probing = self._is_probed = False
        return self._flush() if self._closing is None else self.close(self._closing)

    # The WebSocket in use.

    def websocket_closed(self) -> tuple[Decision, ...]:
        """The session's WebSocket is gone."""
        if not self.is_open:
            return _NONE
        self.is_open = False
        return (Closed(TRANSPORT_CLOSE),)

    # The server.

    def ping_due(self) -> tuple[Decision, ...]:
        """It is time for a ping."""
        return self.send(_PING)

    def pong_overdue(self) -> tuple[Decision, ...]:
        """The client has not answered a ping in time."""
        return self._abort(PING_TIMEOUT)

    def send(self, packets: Iterable[tuple[bytes, bool]]) -> tuple[Decision, ...]:
        """The server sends packets."""
        if not self.is_open:
            return _NONE
        for packet in packets:
            self._queue.append(packet)
            self.queued_bytes += len(packet[0])
        return self._flush()

    def close(self, reason: str) -> tuple[Decision, ...]:
        """The server closes the session, after what is queued."""
        if not self.is_open:
            return _NONE
        if self._is_probed:
            # The client reads from neither transport until it has sent UPGRADE.
            self._closing = self._closing or reason
            return _NONE
        if self.transport == POLLING:
            self._queue += _CLOSE
            if self.poll_is_open:
                return (*self._flush(), *self._end(reason))
            return self._end(reason, self._take_queue())
        return self._end(reason)

    def drop_queue(self) -> int:
        """Drop what is queued; returns the number of packets."""
        return len(self._take_queue())

    # Inside.

    def _abort(self, reason: str) -> tuple[Decision, ...]:
        """End the session, drop its queue; a GET that waits is answered with a close packet."""
        if not self.is_open:
            return _NONE
        if self.poll_is_open:
            return (*self._answer(_CLOSE), *self._end(reason))
        return self._end(reason)

    def _end(self, reason: str, unsent: Packets = ()) -> tuple[Decision, ...]:
        self.is_open = False
        closed = Closed(reason, unsent, len(self._take_queue()))
        if self.is_probing:
            self.is_probing = self._is_probed = False
            return CloseProbe(), closed
        return (CloseWebSocket(), closed) if self.transport == WEBSOCKET else (closed,)

    def _answer(self, packets: Packets) -> tuple[Decision, ...]:
        self.poll_is_open = False
        return (AnswerPoll(packets),)

    def _flush(self) -> tuple[Decision, ...]:
        """Send what is queued, if the transport can take it."""
        if not self._queue or not self.is_open:
            return _NONE
        if self.transport == WEBSOCKET:
            return (SendOnWebSocket(self._take_queue()),)
        if self.poll_is_open:
            return self._answer(self._take_queue())
        return _NONE

    def _take_queue(self) -> Packets:
        queue, self._queue = tuple(self._queue), []
        self.queued_bytes = 0
        return queue
