"""The long polling of one session: a GET that waits for packets, and POSTs that bring some.

At most one GET and one POST of a client are open at a time (core.socketio.engine_session). The
packets of a POST are processed in order, within the budget of the turn, and not while the client is
paused. The POST is answered when all of them have been.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from cluster.core.exceptions import WireError
from cluster.core.socketio.engine_decisions import Decision, RefusePoll, RefusePost
from cluster.core.socketio.engine_packets import decode_payload, encode_payload
from cluster.core.socketio.engine_session import PARSE_ERROR, EngineSession
from cluster.django.handshake.limits import MessageRate, Seat
from cluster.socketio.engine.answers import (
    Exchange,
    answer_bad_request,
    answer_ok,
    answer_packets,
    answer_too_large,
)
from cluster.socketio.engine.errors import TRANSPORT_ERROR
from cluster.socketio.engine.options import EngineOptions
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.engine.registry import sessions

SEPARATOR = b"\x1e"
"""Between two packets of a payload."""

DECODED = 1000
"""Packets of a POST that are decoded at a time: a body may have hundreds of thousands."""

POST = "post"
"""The reason to read nothing of a WebSocket whose client still sends over polling."""


class Client(Protocol):
    """What is needed here of an EngineClient."""

    @property
    def sid(self) -> str: ...

    @property
    def session(self) -> EngineSession: ...

    @property
    def options(self) -> EngineOptions: ...

    @property
    def connection(self) -> Any: ...

    def flush(self) -> None: ...

    def perform(self, decisions: Iterable[Decision]) -> None: ...

    def received(self, kind: int, payload: bytes, is_binary: bool) -> None: ...

    def guarded(self, call: Callable[..., object], *args: Any) -> None: ...

    def close(self, reason: str) -> None: ...

    def close_with(self, code: int, reason: str) -> None: ...


class PollingTransport:
    """The requests of one session.

    Args:
        client: The session.
        path: The path of the server's URL, as the client has sent it.
        address: The client's address.

    ``pauses`` has the reasons for which POSTs must wait. ``at_end`` has what is called when the
    session ends. ``seat`` is the session's place in the limits, until a WebSocket has its own.
    """

    __slots__ = (
        "_body",
        "_client",
        "_get",
        "_packets",
        "_post",
        "_queue",
        "_queued_bytes",
        "_take",
        "address",
        "answered_pings",
        "at_end",
        "path",
        "pauses",
        "seat",
    )

    def __init__(self, client: Client, path: bytes, address: str) -> None:
        self.path = path
        self.address = address
        self.pauses: set[str] = set()
        self.answered_pings = 0
        """Pings of the client since its last GET."""
        self.at_end: list[Callable[[], None]] = []
        self.seat: Seat | None = None
        self._client = client
        self._get: Exchange | None = None
        self._post: Exchange | None = None
        self._body: bytes | None = None  # what has not been decoded of the POST
        self._packets: deque[tuple[int, bytes, bool]] = deque()
        self._queue: list[tuple[bytes, bool]] = []
        self._queued_bytes = 0
        rate = sessions.rate
        self._take = None if rate is None else _limit(rate, client)

    # To the client.

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the end of the turn."""
        return self._queued_bytes

    def queue(self, packet: OutPacket) -> None:
        """Send a message at the end of the turn, together with others of the turn."""
        if not self._queue:
            sessions.flush_later(self._client)
        self._queue.extend(packet.packets)
        self._queued_bytes += len(packet)

    def take_queue(self) -> list[tuple[bytes, bool]]:
        """The packets that wait for the end of the turn; they wait no more."""
        queue, self._queue = self._queue, []
        self._queued_bytes = 0
        return queue

    def answer(self, packets: Iterable[tuple[bytes, bool]]) -> None:
        """Answer the GET that waits."""
        exchange, self._get = self._get, None
        if exchange is not None:
            answer_packets(exchange, packets)

    # From the client.

    def get(self, exchange: Exchange) -> None:
        """The client asks for packets."""
        client = self._client
        client.flush()
        self.answered_pings = 0
        if not client.session.is_probing:
            self.count_seat_again()  # the handshake of an upgrade may have been refused
        decisions = client.session.poll_begins()
        is_refused = any(isinstance(each, RefusePoll) for each in decisions)
        if not is_refused:
            self._get = exchange
            exchange.request.on_gone = lambda: self._get_left(exchange)
        client.perform(decisions)
        if is_refused:
            answer_bad_request(exchange)

    def _get_left(self, exchange: Exchange) -> None:
        if self._get is exchange:
            self._get = None
            self._client.perform(self._client.session.poll_left())

    def post(self, exchange: Exchange) -> None:
        """The client sends packets."""
        client = self._client
        decisions = client.session.post_begins()
        client.perform(decisions)
        if any(isinstance(each, RefusePost) for each in decisions):
            answer_bad_request(exchange)
            return
        request = exchange.request
        if request.body_size > client.options.max_payload:
            client.close(TRANSPORT_ERROR)
            answer_too_large(exchange)
            return
        self._post = exchange
        self._body = request.content.read()
        self._continue()

    @property
    def is_receiving(self) -> bool:
        """Whether packets of a POST have not been processed yet."""
        return self._post is not None

    def _continue(self) -> None:
        """Process packets of the POST, in this turn and in later ones."""
        if self._post is None:
            return  # the session has ended meanwhile
        client = self._client
        budget = sessions.end_of_turn.budget
        while self._post is not None and not self.pauses:
            if not self._packets:
                if self._body is None:
                    self._complete_post()
                    return
                self._decode_more(self._body)
                continue
            packet = self._packets.popleft()
            if self._take is None or self._take():
                client.guarded(client.received, *packet)
            if budget.is_spent():
                budget.later(self._continue)
                return

    def _decode_more(self, body: bytes) -> None:
        """Decode the next packets; if they are invalid, that ends the session."""
        packets = body.split(SEPARATOR, DECODED)
        self._body = packets.pop() if len(packets) > DECODED else None
        try:
            self._packets.extend(decode_payload(SEPARATOR.join(packets), DECODED))
        except WireError:
            self._client.perform(self._client.session.invalid())

    def _complete_post(self) -> None:
        exchange, self._post = self._post, None
        client = self._client
        client.perform(client.session.post_ended())
        if client.connection is not None:
            client.connection.resume(POST)
        if exchange is not None:
            answer_ok(exchange)

    def close(self, code: int, reason: str) -> None:
        """End the session, as ``ServerConnection.close`` does."""
        self._client.close_with(code, reason)

    def resume(self, why: str) -> None:
        """Remove a reason for a pause."""
        self.pauses.discard(why)
        if self._post is not None and not self.pauses:
            sessions.end_of_turn.budget.later(self._continue)

    # The end.

    def lend_seat(self) -> None:
        """The WebSocket of an upgrade counts for the user in place of the session."""
        if self.seat is not None:
            self.seat.lend_user()

    def count_seat_again(self) -> None:
        """The session stays on polling, or has ended."""
        if self.seat is not None:
            self.seat.count_user_again()

    def leave_seat(self) -> None:
        """The session does not use this transport any more. Idempotent."""
        seat, self.seat = self.seat, None
        if seat is not None:
            seat.leave()

    def ended(self, reason: str, unsent: Sequence[tuple[bytes, bool]]) -> None:
        """The session has ended: keep the last packets for the next GET, and answer a POST.

        Args:
            reason: The reason of the end.
            unsent: The last packets.
        """
        if unsent:
            # Alone, as the reference server sends it. socket.io-client closes before it handles
            # a DISCONNECT of the same payload, and its reason would be "transport close".
            *packets, close = unsent
            parts = [packets, [close]] if packets else [[close]]
            sessions.leave_farewell(self._client.sid, [encode_payload(part) for part in parts])
        sessions.dropped["disconnected"] += len(self.take_queue())
        self._packets.clear()
        self._body = None
        exchange, self._post = self._post, None
        if exchange is not None:
            (answer_bad_request if reason == PARSE_ERROR else answer_ok)(exchange)
        self.leave_seat()
        for call in self.at_end:
            call()
        self.at_end.clear()
        # The client keeps this, for its address. Both would wait for a garbage collection.
        self._take = None
        del self._client


class _Limit:
    """What the limit of messages (handshake/limits.py) needs of a client over polling."""

    count_frame: Callable[[], bool]

    def __init__(self, client: Client) -> None:
        self.close = client.close_with


def _limit(rate: MessageRate, client: Client) -> Callable[[], bool]:
    """Counts a packet of the client; returns False if it was one too many, and closes it."""
    limit: Any = _Limit(client)
    rate.gate(limit)
    take: Callable[[], bool] = limit.count_frame
    return take
