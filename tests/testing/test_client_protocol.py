"""The client's half of WebSocket: complete input, input in chunks, and invalid input."""

from twisted.trial.unittest import TestCase

from cluster.testing.client_protocol import (
    BINARY,
    CLOSE,
    TEXT,
    Answer,
    Decoder,
    Frame,
    frame,
    request,
)

OPEN = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-One:  two \r\n\r\n"


class RequestTests(TestCase):
    def test_request(self) -> None:
        text = request("/a?b=1", "here", [("Origin", "http://x")], ["one", "two"]).decode()
        first, *lines = text.split("\r\n")
        self.assertEqual("GET /a?b=1 HTTP/1.1", first)
        for line in ("Host: here", "Sec-WebSocket-Protocol: one, two", "Origin: http://x"):
            self.assertIn(line, lines)
        self.assertTrue(text.endswith("\r\n\r\n"))

    def test_frames_of_each_length(self) -> None:
        self.assertEqual(b"\x81\x82\0\0\0\0hi", frame(TEXT, b"hi"))
        self.assertEqual(b"\x82\xfe\x01\x00\0\0\0\0", frame(BINARY, b"x" * 256)[:8])
        long = frame(BINARY, b"x" * 70_000)
        self.assertEqual(b"\x82\xff" + (70_000).to_bytes(8, "big"), long[:10])
        self.assertEqual(70_000 + 14, len(long))


class DecoderTests(TestCase):
    def test_chunks_of_any_size(self) -> None:
        big = b"y" * 300
        data = OPEN + b"\x81\x02hi" + b"\x82\x7e\x01\x2c" + big + b"\x88\x02\x03\xe8"
        expected = [
            Answer(101, (("Upgrade", "websocket"), ("X-One", "two"))),
            Frame(TEXT, b"hi"),
            Frame(BINARY, big),
            Frame(CLOSE, b"\x03\xe8"),
        ]
        for size in (1, 2, 3, 7, 100, len(data)):
            reader = Decoder()
            found = []
            for start in range(0, len(data), size):
                found += reader.feed(data[start : start + size])
            self.assertEqual(expected, found, size)

    def test_very_long_frame(self) -> None:
        payload = b"z" * 70_000
        data = OPEN + b"\x82\x7f" + len(payload).to_bytes(8, "big") + payload
        self.assertEqual(Frame(BINARY, payload), list(Decoder().feed(data))[1])

    def test_refusal_waits_for_its_body(self) -> None:
        reader = Decoder()
        head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\n"
        self.assertEqual([], list(reader.feed(head + b"no")))
        (answer,) = reader.feed(b"pe")
        self.assertEqual((403, b"nope"), (answer.status, answer.body))
        self.assertEqual("4", answer.header("content-length"))
        self.assertIsNone(answer.header("location"))

    def test_refusal_without_length_ends_with_the_connection(self) -> None:
        reader = Decoder()
        self.assertEqual([], list(reader.feed(b"HTTP/1.0 500 Oops\r\n\r\nbro")))
        (answer,) = reader.feed(b"ken", ended=True)
        self.assertEqual((500, b"broken"), (answer.status, answer.body))

    def test_frames_that_no_server_may_send(self) -> None:
        for bad in (b"\x01\x02hi", b"\xc1\x02hi", b"\x81\x82\0\0\0\0hi"):
            with self.assertRaises(ValueError):
                list(Decoder().feed(OPEN + bad))
