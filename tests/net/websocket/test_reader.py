"""Messages, exceptions of callbacks, slow frames, pauses. Parsing: test_autobahn_property.py."""

import zlib

from twisted.trial.unittest import SynchronousTestCase

from cluster.net.websocket.reader import QUANTUM
from tests.net.websocket.connections import Application
from tests.net.websocket.wire import binary, close, frame, server_close, text


class ReceiveTests(SynchronousTestCase):
    def test_messages_are_counted(self) -> None:
        application = Application()
        connection, _transport = application.open()
        connection.dataReceived(text("a") + binary(b"b") + text("c" * 200) + frame(9))
        connection.dataReceived(frame(1, b"d", fin=False) + frame(0, b"e"))
        self.assertEqual(application.events, ["a", b"b", "c" * 200, "de"])
        self.assertEqual(application.factory.messages_received, 4)

    def test_the_callback_may_be_replaced_within_a_read(self) -> None:
        application = Application()
        connection, _transport = application.open()
        second: list[bytes] = []

        def first(payload: bytes, is_binary: bool) -> None:
            connection.receive = lambda payload, is_binary: second.append(payload)

        connection.receive = first
        connection.dataReceived(text("a") + text("b"))
        self.assertEqual(second, [b"b"])

    def test_an_exception_of_the_callback_closes_this_connection_alone(self) -> None:
        for payload in ("small", "b" * 200):
            application = Application()
            connection, transport = application.open()
            other, _ = application.open()
            connection.receive = lambda payload, is_binary: {}["missing"]
            connection.dataReceived(text(payload) + text("late"))
            other.dataReceived(text("fine"))
            application.clock.advance(0)
            self.assertEqual(transport.written, server_close(1011, b"internal error"))
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
            self.assertEqual(application.events, ["fine"])
            connection.dataReceived(close(1011))
            application.lose(connection)
            self.assertEqual(application.events, ["fine", ("closed", 1011, True)])

    def test_invalid_input_is_not_logged_as_an_error(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.dataReceived(frame(1, b"\xff") + text("late"))
        application.clock.advance(0)
        self.assertEqual(transport.written[:4], b"\x88" + transport.written[1:2] + b"\x03\xef")
        self.assertEqual(application.events, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_empty_fragments_are_not_kept(self) -> None:
        application = Application()
        connection, _transport = application.open()
        connection.dataReceived(frame(1, b"", fin=False))
        for _ in range(3):
            connection.dataReceived(frame(0, b"", fin=False) * 100)
        self.assertEqual(connection.message_data, [])
        connection.dataReceived(frame(0, b"end"))
        self.assertEqual(application.events, ["end"])

    def test_other_connections_are_served_between_many_messages(self) -> None:
        application = Application()
        connection, transport = application.open()
        application.spend_turns()
        per_turn = -(-QUANTUM // 7)
        connection.dataReceived(text("x") * (2 * per_turn) + text("last"))
        self.assertEqual(application.events, ["x"] * per_turn)
        self.assertFalse(transport.reading)
        application.clock.advance(0)
        self.assertEqual(application.events, ["x"] * (2 * per_turn) + ["last"])
        self.assertTrue(transport.reading)

    def test_other_connections_are_served_between_many_slow_frames(self) -> None:
        application = Application()
        connection, transport = application.open()
        application.spend_turns()
        connection.dataReceived(frame(9) * 3 + text("last") + frame(9))
        self.assertEqual(application.events, [])
        self.assertEqual(len(connection.out), 1)
        application.clock.advance(0)
        self.assertEqual(application.events, ["last"])
        self.assertEqual(transport.written, b"\x8a\x00" * 4)
        self.assertTrue(transport.reading)

    def test_what_waits_is_processed_when_the_connection_is_lost(self) -> None:
        application = Application()
        connection, _transport = application.open()
        application.spend_turns()
        per_turn = -(-QUANTUM // 7)
        connection.dataReceived(text("x") * (3 * per_turn) + close(1001))
        application.lose(connection)
        self.assertEqual(application.events, ["x"] * per_turn)
        application.clock.advance(0)
        self.assertEqual(application.events, ["x"] * (3 * per_turn) + [("closed", 1001, True)])
        self.assertEqual(application.clock.getDelayedCalls(), [])

    def test_a_lost_connection_ends_at_once_if_the_application_pauses_it(self) -> None:
        application = Application()
        connection, _transport = application.open()
        application.spend_turns()
        connection.dataReceived(text("x") * QUANTUM + close(1001))
        application.lose(connection)
        connection.pause("full")
        received = application.events[:]
        application.clock.advance(0)
        connection.resume("full")
        application.clock.advance(0)
        self.assertEqual(application.events, [*received, ("closed", 1006, False)])

    def test_a_compressed_message_that_waited_for_a_turn_is_processed_in_it(self) -> None:
        application = Application(compression=True)
        connection, transport = application.open(b"Sec-WebSocket-Extensions: permessage-deflate")
        application.spend_turns()
        compressor = zlib.compressobj(wbits=-15)
        payload = compressor.compress(b"x" * 500) + compressor.flush(zlib.Z_SYNC_FLUSH)
        connection.dataReceived(frame(1, payload[:-4], rsv=4) * 2)
        self.assertEqual(application.events, [])
        application.clock.pump([0] * 2)
        self.assertEqual(application.events, ["x" * 500] * 2)
        self.assertTrue(transport.reading)

    def test_connections_take_turns_in_their_order(self) -> None:
        application = Application()
        connections = [application.open()[0] for _ in range(2)]
        application.spend_turns()
        turns: list[int] = []
        for number, connection in enumerate(connections):
            connection.receive = lambda payload, is_binary, number=number: turns.append(number)
            connection.dataReceived(text("x" * 125) * 6)
        application.clock.advance(0)
        self.assertEqual(turns, [0, 0, 1, 1] * 3)

    def test_control_frames_and_fragments_are_counted(self) -> None:
        application = Application()
        connection, _transport = application.open()
        count = 0

        def counted() -> None:
            nonlocal count
            count += 1

        connection.count_frame = counted
        stream = text("a") + frame(9, b"ping") + frame(10) + text("b" * 200)
        stream += frame(1, b"c", fin=False) + frame(0, b"", fin=False) + frame(9) + frame(0, b"d")
        for step in (len(stream), 1):
            count = 0
            for at in range(0, len(stream), step):
                connection.dataReceived(stream[at : at + step])
            self.assertEqual(count, 5)  # 3 control frames, 2 fragments
        connection.dataReceived(close(1000))
        self.assertEqual(count, 5)

    def test_counting_may_close_the_connection(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.count_frame = lambda: connection.close(1008)
        connection.dataReceived(frame(9) + text("late"))
        application.clock.advance(0)
        self.assertEqual(transport.written, server_close(1008))
        self.assertEqual(application.events, [])

    def test_bytes_that_were_read_may_wait_for_a_later_turn(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.receive_later(text("a"))
        self.assertEqual((application.events, transport.reading), ([], False))
        application.clock.advance(0)
        self.assertEqual((application.events, transport.reading), (["a"], True))

    def test_an_exception_in_autobahns_state_machine_closes_with_1011(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.onPing = lambda payload: 1 // 0
        connection.dataReceived(frame(9) + text("late"))
        application.clock.advance(0)
        self.assertEqual(transport.written, server_close(1011, b"internal error"))
        self.assertEqual(application.events, [])
        connection.onCloseFrame = lambda code, reason: {}["missing"]
        connection.dataReceived(close(1011))  # while closing, no further frame may be sent
        self.assertTrue(transport.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_data_frames_of_every_kind_count_as_a_pong(self) -> None:
        pieces = [
            text("small"),
            text("b" * 200),
            frame(1, b"a", fin=False) + frame(0, b"b"),
            text("before a ping") + frame(9),
        ]
        for piece in pieces:
            application = Application(ping_interval=20, ping_timeout=30)
            connection, transport = application.open()
            application.clock.advance(21)
            connection.dataReceived(piece)
            application.clock.advance(31)
            self.assertFalse(transport.lost)
            application.clock.advance(31)
            self.assertTrue(transport.aborted)


class PauseTests(SynchronousTestCase):
    def test_reasons_are_independent(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.pause("bus")
        connection.pause("bus")
        connection.pause("recv")
        self.assertFalse(transport.reading)
        connection.resume("bus")
        connection.resume("not a reason")
        self.assertFalse(transport.reading)
        connection.resume("recv")
        self.assertTrue(transport.reading)

    def test_a_pause_within_a_read_keeps_the_order(self) -> None:
        application = Application()
        connection, transport = application.open()

        def receive(payload: bytes, is_binary: bool) -> None:
            application.received(payload, is_binary)
            connection.pause("full")

        connection.receive = receive
        connection.dataReceived(text("a") + text("b" * 200) + frame(1, b"c", fin=False))
        connection.dataReceived(frame(0, b"d") + text("e"))
        self.assertEqual(application.events, ["a"])
        for expected in ("b" * 200, "cd", "e"):
            connection.resume("full")
            self.assertFalse(transport.reading)
            application.clock.advance(0)
            self.assertEqual(application.events[-1], expected)
        connection.resume("full")
        self.assertTrue(transport.reading)

    def test_closing_a_paused_connection_reads_the_answer(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.pause("full")
        connection.dataReceived(text("unread"))
        connection.close(1012)
        application.clock.advance(0)
        self.assertTrue(transport.reading)
        connection.dataReceived(close(1012))
        application.lose(connection)
        self.assertEqual(application.events, [("closed", 1012, True)])

    def test_a_pause_after_our_close_does_not_keep_the_answer_from_being_read(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.close(1012)
        connection.pause("bus")
        self.assertTrue(transport.reading)
        connection.dataReceived(close(1012))
        application.lose(connection)
        self.assertEqual(application.events, [("closed", 1012, True)])
