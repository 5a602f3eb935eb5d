"""Options of connections: compression."""

import zlib

from twisted.trial.unittest import SynchronousTestCase

from tests.net.websocket.connections import Application
from tests.net.websocket.wire import frame, request, text


class CompressionTests(SynchronousTestCase):
    OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"

    def deflate(self, payload: bytes) -> bytes:
        compressor = zlib.compressobj(wbits=-15)
        return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def test_compression_is_off_by_default(self) -> None:
        application = Application()
        connection, transport = application.connect()
        connection.dataReceived(request(self.OFFER))
        application.clock.advance(0)
        self.assertNotIn(b"deflate", transport.written)

    def test_compressed_and_plain_messages_are_received(self) -> None:
        application = Application(compression=True)
        connection, _transport = application.open(self.OFFER)
        connection.dataReceived(frame(1, self.deflate(b"hello " * 30), rsv=4) + text("plain"))
        self.assertEqual(application.events, ["hello " * 30, "plain"])

    def test_windows_of_all_sizes_are_accepted(self) -> None:
        for bits in (b"8", b"9", b"15"):
            for name in (b"client", b"server"):
                offer = self.OFFER.partition(b";")[0] + b"; " + name + b"_max_window_bits=" + bits
                application = Application(compression=True)
                connection, transport = application.connect()
                connection.dataReceived(request(offer))
                application.clock.advance(0)
                self.assertIn(b"101 Switching Protocols", transport.written)
                self.assertIn(b"permessage-deflate", transport.written)
                compressor = zlib.compressobj(wbits=-9)
                data = compressor.compress(b"hello " * 30) + compressor.flush(zlib.Z_SYNC_FLUSH)
                connection.dataReceived(frame(1, data[:-4], rsv=4))
                self.assertEqual(application.events, ["open", "hello " * 30])

    def test_a_message_that_is_too_large_when_inflated_closes_with_1009(self) -> None:
        application = Application(compression=True, max_message_size=1000)
        connection, transport = application.open(self.OFFER)
        connection.dataReceived(frame(1, self.deflate(b"0" * 100_000), rsv=4) + text("late"))
        application.clock.advance(0)
        self.assertEqual(transport.written[2:4], (1009).to_bytes(2, "big"))
        self.assertEqual(application.events, [])
        for _ in range(20):  # later input must not be collected
            if not transport.lost:
                connection.dataReceived(b"x" * 10_000)
        self.assertTrue(transport.lost)
