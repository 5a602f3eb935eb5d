"""The start and the end of a connection."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.net.websocket.frames import text_frame
from tests.net.websocket.connections import Application
from tests.net.websocket.wire import close, request, server_close, text


class OpenTests(SynchronousTestCase):
    def test_an_exception_in_on_open_closes_with_1011(self) -> None:
        application = Application()
        application.factory.on_open = lambda connection: 1 // 0
        connection, transport = application.connect()
        connection.dataReceived(request() + text("a"))
        application.clock.advance(0)
        self.assertTrue(transport.written.endswith(server_close(1011, b"internal error")))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        application.lose(connection)
        self.assertEqual(application.events, [("closed", 1006, False)])


class CloseTests(SynchronousTestCase):
    def test_last_frames_of_the_application(self) -> None:
        application = Application()
        connection, transport = application.open()
        calls: list[tuple[int, str]] = []

        def closing(code: int, reason: str) -> None:
            calls.append((code, reason))
            connection.send_frame(text_frame(b"last"))

        connection.on_closing = closing
        connection.close(4000, "enough")
        connection.close(4001)
        application.clock.advance(0)
        self.assertEqual(calls, [(4000, "enough")])
        self.assertEqual(transport.written, text_frame(b"last") + server_close(4000, b"enough"))

    def test_a_client_that_closes_itself(self) -> None:
        application = Application()
        connection, _ = application.open()
        connection.on_closing = lambda code, reason: self.fail("it was not this end")
        connection.dataReceived(close(1000))
        connection.close(1001)

    def test_codes_that_may_be_sent(self) -> None:
        for code in (1000, 1001, 1008, 1011, 1012, 1013, 3000, 4999):
            application = Application()
            connection, transport = application.open()
            connection.send_frame(text_frame(b"first"))
            connection.close(code, "why")
            connection.close(1000)
            connection.send_frame(text_frame(b"late"))
            application.clock.advance(0)
            self.assertEqual(transport.written, text_frame(b"first") + server_close(code, b"why"))
            self.assertFalse(transport.lost)
            connection.dataReceived(close(code, b"why"))
            self.assertTrue(transport.lost)
            self.assertFalse(transport.aborted)
            application.lose(connection)
            connection.close(1000)
            self.assertEqual(application.events, [("closed", code, True)])

    def test_a_client_whose_messages_are_lost_must_connect_again(self) -> None:
        application = Application()
        connection, transport = application.open()
        lost: list[bytes] = []
        connection.on_frames_lost = lost.append
        connection.frames_lost(b"t")
        application.clock.advance(0)
        self.assertEqual((lost, transport.written), ([b"t"], b""))
        connection.on_frames_lost = None
        connection.frames_lost(b"t")
        application.clock.advance(0)
        self.assertEqual(transport.written, server_close(1012, b"messages were lost"))

    def test_codes_that_must_not_be_sent(self) -> None:
        connection, _transport = Application().open()
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
            self.assertRaises(ValueError, connection.close, code)

    def test_a_long_reason_is_cut_between_characters(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.close(4000, "é" * 100)
        application.clock.advance(0)
        self.assertEqual(transport.written, server_close(4000, "é".encode() * 61))

    def test_nothing_is_delivered_after_our_close(self) -> None:
        application = Application()
        connection, _transport = application.open()

        def receive(payload: bytes, is_binary: bool) -> None:
            application.received(payload, is_binary)
            connection.close(1000)

        connection.receive = receive
        connection.dataReceived(text("a") + text("b") + text("c" * 300))
        connection.dataReceived(text("d"))
        self.assertEqual(application.events, ["a"])

    def test_a_client_that_does_not_answer_is_aborted(self) -> None:
        application = Application(close_timeout=5)
        connection, transport = application.open()
        connection.close(1000)
        application.clock.advance(6)
        self.assertTrue(transport.aborted)
        application.lose(connection)
        self.assertEqual(application.events, [("closed", 1006, False)])

    def test_the_last_frames_are_sent_before_the_answer_to_a_close(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.send_frame(text_frame(b"last"))
        connection.dataReceived(close(4001, b"bye"))
        self.assertEqual(transport.written, text_frame(b"last") + server_close(4001, b"bye"))
        self.assertTrue(transport.lost)
        self.assertFalse(transport.aborted)
        application.lose(connection)
        self.assertEqual(application.events, [("closed", 4001, True)])
        self.assertEqual(application.factory.connections, set())

    def test_both_ends_may_close_at_the_same_time(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.send_frame(text_frame(b"last"))
        connection.close(1001)
        connection.dataReceived(close(1000))
        self.assertEqual(transport.written, text_frame(b"last") + server_close(1001))
        self.assertFalse(transport.aborted)

    def test_a_client_that_does_not_read_its_last_frames_is_aborted(self) -> None:
        application = Application(close_timeout=5)
        connection, transport = application.open()
        connection.dataReceived(close(1000))
        self.assertTrue(transport.lost)
        self.assertFalse(transport.aborted)
        application.clock.advance(6)
        self.assertTrue(transport.aborted)

    def test_a_close_without_a_code_is_1005(self) -> None:
        application = Application()
        connection, _transport = application.open()
        connection.dataReceived(close())
        application.lose(connection)
        self.assertEqual(application.events, [("closed", 1005, True)])

    def test_an_exception_in_on_close_is_logged(self) -> None:
        application = Application()
        connection, _transport = application.open()
        application.factory.on_close = lambda connection, code, was_clean: 1 // 0
        application.lose(connection)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(application.factory.connections, set())

    def test_unread_bytes_of_a_lost_connection_are_dropped_if_it_is_paused(self) -> None:
        application = Application()
        connection, _transport = application.open()
        connection.pause("full")
        connection.dataReceived(text("never seen"))
        application.lose(connection)
        self.assertEqual(application.events, [("closed", 1006, False)])
        connection.resume("full")
        application.clock.advance(0)
        self.assertEqual(application.events, [("closed", 1006, False)])

    def test_unread_bytes_of_a_lost_connection_are_processed_if_it_is_not_paused(self) -> None:
        application = Application()
        connection, _transport = application.open()
        connection.pause("full")
        connection.dataReceived(text("seen") + close(1001))
        connection.resume("full")
        application.lose(connection)
        application.clock.advance(0)
        self.assertEqual(application.events, ["seen", ("closed", 1001, True)])

    def test_a_lost_connection_leaves_no_timer(self) -> None:
        for closing in (False, True):
            application = Application()
            connection, _transport = application.open()
            if closing:
                connection.close(1000)
            application.lose(connection)
            self.assertEqual(application.factory.timers.pending, 0)
            self.assertEqual(application.events, [("closed", 1006, False)])
