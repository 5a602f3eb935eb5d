"""Which protocol is selected for a connection, and which bytes it receives."""

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.protocol_detection import MAX_HEADER, ProtocolDetectorFactory
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.connection_factory import ConnectionFactory
from tests.net.websocket.wire import request, text

HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Chosen(Protocol):
    """Records the bytes that it receives."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


class ProtocolDetectionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.chosen: list[Chosen] = []
        self.peers: list[Any] = []
        self.factory = ProtocolDetectorFactory(
            self.clock, self.build("websocket"), self.build("http"), handshake_timeout=10
        )
        self.factory.budget.begin(float("inf"))
        self.transport = StringTransport()
        self.detector: Any = self.connect(self.transport)

    def build(self, kind: str) -> Any:
        def build(peer: Any) -> Chosen:
            self.peers.append(peer)
            self.chosen.append(Chosen(kind))
            return self.chosen[-1]

        return build

    def connect(self, transport: Any) -> Any:
        detector = self.factory.buildProtocol(None)
        assert detector is not None
        transport.protocol = detector
        detector.makeConnection(transport)
        return detector

    def receive(self, data: bytes) -> None:
        """Call the transport's present protocol, as the reactor does."""
        self.transport.protocol.dataReceived(data)  # type: ignore[attr-defined]

    def assert_chosen(self, kind: str, received: bytes) -> None:
        self.assertEqual([(one.kind, one.received) for one in self.chosen], [(kind, received)])
        self.assertIs(self.transport.protocol, self.chosen[0])  # type: ignore[attr-defined]
        self.assertIs(self.chosen[0].transport, self.transport)
        self.assertEqual(self.peers, [self.transport.getPeer()])
        self.assertEqual(self.factory.waiting, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ChoiceTests(ProtocolDetectionTestCase):
    def test_an_upgrade_request_and_later_frames_go_to_websocket(self) -> None:
        data = request() + text("first") + text("second")[:3]
        self.receive(data)
        self.assert_chosen("websocket", data)
        self.receive(text("second")[3:])
        self.assertEqual(self.chosen[0].received, data + text("second")[3:])

    def test_a_request_waits_when_the_turn_is_too_long(self) -> None:
        for kind, data in (("websocket", request()), ("http", HTTP)):
            self.setUp()
            self.factory.budget.begin(0.0)
            self.receive(data[:50])
            self.receive(data[50:])
            self.receive(b"more")
            self.assertEqual((self.chosen, self.transport.producerState), ([], "paused"))
            self.clock.advance(0)
            self.assertEqual(self.transport.producerState, "producing")
            self.assertEqual([one.received for one in self.chosen], [data + b"more"])
            self.assertEqual((self.chosen[0].kind, self.factory.waiting), (kind, 0))

    def test_a_client_that_leaves_while_its_request_waits_is_forgotten(self) -> None:
        self.factory.budget.begin(0.0)
        self.receive(HTTP)
        self.detector.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(0)
        self.assertEqual((self.chosen, self.factory.waiting), ([], 0))

    def test_a_header_may_arrive_in_pieces(self) -> None:
        for byte in request():
            self.assertEqual(self.chosen, [])
            self.assertEqual(self.factory.waiting, 1)
            self.receive(bytes([byte]))
        self.assert_chosen("websocket", request())

    def test_an_http_request_with_its_body_goes_to_http(self) -> None:
        data = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
        self.receive(data)
        self.assert_chosen("http", data)

    def test_all_forms_of_the_upgrade_header_are_recognized(self) -> None:
        for line in (b"upgrade:websocket", b"UPGRADE: WebSocket", b"Upgrade \t:\tfoo, websocket"):
            self.setUp()
            data = b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n"
            self.receive(data)
            self.assert_chosen("websocket", data)

    def test_similar_headers_go_to_http(self) -> None:
        for header in (
            b"X-Note: upgrade: websocket",
            b"X-Upgrade: websocket",
            b"Upgrade-Insecure-Requests: 1\r\nX: websocket",
            b"Upgrade: h2c\r\nX: websocket",
            b"X: folded\r\n upgrade: websocket",
            b"Content-Length: 22\r\n\r\nx\r\nUpgrade: websocket\r\n",
        ):
            self.setUp()
            data = b"GET / HTTP/1.1\r\n" + header + b"\r\n\r\n"
            self.receive(data)
            self.assert_chosen("http", data)

    def test_an_upgrade_in_a_later_request_is_left_to_http(self) -> None:
        data = HTTP + request()
        self.receive(data)
        self.assert_chosen("http", data)

    def test_a_connection_without_a_protocol_is_aborted(self) -> None:
        self.factory.build_http = lambda peer: None
        self.receive(HTTP)
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(self.factory.waiting, 0)

    def test_the_selected_protocol_is_notified_of_the_lost_connection(self) -> None:
        self.receive(HTTP)
        self.transport.protocol.connectionLost(  # type: ignore[attr-defined]
            Failure(ConnectionDone())
        )
        self.assertTrue(self.chosen[0].lost)

    def test_inside_another_protocol(self) -> None:
        """As under TLS, where the transport is itself a protocol."""
        wrapper: Any = WrappingFactory(Factory.forProtocol(lambda: self.detector)).buildProtocol(
            self.transport.getPeer()
        )
        self.detector = self.factory.buildProtocol(None)
        wrapper.wrappedProtocol = self.detector
        wrapper.makeConnection(self.transport)
        wrapper.dataReceived(request())
        wrapper.dataReceived(text("a"))
        self.assertIs(wrapper.wrappedProtocol, self.chosen[0])
        self.assertIs(self.chosen[0].transport, wrapper)
        self.assertEqual(self.chosen[0].received, request() + text("a"))


class LimitTests(ProtocolDetectionTestCase):
    def test_a_client_that_is_too_slow_is_disconnected(self) -> None:
        for byte in request()[:9]:
            self.receive(bytes([byte]))
            self.clock.advance(1)
        self.assertFalse(self.transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(self.factory.too_slow, 1)
        self.detector.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.factory.waiting, 0)
        self.assertEqual(self.chosen, [])

    def test_a_silent_client_is_disconnected(self) -> None:
        self.clock.advance(10)
        self.assertTrue(self.transport.disconnected)

    def test_a_client_that_leaves_before_its_request(self) -> None:
        self.receive(b"GET")
        self.detector.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.factory.waiting, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.factory.too_slow, 0)

    def test_a_header_that_is_too_long_goes_to_http(self) -> None:
        start = request()[:-2] + b"X: "
        for _ in range(MAX_HEADER // 1024):
            self.receive(start)
            start = b"x" * 1024
        self.assertEqual(self.chosen, [])
        self.receive(start)
        self.assertEqual(self.chosen[0].kind, "http")
        self.assertEqual(self.factory.waiting, 0)

    def test_a_header_that_is_too_long_in_one_piece(self) -> None:
        data = request(b"X: " + b"x" * MAX_HEADER)
        self.receive(data)
        self.assert_chosen("http", data)

    def test_the_longest_header_that_is_allowed(self) -> None:
        data = request(b"X: " + b"x" * (MAX_HEADER - len(request()) - 1))
        self.assertEqual(data.find(b"\r\n\r\n"), MAX_HEADER)
        self.receive(data)
        self.assert_chosen("websocket", data)


class AnswerTests(SynchronousTestCase):
    """The answers of the real protocols."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connection_factory = ConnectionFactory(EndOfTurn(self.clock), None)
        self.got: list[str] = []
        self.connection_factory.on_open = self.opened
        site = Site(None, reactor=self.clock)  # type: ignore[no-untyped-call]
        self.factory = ProtocolDetectorFactory(
            self.clock,
            self.connection_factory.buildProtocol,
            site.buildProtocol,
            handshake_timeout=10,
        )

    def opened(self, connection: ServerConnection) -> None:
        connection.receive = lambda payload, is_binary: self.got.append(payload.decode())

    def answer(self, *pieces: bytes) -> StringTransport:
        transport: Any = StringTransport()
        transport.protocol = self.factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        for piece in pieces:
            transport.protocol.dataReceived(piece)
        self.clock.advance(0)
        return transport

    def test_the_handshake_and_the_frames_after_it(self) -> None:
        transport = self.answer(request() + text("a"), text("b"))
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 101 "), transport.value())
        self.assertEqual(self.got, ["a", "b"])

    def test_rubbish_is_answered_400(self) -> None:
        for rubbish in (
            b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x8a" * 30 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + (b"X: " + b"x" * 8000 + b"\r\n") * 3 + b"\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nbroken\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
        ):
            transport = self.answer(rubbish)
            self.assertTrue(
                transport.value().startswith(b"HTTP/1.1 400 "), (rubbish[:40], transport.value())
            )
            self.assertTrue(transport.disconnecting, rubbish[:40])

    def test_a_line_without_an_end_is_closed(self) -> None:
        for rubbish in (b"\0" * 20_000, b"GET / HTTP/1.1\r\nX: " + b"x" * 65536):
            self.assertTrue(self.answer(rubbish).disconnecting)

    def test_rubbish_without_an_end_is_disconnected(self) -> None:
        for rubbish in (b"SSH-2.0-OpenSSH_9.6\r\n", b"\x16\x03\x01\x02\x00\x01" + b"\x8a" * 500):
            transport = self.answer(rubbish)
            self.assertFalse(transport.disconnected)
            self.clock.advance(10)
            self.assertTrue(transport.disconnected)

    def test_invalid_upgrades_are_refused(self) -> None:
        good = request()
        for data, status in {
            good.replace(b"Version: 13", b"Version: 12"): b"400",
            good.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="): b"400",
            good.replace(b"Connection: Upgrade", b"Connection: close"): b"400",
            good.replace(b"Host: localhost:8000\r\n", b""): b"400",
            request(b"Host: other"): b"400",
            request(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="): b"400",
            good.replace(b"GET", b"POST", 1): b"405",
            good.replace(b"HTTP/1.1", b"HTTP/1.0", 1): b"505",
            good.replace(b"/ws", b"/ws#part", 1): b"400",
        }.items():
            transport = self.answer(data + text("never"))
            head = transport.value().partition(b"\r\n")[0]
            self.assertTrue(head.startswith(b"HTTP/1.1 " + status), (data, transport.value()))
            self.assertTrue(transport.disconnecting or transport.disconnected, data)
        self.assertEqual(self.got, [])
        self.assertEqual(self.flushLoggedErrors(), [])
