"""A connection and unmodified Autobahn receive the same bytes in the same chunks, and must agree.

After our Close, unmodified Autobahn still delivers the messages that were in the same read; a
connection does not. The tests ignore that difference: they record messages of open connections
only. And Autobahn looks for further errors then, while a connection skips everything until the
client's Close; the tests compare no more after an error.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle
from types import SimpleNamespace
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket import protocol as autobahn_protocol
from autobahn.websocket.compress import PerMessageDeflateOfferAccept
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.timers import CoarseTimers
from cluster.net.websocket.autobahn_protocol import OPEN
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.connection_factory import ConnectionFactory
from tests import profiles  # noqa: F401  # loads the Hypothesis profile
from tests.fakes import RecordingTransport
from tests.net.websocket.wire import close, frame, request

EXAMPLES = max(300, settings().max_examples)

PING_INTERVAL = 20.0
PING_TIMEOUT = 30.0


class Side:
    """One of the two implementations: its messages, its output, and its end."""

    def __init__(self, protocol: Any) -> None:
        self.messages: list[tuple[bytes, bool]] = []
        self.ends: list[tuple[int, bool]] = []
        self.protocol = protocol
        self.transport = RecordingTransport()

    def receive(self, payload: bytes, is_binary: bool) -> None:
        self.messages.append((payload, is_binary))
        if payload == b"close":
            self.protocol.sendCloseFrame(code=4000, reasonUtf8=b"asked", isReply=False)
        elif payload == b"echo":
            self.protocol.sendFrame(opcode=2 if is_binary else 1, payload=payload)

    def output(self) -> tuple[Any, ...]:
        return self.messages, self.transport.written, self.protocol.localCloseCode

    def seen(self) -> tuple[Any, ...]:
        return (
            self.messages,
            self.transport.written,
            self.transport.lost,
            self.ends,
            self.protocol.localCloseCode,
            self.protocol.localCloseReason,
            self.protocol.state,
        )


@dataclass(frozen=True)
class Traffic:
    """What a client sends, and to which connection.

    Attributes:
        stream: Its bytes after the handshake's request.
        cuts: The sizes of the first chunks; the last chunk has the rest.
        times: Seconds that pass after each of the first chunks, the request included.
        limit: The maximum message size; 0 for none.
        jumps: Milliseconds between the connection's looks at the clock, repeatedly.
        is_pipelined: Whether the first chunk comes together with the request.
        is_lost: Whether the connection is lost in the turn of the last chunk.
    """

    stream: bytes
    cuts: Sequence[int] = ()
    times: Sequence[float] = ()
    limit: int = 0
    jumps: Sequence[float] = ()
    is_pipelined: bool = False
    is_lost: bool = False


def accept_deflate(offers: list[Any]) -> PerMessageDeflateOfferAccept:
    return PerMessageDeflateOfferAccept(offers[0], request_no_context_takeover=True)


class Stock(WebSocketServerProtocol):  # type: ignore[misc]  # its two bases differ on `peer`
    side: Side

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state == OPEN:
            self.side.receive(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str) -> None:
        self.side.ends.append((1005 if code is None else code, wasClean))


def jumping_clock(jumps: Sequence[float]) -> Callable[[], float]:
    """Return a clock that continues by the next of these milliseconds at each look, repeatedly."""
    times = accumulate(cycle(jumps or [0.0]))
    return lambda: next(times) / 1000


def make_connection(clock: Clock, limit: int, jumps: Sequence[float]) -> Side:
    end_of_turn = EndOfTurn(clock)
    end_of_turn.budget.now = jumping_clock(jumps)
    factory = ConnectionFactory(end_of_turn, None, max_message_size=limit, compression=True)
    connection = factory.buildProtocol(None)
    side = Side(connection)

    def opened(connection: ServerConnection) -> None:
        connection.receive = side.receive

    factory.on_open = opened
    factory.on_close = lambda connection, code, was_clean: side.ends.append((code, was_clean))
    return side


def make_stock(clock: Clock, limit: int) -> Side:
    factory: Any = WebSocketServerFactory(reactor=clock, server="")
    factory.protocol = Stock
    factory._batched_timer = CoarseTimers(clock)
    factory.setProtocolOptions(
        webStatus=False,
        failByDrop=False,
        echoCloseCodeReason=True,
        openHandshakeTimeout=10,
        closeHandshakeTimeout=5,
        maxMessagePayloadSize=limit,
        autoPingInterval=PING_INTERVAL,
        autoPingTimeout=PING_TIMEOUT,
        perMessageCompressionAccept=accept_deflate,
    )
    side = Side(factory.buildProtocol(None))
    side.protocol.side = side
    return side


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def valid_text(payload: str) -> bytes:
    return frame(1, payload.encode())


short_texts = st.one_of(
    st.text(alphabet="0123456789 ", max_size=20).map(valid_text),
    st.text(max_size=40).map(valid_text),
    st.sampled_from(["close", "echo", "", "x" * 125, "x" * 126, "é" * 62 + "x"]).map(valid_text),
)
payloads = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b"close", b"echo", b"\xc3", b"\xa9", b"\xed\xa0\x80", b"\xf4\x90"]),
    st.integers(120, 300).map(lambda size: b"y" * size),
    st.integers(120, 300).map(lambda size: b"\xc3\xa9" * size),
    st.sampled_from([65535, 65536, 70000]).map(lambda size: b"z" * size),
)
any_frames = st.builds(
    frame,
    st.sampled_from([0, 1, 1, 2, 2, 8, 9, 10, 3, 11]),
    payloads,
    fin=st.sampled_from([True, True, True, False]),
    rsv=st.sampled_from([0, 0, 0, 0, 0, 4, 1]),
    mask=st.sampled_from([b"\x11\x82\x33\xf4", b"\x00\x00\x00\x00", b"\xff\xfe\xfd\xfc", None]),
    form=st.sampled_from([0, 0, 0, 0, 126, 127]),
)
valid_frames = st.builds(frame, st.sampled_from([1, 2, 9, 10]), payloads)
fragmented = st.builds(
    lambda opcode, parts, between: b"".join(
        frame(0 if i else opcode, part, fin=i == len(parts) - 1) + (between if i == 0 else b"")
        for i, part in enumerate(parts)
    ),
    st.sampled_from([1, 2]),
    st.lists(payloads, min_size=1, max_size=4),
    st.sampled_from([b"", frame(9, b"in between"), close(1000)]),
)
closes = st.one_of(
    st.sampled_from([b"", b"\x03", b"\x03\xe8", b"\x03\xe9bye", b"\x0f\xa1caf\xc3\xa9"]),
    st.sampled_from([0, 999, 1004, 1005, 1006, 1015, 2999, 3000, 4999, 5000, 65535]).map(
        lambda code: code.to_bytes(2, "big")
    ),
    st.just(b"\x03\xe8\xff\xfe"),
    st.just(b"\x03\xe8" + b"r" * 123),
).map(lambda payload: frame(8, payload))
compressed = st.builds(
    lambda opcode, payload, cut: (
        frame(opcode, deflated(payload)[:cut], rsv=4, fin=False) + frame(0, deflated(payload)[cut:])
    ),
    st.sampled_from([1, 2]),
    st.one_of(payloads, st.text(max_size=200).map(str.encode)),
    st.integers(0, 20),
)
huge = st.sampled_from([b"\x82\xff" + b"\x80" + bytes(7), b"\x81\xff" + b"\x7f" + b"\xff" * 7])
pieces = st.one_of(short_texts, short_texts, valid_frames, fragmented, any_frames, closes, huge)

streams = st.lists(pieces, max_size=8).map(b"".join)
cuts = st.lists(st.one_of(st.integers(1, 12), st.integers(1, 400)), max_size=12)
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate"

times = st.lists(st.sampled_from([0.0, 0.0, 0.0, 4.0, 25.0, 35.0]), max_size=12)
limits = st.sampled_from([0, 5, 100, 125, 126, 200, 1 << 20])
jumps = st.lists(st.sampled_from([0.0, 0.4, 1.1, 6.0]), max_size=8)
random_bytes = st.binary(max_size=40)


class FastPathAgainstAutobahnTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Autobahn puts the time into its pings; both sides must read the same clock.
        self.clock = Clock()
        fake = SimpleNamespace(time_ns=lambda: int(self.clock.seconds() * 10**9))
        self.patch(autobahn_protocol, "time", fake)

    @settings(max_examples=EXAMPLES)
    @given(
        st.builds(
            Traffic, streams, cuts, times, limits, jumps, st.booleans(), is_lost=st.booleans()
        )
    )
    @example(Traffic(b"\x81\x80abcd" * 3, [1] * 12))
    @example(Traffic(frame(1, b"caf\xc3", fin=False) + frame(0, b"\xa9"), [3, 3]))
    @example(Traffic(valid_text("close") + valid_text("late"), is_pipelined=True))
    @example(Traffic(frame(8, b"\x00\x00")))
    @example(Traffic(frame(1, b"x" * 6), limit=5))
    @example(Traffic(frame(1, b"a") + frame(10, b"b"), [7], [0.0, 25.0, 25.0]))
    @example(Traffic(frame(9, b"x" * 126) + valid_text("a"), [1] * 3))
    @example(Traffic(b"\x91"))
    @example(Traffic(frame(1, b"a", fin=False) + valid_text("b"), [7]))
    @example(Traffic(valid_text("a"), times=[25.0, 35.0]))
    @example(Traffic(frame(1, b"a", fin=False) + frame(0, b"b"), [7], [25.0, 0.0, 35.0]))
    def test_messages_output_and_end_are_the_same(self, traffic: Traffic) -> None:
        self.compare(traffic)

    @settings(max_examples=EXAMPLES)
    @given(
        st.builds(
            Traffic,
            st.lists(st.one_of(pieces, compressed), max_size=6).map(b"".join),
            cuts,
            limit=limits,
            jumps=jumps,
        )
    )
    @example(Traffic(frame(1, deflated(b"0" * 5000), rsv=4) + valid_text("late"), limit=200))
    @example(Traffic(frame(1, deflated(b"0" * 500), rsv=4) + frame(2, b"z" * 70000), limit=200))
    def test_all_is_the_same_with_compression(self, traffic: Traffic) -> None:
        self.compare(traffic, OFFER)

    @settings(max_examples=EXAMPLES)
    @given(
        st.builds(
            Traffic,
            st.lists(st.one_of(short_texts, random_bytes), max_size=6).map(b"".join),
            cuts,
            limit=limits,
            jumps=jumps,
        )
    )
    def test_all_is_the_same_for_random_bytes(self, traffic: Traffic) -> None:
        self.compare(traffic)

    def compare(self, traffic: Traffic, *headers: bytes) -> None:
        stream, cuts, times = traffic.stream, traffic.cuts, traffic.times
        clock = self.clock = Clock()
        sides = [
            make_connection(clock, traffic.limit, traffic.jumps),
            make_stock(clock, traffic.limit),
        ]
        for side in sides:
            side.protocol.makeConnection(side.transport)
        first = cuts[0] if traffic.is_pipelined and cuts else 0
        chunks = [request(*headers) + stream[:first]]
        stream = stream[first:]
        for cut in cuts[1:] if first else cuts:
            chunks.append(stream[:cut])
            stream = stream[cut:]
        chunks.append(stream)
        for number, chunk in enumerate(chunks):
            for side in sides:
                if chunk and not side.transport.lost:
                    side.protocol.dataReceived(chunk)
            if traffic.is_lost and number == len(chunks) - 1:
                break  # the connection is lost in the turn of the last bytes
            clock.advance(0)
            for side in sides:
                if side.transport.lost and not side.ends:
                    side.protocol.connectionLost(Failure(ConnectionDone()))
            if number < len(times) and times[number]:
                clock.advance(times[number])
            clock.advance(0)
            if sides[1].protocol.failedByMe:
                self.assertEqual(sides[0].output(), sides[1].output())
                return
            self.assertEqual(sides[0].seen(), sides[1].seen())
        for side in sides:
            if not side.ends:
                side.protocol.connectionLost(Failure(ConnectionDone()))
        clock.advance(0)
        if not traffic.is_lost:
            self.assertEqual(sides[0].seen(), sides[1].seen())
        self.assertEqual(sides[0].messages, sides[1].messages)
        if not sides[1].protocol.failedByMe:
            self.assertEqual(sides[0].ends, sides[1].ends)
        self.assertEqual(len(sides[0].ends), 1)
        clock.advance(60)
        self.assertEqual([call for call in clock.getDelayedCalls() if call.active()], [])
