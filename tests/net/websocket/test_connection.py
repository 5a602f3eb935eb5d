"""What a lane adds to Autobahn; that it keeps Autobahn's meaning is test_lane_property's."""

import zlib
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.websocket import reader
from cluster.net.websocket.connection import ServerConnection
from cluster.net.websocket.frames import binary_frame, text_frame
from cluster.net.websocket.reader import SLOW_FRAMES
from tests.net.websocket.connections import Owner
from tests.net.websocket.wire import binary, close, frame, request, text


def close_frame(code: int, reason: bytes = b"") -> bytes:
    """A Close as the server writes it."""
    payload = code.to_bytes(2, "big") + reason
    return bytes([0x88, len(payload)]) + payload


class HandshakeTests(SynchronousTestCase):
    def test_header_names_only_the_server(self) -> None:
        owner = Owner()
        connection, transport = owner.connect()
        connection.dataReceived(request())
        owner.clock.advance(0)
        self.assertIn(b"\r\nServer: c10k\r\n", transport.written)
        self.assertNotIn(b"utobahn", transport.written)
        self.assertEqual(owner.events, ["open"])
        self.assertEqual(owner.factory.connections_opened, 1)
        self.assertEqual(owner.factory.connections, {connection})

    def test_frames_behind_the_request(self) -> None:
        owner = Owner()
        connection, _transport = owner.connect()
        connection.dataReceived(request() + text("a") + frame(1, b"b", fin=False))
        connection.dataReceived(frame(0, b"c"))
        self.assertEqual(owner.events, ["open", "a", "bc"])

    def test_pause_in_on_open_holds_for_frames_behind_the_request(self) -> None:
        owner = Owner()
        owner.factory.on_open = lambda connection: (
            owner.opened(connection),
            connection.pause("not yet"),
        )
        connection, _transport = owner.connect()
        connection.dataReceived(request() + text("a") + text("b"))
        self.assertEqual(owner.events, ["open"])
        connection.resume("not yet")
        owner.clock.advance(0)
        self.assertEqual(owner.events, ["open", "a", "b"])

    def refused(self, owner: Owner, raw: bytes) -> bytes:
        connection, transport = owner.connect()
        connection.dataReceived(raw)
        owner.clock.advance(0)
        self.assertTrue(transport.lost)
        owner.lose(connection)
        self.assertEqual(owner.events, [])
        return transport.written

    def test_deny_is_a_response_with_a_body(self) -> None:
        def deny(connection: ServerConnection, request: Any) -> None:
            raise ConnectionDeny(403, "not from\r\nSet-Cookie: here")

        owner = Owner()
        owner.factory.on_request = deny
        response = self.refused(owner, request())
        head, _, body = response.partition(b"\r\n\r\n")
        self.assertEqual(head.split(b"\r\n")[0], b"HTTP/1.1 403 Forbidden")
        self.assertNotIn(b"Cookie", head)
        self.assertIn(b"not from", body)
        self.assertEqual(owner.factory.handshakes_refused, {"403": 1})

    def test_exception_in_the_hook_is_logged_and_not_told(self) -> None:
        def fail(connection: ServerConnection, request: Any) -> None:
            raise KeyError("secret")

        owner = Owner()
        owner.factory.on_request = fail
        response = self.refused(owner, request())
        self.assertIn(b"HTTP/1.1 500 ", response)
        self.assertNotIn(b"secret", response)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_subprotocol_that_was_not_offered_is_our_bug(self) -> None:
        owner = Owner()
        owner.factory.on_request = lambda connection, request: "life.v2.bin"
        self.assertIn(b"HTTP/1.1 500 ", self.refused(owner, request()))
        self.assertEqual(len(self.flushLoggedErrors(Exception)), 1)

    def test_subprotocol(self) -> None:
        owner = Owner()
        owner.factory.on_request = lambda connection, request: request.protocols[1]
        connection, transport = owner.connect()
        connection.dataReceived(request(b"Sec-WebSocket-Protocol: a, b"))
        owner.clock.advance(0)
        self.assertIn(b"\r\nSec-WebSocket-Protocol: b\r\n", transport.written)

    def test_no_upgrade_is_426(self) -> None:
        response = self.refused(Owner(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertTrue(response.startswith(b"HTTP/1.1 426 Upgrade Required\r\n"), response)

    def test_endless_request_is_431(self) -> None:
        response = self.refused(Owner(), b"GET / HTTP/1.1\r\nX: " + b"x" * 20000)
        self.assertTrue(response.startswith(b"HTTP/1.1 431 "), response)

    def test_close_while_deciding(self) -> None:
        owner = Owner()
        owner.factory.on_request = lambda connection, request: connection.close(1001, "draining")
        self.assertTrue(self.refused(owner, request()).startswith(b"HTTP/1.1 503 "))

    def test_silent_client_is_dropped(self) -> None:
        owner = Owner(handshake_timeout=5)
        _connection, transport = owner.connect()
        owner.clock.advance(6)
        self.assertTrue(transport.aborted)

    def test_exception_in_on_open_closes_1011(self) -> None:
        owner = Owner()
        owner.factory.on_open = lambda connection: 1 // 0
        connection, transport = owner.connect()
        connection.dataReceived(request() + text("a"))
        owner.clock.advance(0)
        self.assertTrue(transport.written.endswith(close_frame(1011, b"internal error")))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        owner.lose(connection)
        self.assertEqual(owner.events, [("closed", 1006, False)])


class ReceiveTests(SynchronousTestCase):
    def test_counts_messages(self) -> None:
        owner = Owner()
        connection, _transport = owner.open()
        connection.dataReceived(text("a") + binary(b"b") + text("c" * 200) + frame(9))
        connection.dataReceived(frame(1, b"d", fin=False) + frame(0, b"e"))
        self.assertEqual(owner.events, ["a", b"b", "c" * 200, "de"])
        self.assertEqual(owner.factory.messages_received, 4)

    def test_callback_may_be_replaced_within_a_read(self) -> None:
        owner = Owner()
        connection, _transport = owner.open()
        second: list[bytes] = []

        def first(payload: bytes, is_binary: bool) -> None:
            connection.receive = lambda payload, is_binary: second.append(payload)

        connection.receive = first
        connection.dataReceived(text("a") + text("b"))
        self.assertEqual(second, [b"b"])

    def test_exception_in_the_callback_closes_only_this_one(self) -> None:
        for payload in ("small", "b" * 200):
            owner = Owner()
            connection, transport = owner.open()
            other, _ = owner.open()
            connection.receive = lambda payload, is_binary: {}["missing"]
            connection.dataReceived(text(payload) + text("late"))
            other.dataReceived(text("fine"))
            owner.clock.advance(0)
            self.assertEqual(transport.written, close_frame(1011, b"internal error"))
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
            self.assertEqual(owner.events, ["fine"])
            connection.dataReceived(close(1011))
            owner.lose(connection)
            self.assertEqual(owner.events, ["fine", ("closed", 1011, True)])

    def test_a_bad_client_is_no_error_of_ours(self) -> None:
        owner = Owner()
        connection, transport = owner.open()
        connection.dataReceived(frame(1, b"\xff") + text("late"))
        owner.clock.advance(0)
        self.assertEqual(transport.written[:4], b"\x88" + transport.written[1:2] + b"\x03\xef")
        self.assertEqual(owner.events, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_empty_fragments_take_no_memory(self) -> None:
        owner = Owner()
        connection, _transport = owner.open()
        connection.dataReceived(frame(1, b"", fin=False))
        for _ in range(3):
            connection.dataReceived(frame(0, b"", fin=False) * 100)
        self.assertEqual(connection.message_data, [])
        connection.dataReceived(frame(0, b"end"))
        self.assertEqual(owner.events, ["end"])

    def test_many_slow_frames_let_others_have_a_turn(self) -> None:
        owner = Owner()
        connection, transport = owner.open()
        connection.dataReceived(frame(9) * (SLOW_FRAMES * 2 + 50) + text("last") + frame(9))
        self.assertEqual(owner.events, [])
        self.assertEqual(len(connection.out), SLOW_FRAMES)
        for _ in range(3):
            owner.clock.advance(0)
        self.assertEqual(owner.events, ["last"])
        self.assertEqual(transport.written, b"\x8a\x00" * (SLOW_FRAMES * 2 + 51))
        self.assertTrue(transport.reading)

    def test_many_frames_behind_a_close_let_others_have_a_turn(self) -> None:
        self.patch(reader, "TURN_S", -1.0)
        owner = Owner()
        connection, transport = owner.open()
        connection.close(1000)
        turns: list[int] = []
        take_turn = connection._replay
        connection._replay = lambda: (turns.append(len(connection._unread)), take_turn())
        frames = text("late") * 1000 + close(1000)
        connection.dataReceived(frames)
        self.assertEqual((transport.reading, transport.lost), (False, False))
        owner.clock.advance(0)
        self.assertEqual(turns, [len(frames) - reader.SLICE, len(frames) - 2 * reader.SLICE])
        self.assertTrue(transport.lost)
        owner.lose(connection)
        self.assertEqual(owner.events, [("closed", 1000, True)])

    def test_exception_in_autobahns_machine_closes_1011(self) -> None:
        owner = Owner()
        connection, transport = owner.open()
        connection.onPing = lambda payload: 1 // 0
        connection.dataReceived(frame(9) + text("late"))
        owner.clock.advance(0)
        self.assertEqual(transport.written, close_frame(1011, b"internal error"))
        self.assertEqual(owner.events, [])
        connection.onPong = lambda payload: {}["missing"]
        connection.dataReceived(frame(10))  # while closing: nothing is left to be said
        self.assertTrue(transport.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_data_of_every_kind_is_as_good_as_a_pong(self) -> None:
        pieces = [
            text("small"),
            text("b" * 200),
            frame(1, b"a", fin=False) + frame(0, b"b"),
            text("before a ping") + frame(9),
        ]
        for piece in pieces:
            owner = Owner(ping_interval=20, ping_timeout=30)
            connection, transport = owner.open()
            owner.clock.advance(21)
            connection.dataReceived(piece)
            owner.clock.advance(31)
            self.assertFalse(transport.lost)
            owner.clock.advance(31)
            self.assertTrue(transport.aborted)


class PauseTests(SynchronousTestCase):
    def test_reasons_are_independent(self) -> None:
        owner = Owner()
        connection, transport = owner.open()
        connection.pause("bus")
        connection.pause("bus")
        connection.pause("recv")
        self.assertFalse(transport.reading)
        connection.resume("bus")
        connection.resume("never given")
        self.assertFalse(transport.reading)
        connection.resume("recv")
        self.assertTrue(transport.reading)

    def test_pause_within_a_read_keeps_the_rest_in_order(self) -> None:
        owner = Owner()
        connection, transport = owner.open()

        def receive(payload: bytes, is_binary: bool) -> None:
            owner.received(payload, is_binary)
            connection.pause("full")

        connection.receive = receive
        connection.dataReceived(text("a") + text("b" * 200) + frame(1, b"c", fin=False))
        connection.dataReceived(frame(0, b"d") + text("e"))
        self.assertEqual(owner.events, ["a"])
        for expected in ("b" * 200, "cd", "e"):
            connection.resume("full")
            self.assertFalse(transport.reading)
            owner.clock.advance(0)
            self.assertEqual(owner.events[-1], expected)
        connection.resume("full")
        self.assertTrue(transport.reading)

    def test_paused_client_is_not_dropped_for_a_missing_pong(self) -> None:
        owner = Owner(ping_interval=20, ping_timeout=30)
        connection, transport = owner.open()
        connection.pause("full")
        for _ in range(200):
            owner.clock.advance(1)
        self.assertFalse(transport.lost)
        connection.resume("full")
        for _ in range(60):
            owner.clock.advance(1)
        self.assertTrue(transport.aborted)

    def test_close_of_a_paused_client_reads_its_answer(self) -> None:
        owner = Owner()
        connection, transport = owner.open()
        connection.pause("full")
        connection.dataReceived(text("unread"))
        connection.close(1012)
        owner.clock.advance(0)
        self.assertTrue(transport.reading)
        connection.dataReceived(close(1012))
        owner.lose(connection)
        self.assertEqual(owner.events, [("closed", 1012, True)])


class CloseTests(SynchronousTestCase):
    def test_every_code_that_may_be_sent(self) -> None:
        for code in (1000, 1001, 1008, 1011, 1012, 1013, 3000, 4999):
            owner = Owner()
            connection, transport = owner.open()
            connection.send_frame(text_frame(b"first"))
            connection.close(code, "why")
            connection.close(1000)
            connection.send_frame(text_frame(b"late"))
            owner.clock.advance(0)
            self.assertEqual(transport.written, text_frame(b"first") + close_frame(code, b"why"))
            self.assertFalse(transport.lost)
            connection.dataReceived(close(code, b"why"))
            self.assertTrue(transport.lost)
            self.assertFalse(transport.aborted)
            owner.lose(connection)
            connection.close(1000)
            self.assertEqual(owner.events, [("closed", code, True)])

    def test_codes_that_must_not_be_sent(self) -> None:
        connection, _transport = Owner().open()
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
            self.assertRaises(ValueError, connection.close, code)

    def test_long_reason_is_cut_at_a_character(self) -> None:
        owner = Owner()
        connection, transport = owner.open()
        connection.close(4000, "é" * 100)
        owner.clock.advance(0)
        self.assertEqual(transport.written, close_frame(4000, "é".encode() * 61))

    def test_nothing_is_delivered_after_our_close(self) -> None:
        owner = Owner()
        connection, _transport = owner.open()

        def receive(payload: bytes, is_binary: bool) -> None:
            owner.received(payload, is_binary)
            connection.close(1000)

        connection.receive = receive
        connection.dataReceived(text("a") + text("b") + text("c" * 300))
        connection.dataReceived(text("d"))
        self.assertEqual(owner.events, ["a"])

    def test_peer_that_does_not_answer_is_aborted(self) -> None:
        owner = Owner(close_timeout=5)
        connection, transport = owner.open()
        connection.close(1000)
        owner.clock.advance(6)
        self.assertTrue(transport.aborted)
        owner.lose(connection)
        self.assertEqual(owner.events, [("closed", 1006, False)])

    def test_last_frames_leave_before_the_answer_to_a_close(self) -> None:
        owner = Owner()
        connection, transport = owner.open()
        connection.send_frame(text_frame(b"last"))
        connection.dataReceived(close(4001, b"bye"))
        self.assertEqual(transport.written, text_frame(b"last") + close_frame(4001, b"bye"))
        self.assertTrue(transport.lost)
        self.assertFalse(transport.aborted)
        owner.lose(connection)
        self.assertEqual(owner.events, [("closed", 4001, True)])
        self.assertEqual(owner.factory.connections, set())

    def test_closes_that_cross(self) -> None:
        owner = Owner()
        connection, transport = owner.open()
        connection.send_frame(text_frame(b"last"))
        connection.close(1001)
        connection.dataReceived(close(1000))
        self.assertEqual(transport.written, text_frame(b"last") + close_frame(1001))
        self.assertFalse(transport.aborted)

    def test_peer_that_takes_nothing_more_is_aborted(self) -> None:
        owner = Owner(close_timeout=5)
        connection, transport = owner.open()
        connection.dataReceived(close(1000))
        self.assertTrue(transport.lost)
        self.assertFalse(transport.aborted)
        owner.clock.advance(6)
        self.assertTrue(transport.aborted)

    def test_close_without_a_code_is_1005(self) -> None:
        owner = Owner()
        connection, _transport = owner.open()
        connection.dataReceived(close())
        owner.lose(connection)
        self.assertEqual(owner.events, [("closed", 1005, True)])

    def test_exception_in_on_close_is_logged(self) -> None:
        owner = Owner()
        connection, _transport = owner.open()
        owner.factory.on_close = lambda connection, code, was_clean: 1 // 0
        owner.lose(connection)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(owner.factory.connections, set())

    def test_paused_and_lost_before_its_rest_was_handled(self) -> None:
        owner = Owner()
        connection, _transport = owner.open()
        connection.pause("full")
        connection.dataReceived(text("never seen"))
        connection.resume("full")
        owner.lose(connection)
        owner.clock.advance(0)
        self.assertEqual(owner.events, [("closed", 1006, False)])

    def test_lost_connection_leaves_no_timer(self) -> None:
        for closing in (False, True):
            owner = Owner()
            connection, _transport = owner.open()
            if closing:
                connection.close(1000)
            owner.lose(connection)
            self.assertEqual(owner.factory.timers.pending, 0)
            self.assertEqual(owner.events, [("closed", 1006, False)])


class SlowReaderTests(SynchronousTestCase):
    def test_blocked_transport_holds_and_drains(self) -> None:
        owner = Owner()
        connection, transport = owner.open()
        drained: list[int] = []
        connection.on_drained = lambda: drained.append(1)
        transport.registered.pauseProducing()
        for _ in range(3):
            connection.send_frame(binary_frame(b"x" * 50))
            owner.clock.advance(0)
        self.assertEqual(transport.written, b"")
        self.assertEqual(connection.queued_bytes, 3 * 52)
        transport.registered.resumeProducing()
        self.assertEqual(transport.written, binary_frame(b"x" * 50) * 3)
        self.assertEqual((transport.writes, connection.queued_bytes, drained), (1, 0, [1]))
        self.assertEqual(owner.factory.messages_sent, 3)

    def test_above_the_mark_it_is_closed_and_its_frames_are_counted(self) -> None:
        owner = Owner(high_water=1000, close_timeout=5)
        connection, transport = owner.open()
        transport.registered.pauseProducing()
        for _ in range(11):
            connection.send_frame(binary_frame(b"x" * 98))
            owner.clock.advance(0)
        self.assertEqual(owner.factory.dropped, {"slow_consumer": 11})
        self.assertEqual(connection.queued_bytes, len(close_frame(1013, b"slow consumer")))
        connection.send_frame(binary_frame(b"late"))
        transport.registered.resumeProducing()
        self.assertEqual(transport.written, close_frame(1013, b"slow consumer"))
        owner.clock.advance(6)
        self.assertTrue(transport.aborted)

    def test_what_a_lost_client_did_not_get_is_counted(self) -> None:
        owner = Owner()
        connection, _transport = owner.open()
        connection.send_frame(text_frame(b"a"))
        owner.lose(connection)
        connection.send_frame(text_frame(b"b"))
        owner.clock.advance(0)
        self.assertEqual(owner.factory.dropped, {"disconnected": 1})


class CompressionTests(SynchronousTestCase):
    OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"

    def deflate(self, payload: bytes) -> bytes:
        compressor = zlib.compressobj(wbits=-15)
        return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def test_off_unless_asked_for(self) -> None:
        owner = Owner()
        connection, transport = owner.connect()
        connection.dataReceived(request(self.OFFER))
        owner.clock.advance(0)
        self.assertNotIn(b"deflate", transport.written)

    def test_takes_compressed_and_plain_messages(self) -> None:
        owner = Owner(compression=True)
        connection, _transport = owner.open(self.OFFER)
        connection.dataReceived(frame(1, self.deflate(b"hello " * 30), rsv=4) + text("plain"))
        self.assertEqual(owner.events, ["hello " * 30, "plain"])

    def test_bomb_is_closed_1009(self) -> None:
        owner = Owner(compression=True, max_message_size=1000)
        connection, transport = owner.open(self.OFFER)
        connection.dataReceived(frame(1, self.deflate(b"0" * 100_000), rsv=4) + text("late"))
        owner.clock.advance(0)
        self.assertEqual(transport.written[2:4], (1009).to_bytes(2, "big"))
        self.assertEqual(owner.events, [])
        for _ in range(20):  # and does not collect what follows
            if not transport.lost:
                connection.dataReceived(b"x" * 10_000)
        self.assertTrue(transport.lost)
