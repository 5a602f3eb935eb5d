"""What a client sends after our Close."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.net.websocket.closing_handshake import SKIPPED_FRAMES, SLICE
from tests.net.websocket.connections import Application
from tests.net.websocket.wire import binary, close, frame, server_close, text


class SkipTests(SynchronousTestCase):
    def test_what_waits_after_our_close_is_processed_when_the_connection_is_lost(self) -> None:
        application = Application()
        connection, _transport = application.open()
        connection.close(4000)
        application.spend_turns()
        connection.dataReceived(text("late") * SLICE + close(4000))
        application.lose(connection)
        application.clock.advance(0)
        self.assertEqual(application.events, [("closed", 4000, True)])
        self.assertEqual(application.clock.getDelayedCalls(), [])

    def test_other_connections_are_served_between_many_frames_after_a_close(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.close(1000)
        application.spend_turns()
        turns: list[int] = []
        take_turn = connection._replay
        connection._replay = lambda: (turns.append(len(connection._unread)), take_turn())
        frames = text("late") * 1000 + close(1000)
        connection.dataReceived(frames)
        self.assertEqual((transport.reading, transport.lost), (False, False))
        application.clock.advance(0)
        size = (SLICE // 10 + 1) * 10
        self.assertEqual(turns, [len(frames) - size, len(frames) - 2 * size])
        self.assertTrue(transport.lost)
        application.lose(connection)
        self.assertEqual(application.events, [("closed", 1000, True)])

    def test_frames_after_our_close_are_skipped_in_pieces_of_any_size(self) -> None:
        frames = (
            text("late") + frame(9) + binary(b"x" * 200) + frame(2, bytes(70_000)) + b"\xf3\x01?"
        )
        for step in (1, 7, 100, 1 << 20):
            application = Application()
            connection, transport = application.open()
            connection.dataReceived(frame(1, b"begun")[:8])
            connection.close(1000)
            stream = frame(1, b"begun")[8:] + frames + close(1000) + b"more"
            for at in range(0, len(stream), step):
                connection.dataReceived(stream[at : at + step])
            self.assertTrue(transport.lost)
            application.clock.advance(0)
            self.assertEqual(transport.written, server_close(1000))
            application.lose(connection)
            self.assertEqual(application.events, [("closed", 1000, True)])

    def test_frames_after_invalid_input_are_dropped(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.onPing = lambda payload: self.fail("parsed")
        connection.dataReceived(frame(1, b"x", rsv=4) + frame(9) * SKIPPED_FRAMES)
        self.assertFalse(transport.lost)
        connection.dataReceived(close(1002))
        application.lose(connection)
        self.assertEqual(application.events, [("closed", 1002, True)])

    def test_a_client_that_sends_many_frames_after_invalid_input_is_disconnected(self) -> None:
        application = Application()
        connection, transport = application.open()
        connection.dataReceived(frame(1, b"x", rsv=4) + frame(9) * (SKIPPED_FRAMES + 1))
        self.assertTrue(transport.lost)
