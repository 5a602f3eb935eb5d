"""Tests of cluster.node.responses.wsgi: what applications return, and what clients receive."""

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.http import FileResponse, HttpResponse, HttpResponseBase, StreamingHttpResponse
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure

from tests.django.site import load_site
from tests.node.test_http import WebTestCase

load_site()


class Closing(list[bytes]):
    """The pieces of a body; ``closed`` counts calls."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


class ApplicationTestCase(WebTestCase):
    calls = 0

    def setUp(self) -> None:
        super().setUp()
        call = self.reactor.callFromThread

        def counted(*given: Any) -> None:
            self.calls += 1
            call(*given)

        self.reactor.callFromThread = counted  # type: ignore[method-assign]

    def serve(
        self,
        body: Iterable[bytes],
        *headers: tuple[str, str],
        status: str = "200 OK",
        method: bytes = b"GET",
        version: bytes = b"1.1",
    ) -> tuple[bytes, bytes]:
        """One request to an application that returns ``body``; returns header and body."""

        def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            self.environ = environ
            start_response(status, list(headers))
            return body

        return self.ask_application(application, method, version)

    def django(self, response: HttpResponseBase, method: bytes = b"GET") -> tuple[bytes, bytes]:
        """The same, as Django's handler returns a response."""

        def application(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", list(response.items()))
            if isinstance(response, FileResponse) and response.file_to_stream is not None:
                response.file_to_stream.close = response.close
                return environ["wsgi.file_wrapper"](response.file_to_stream, response.block_size)
            return response

        return self.ask_application(application, method)

    def ask_application(
        self, application: Any, method: bytes = b"GET", version: bytes = b"1.1"
    ) -> tuple[bytes, bytes]:
        self.patch(self.site.views, "_application", application)
        answer = self.ask(method + b" /a HTTP/" + version + b"\r\nHost: a\r\n\r\n")
        self.assertEqual(self.site.views.active, 0)
        header, _, body = answer.partition(b"\r\n\r\n")
        return header + b"\r\n", body


class CompleteTests(ApplicationTestCase):
    def test_an_ordinary_response_takes_one_call(self) -> None:
        header, body = self.django(HttpResponse(b"hello"))
        self.assertEqual(self.calls, 1)
        self.assertTrue(header.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"\r\nContent-Length: 5\r\n", header)
        self.assertIn(b"\r\nDate: ", header)
        self.assertEqual(body, b"hello")

    def test_a_list_of_one_piece(self) -> None:
        header, body = self.serve([b"hello"], ("Content-Type", "text/plain"))
        self.assertIn(b"\r\nContent-Length: 5\r\n", header)
        self.assertEqual((body, self.calls), (b"hello", 1))

    def test_an_empty_response(self) -> None:
        header, body = self.serve([])
        self.assertIn(b"\r\nContent-Length: 0\r\n", header)
        self.assertEqual(body, b"")

    def test_responses_without_a_body(self) -> None:
        for status in ("204 No Content", "304 Not Modified"):
            header, body = self.serve([b"wrong"], status=status)
            self.assertEqual(body, b"")
            self.assertNotIn(b"Content-Length", header)
            self.assertFalse(self.transport.disconnecting)

    def test_head(self) -> None:
        for headers in ([], [("Content-Length", "5")]):
            header, body = self.serve([b"hello"], *headers, method=b"HEAD")
            self.assertEqual((body, header.count(b"Content-Length: 5\r\n")), (b"", 1))
        self.assertNotIn(b"Content-Length", self.serve([b""], method=b"HEAD")[0])

    def test_a_wrong_length_ends_the_connection(self) -> None:
        for length in ("4", "6"):
            self.serve([b"hello"], ("Content-Length", length))
            self.assertTrue(self.transport.disconnecting)

    def test_headers_that_belong_to_the_server(self) -> None:
        header, _ = self.serve(
            [b"hello"],
            ("Server", "Mine/1.0"),
            ("Date", "yesterday"),
            ("Transfer-Encoding", "chunked"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2\r\nX-Forged: 1"),
        )
        self.assertEqual(header.count(b"Date: "), 1)
        for part in (b"Mine", b"yesterday", b"chunked", b"\r\nX-Forged"):
            self.assertNotIn(part, header)
        self.assertEqual(header.count(b"Set-Cookie"), 2)

    def test_close_is_called_once(self) -> None:
        body = Closing([b"a"])
        self.serve(body)
        self.serve(body, status="204 No Content")
        self.assertEqual(body.closed, 2)

    def test_an_old_client_gets_its_version(self) -> None:
        header, _ = self.serve([b"hello"], version=b"1.0")
        self.assertTrue(header.startswith(b"HTTP/1.0 200 OK\r\n"))
        self.assertIn(b"\r\nConnection: close\r\n", header)
        self.assertTrue(self.transport.disconnecting)

    def test_an_application_that_does_not_start_its_response(self) -> None:
        header, _ = self.ask_application(lambda environ, start_response: [b"a"])
        self.assertIn(b" 500 ", header)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_the_errors_of_an_application_go_to_the_log(self) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            environ["wsgi.errors"].writelines(["odd {thing}\n", "twice\n"])
            start_response("200 OK", [])
            return []

        with capturedLogs() as logged:
            self.ask_application(application)
        texts = [(event["log_level"], formatEvent(event)) for event in logged]
        self.assertEqual(texts, [(LogLevel.error, "odd {thing}\ntwice")])

    def test_variables(self) -> None:
        self.patch(self.site.views, "_application", self.application)
        self.ask(
            b"POST /caf%C3%A9/a%2Fb?q=%20 HTTP/1.1\r\nHost: site.example:8000\r\nX-Two: 1\r\n"
            b"X-Two: 2\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody"
        )
        expected = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/caf\xc3\xa9/a/b",
            "SCRIPT_NAME": "",
            "QUERY_STRING": "q=%20",
            "CONTENT_TYPE": "text/plain",
            "CONTENT_LENGTH": "4",
            "SERVER_NAME": "site.example",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "site.example:8000",
            "HTTP_X_TWO": "1,2",
            "wsgi.url_scheme": "http",
        }
        self.assertEqual({name: self.environ[name] for name in expected}, expected)
        self.assertEqual(self.body, b"body")


class PiecesTests(ApplicationTestCase):
    def test_pieces_are_chunks(self) -> None:
        header, body = self.serve(iter([b"one", b"", b"three"]))
        self.assertIn(b"\r\nTransfer-Encoding: chunked\r\n", header)
        self.assertEqual(body, b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n")
        self.assertFalse(self.transport.disconnecting)

    def test_pieces_of_a_known_length(self) -> None:
        header, body = self.serve(iter([b"one", b"two"]), ("Content-Length", "6"))
        self.assertNotIn(b"chunked", header)
        self.assertEqual(body, b"onetwo")

    def test_each_piece_is_sent_before_the_next_is_made(self) -> None:
        seen: list[bool] = []

        def pieces() -> Iterator[bytes]:
            yield b"first"
            seen.append(b"first" in self.transport.value())
            yield b"second"

        def connected(*given: Any) -> Any:
            self.transport = transport()
            return self.transport

        transport = self.connect
        self.patch(self, "connect", connected)
        self.serve(pieces())
        self.assertEqual(seen, [True])

    def test_the_function_of_start_response(self) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            write = start_response("200 OK", [("Content-Length", "6")])
            write(b"one")
            return [b"two"]

        self.assertEqual(self.ask_application(application)[1], b"onetwo")

    def test_an_error_after_the_start_ends_the_connection(self) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"first"
            raise KeyError("secret")

        _, body = self.serve(pieces())
        self.assertEqual(body, b"5\r\nfirst\r\n")
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_head_of_a_stream(self) -> None:
        _, body = self.serve(iter([b"one", b"two"]), method=b"HEAD")
        self.assertEqual(body, b"")

    def returning(self, make: Callable[[], Any]) -> Any:
        def application(environ: dict[str, Any], start_response: Any) -> Any:
            response = make()
            start_response("200 OK", list(response.items()))
            return response

        return application

    def test_the_client_leaves(self) -> None:
        made: list[int] = []

        def pieces() -> Iterator[bytes]:
            try:
                for number in range(100):
                    made.append(number)
                    yield b"piece"
                    if number == 2:
                        self.client.protocol.connectionLost(Failure(ConnectionError()))
            finally:
                made.append(-1)

        self.patch(
            self.site.views, "_application", self.returning(lambda: StreamingHttpResponse(pieces()))
        )
        self.client = self.connect()
        self.client.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.settle()
        self.assertEqual(made, [0, 1, 2, 3, -1])


class FileTests(ApplicationTestCase):
    CONTENT = bytes(range(256)) * 1000

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())
        self.path.write_bytes(self.CONTENT)

    def test_a_file_needs_one_call_and_is_closed(self) -> None:
        file = self.path.open("rb")
        header, body = self.django(FileResponse(file))
        self.assertIn(b"\r\nContent-Length: %d\r\n" % len(self.CONTENT), header)
        self.assertTrue(body == self.CONTENT)
        self.assertEqual(self.calls, 1)
        self.assertTrue(file.closed)

    def test_the_rest_of_a_file(self) -> None:
        with self.path.open("rb") as file:
            file.read(1000)
            _, body = self.serve_wrapped(file)
        self.assertTrue(body == self.CONTENT[1000:])

    def serve_wrapped(self, file: Any, *headers: tuple[str, str]) -> tuple[bytes, bytes]:
        def application(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", list(headers))
            return environ["wsgi.file_wrapper"](file)

        return self.ask_application(application)

    def test_a_length_of_the_application(self) -> None:
        with self.path.open("rb") as file:
            _, body = self.serve_wrapped(file, ("Content-Length", "10"))
        self.assertEqual(body, self.CONTENT[:10])
        self.assertFalse(self.transport.disconnecting)

    def test_files_within_files(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"content")
            file.seek(0)
            _, body = self.django(FileResponse(File(file)))
            self.assertEqual((body, self.calls), (b"content", 1))

    def test_without_a_descriptor_the_answer_is_503(self) -> None:
        self.patch(self.site.sockets, "fits", lambda descriptor: False)
        header, body = self.django(FileResponse(self.path.open("rb")))
        self.assertTrue(header.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"), header)
        self.assertIn(b"\r\nRetry-After: 1\r\n", header)
        self.assertEqual(body, b"")

    def test_what_only_looks_like_a_file(self) -> None:
        _, body = self.django(FileResponse(io.BytesIO(b"content")))
        self.assertIn(b"content", body)

    def test_head(self) -> None:
        header, body = self.django(FileResponse(self.path.open("rb")), method=b"HEAD")
        self.assertIn(b"\r\nContent-Length: %d\r\n" % len(self.CONTENT), header)
        self.assertEqual(body, b"")

    def test_an_empty_file(self) -> None:
        self.path.write_bytes(b"")
        header, _ = self.django(FileResponse(self.path.open("rb")))
        self.assertIn(b"\r\nContent-Length: 0\r\n", header)
