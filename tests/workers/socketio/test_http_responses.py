"""HTTP responses, whole and in pieces."""

from twisted.trial.unittest import SynchronousTestCase

from workers.socketio.http_responses import MAX_HEADER, BadResponse, Response, Responses

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
)


class ResponsesTests(SynchronousTestCase):
    def test_pieces(self) -> None:
        for text, body in ((OK, b"ok"), (CHUNKED, b"hello")):
            for size in (1, 7, len(text)):
                responses, found = Responses(), []
                for at in range(0, len(text) * 2, size):
                    found += responses.feed((text * 2)[at : at + size])
                self.assertEqual(found, [Response(200, body, True)] * 2)

    def test_close(self) -> None:
        text = b"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual(Responses().feed(text), [Response(400, b"", False)])

    def test_what_is_no_response(self) -> None:
        for text in (
            b"hello\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"x" * (MAX_HEADER + 1),
        ):
            self.assertRaises(BadResponse, Responses().feed, text)
