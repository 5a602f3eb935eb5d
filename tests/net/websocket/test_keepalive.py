"""Pings, and clients that do not answer them."""

from twisted.trial.unittest import SynchronousTestCase

from tests.net.websocket.connections import Application
from tests.net.websocket.wire import close, text


class PingTests(SynchronousTestCase):
    def test_no_pings(self) -> None:
        for before in (0, 25):  # none was sent, or one was not answered
            application = Application(ping_interval=20, ping_timeout=30)
            connection, transport = application.open()
            application.clock.advance(before)
            transport.written = b""
            connection.stop_pings()
            application.clock.advance(200)
            self.assertEqual((transport.written, transport.lost), (b"", False))
            connection.dataReceived(text("alive"))
            self.assertEqual(application.clock.getDelayedCalls(), [])

    def test_a_paused_client_is_not_disconnected_for_a_missing_pong(self) -> None:
        application = Application(ping_interval=20, ping_timeout=30)
        connection, transport = application.open()
        connection.pause("full")
        for _ in range(200):
            application.clock.advance(1)
        self.assertFalse(transport.lost)
        connection.resume("full")
        for _ in range(60):
            application.clock.advance(1)
        self.assertTrue(transport.aborted)

    def test_a_data_frame_counts_as_a_pong(self) -> None:
        application = Application(ping_interval=20, ping_timeout=30)
        connection, transport = application.open()
        for _ in range(10):
            for _ in range(25):
                application.clock.advance(1)
            connection.dataReceived(text("alive"))
        self.assertFalse(transport.lost)

    def test_a_closing_handshake_after_an_unanswered_ping_is_clean(self) -> None:
        application = Application(ping_interval=20, ping_timeout=30)
        connection, transport = application.open()
        application.clock.advance(25)
        connection.close(4000)
        connection.dataReceived(close(4000))
        self.assertTrue(transport.lost)
        application.clock.advance(35)  # the client reads its last frames slowly
        application.lose(connection)
        self.assertEqual(application.events, [("closed", 4000, True)])

    def test_after_our_close_the_client_has_the_whole_close_timeout(self) -> None:
        application = Application(ping_interval=20, ping_timeout=30, close_timeout=40)
        connection, transport = application.open()
        application.clock.advance(25)
        connection.close(4000)
        application.clock.advance(35)
        self.assertFalse(transport.lost)
        application.clock.advance(10)
        self.assertTrue(transport.aborted)

    def test_a_paused_client_to_which_sending_failed_is_disconnected(self) -> None:
        application = Application(ping_interval=20, ping_timeout=30)
        connection, transport = application.open()
        connection.broken(0)
        connection.pause("full")
        application.clock.advance(21)
        self.assertFalse(transport.lost)
        application.clock.advance(31)
        self.assertTrue(transport.aborted)
