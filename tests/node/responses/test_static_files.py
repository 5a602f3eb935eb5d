"""Tests of cluster.node.responses.static_files: what the event loop answers, and what Django."""

import errno
import gzip
import os
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import TestCase, mock

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from whitenoise import WhiteNoise
from whitenoise.middleware import WhiteNoiseMiddleware

from cluster.node.responses.static_files import SMALL, StaticFiles
from tests.django.site import load_site
from tests.node.test_http import WebTestCase

load_site()

SECURITY = "django.middleware.security.SecurityMiddleware"
WHITENOISE = "whitenoise.middleware.WhiteNoiseMiddleware"
STYLE = b"body { color: black }\n" * 100
PICTURE = bytes(range(256)) * 1024


class OwnCall(WhiteNoiseMiddleware):
    """Could do anything."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("own")


def folder_of_files(folder: Path) -> Path:
    folder.mkdir()
    (folder / "style.css").write_bytes(STYLE)
    (folder / "style.css.gz").write_bytes(gzip.compress(STYLE))
    (folder / "picture.png").write_bytes(PICTURE)
    (folder / "two words.txt").write_bytes(b"two")
    (folder / "empty.txt").write_bytes(b"")
    return folder


class AnswerTests(WebTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = folder_of_files(Path(self.mktemp()))
        self.static_files = StaticFiles(
            WhiteNoise(WSGIHandler(), root=self.folder, prefix="/static/")
        )
        self.site.on_static_file = self.static_files.take

    def application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("404 Not Found", [("Content-Length", "0")])
        return []

    def get(self, name: str, *lines: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Ask on a connection of its own; returns status, headers and body."""
        head = [f"{method} /static/{name} HTTP/1.1", "Host: a", *lines, "", ""]
        answer = self.ask("\r\n".join(head).encode())
        header, _, body = answer.partition(b"\r\n\r\n")
        first, *fields = header.decode().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in fields), body

    def test_a_small_file_needs_no_thread(self) -> None:
        transport = self.connect()
        transport.protocol.dataReceived(b"GET /static/style.css?v=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(self.pool.waiting, [])
        answer = transport.value()
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)
        self.assertTrue(answer.endswith(b"\r\n\r\n" + STYLE))
        self.assertEqual(self.site.views.active, 0)

    def test_the_headers_are_those_of_whitenoise(self) -> None:
        status, headers, body = self.get("style.css")
        self.assertEqual((status, body), (200, STYLE))
        self.assertEqual(headers["Content-Type"], 'text/css; charset="utf-8"')
        self.assertEqual(headers["Cache-Control"], "max-age=60, public")
        self.assertEqual(headers["Vary"], "Accept-Encoding")
        self.assertEqual(headers["Content-Length"], str(len(STYLE)))
        self.assertTrue({"Date", "ETag", "Last-Modified"} <= headers.keys())
        self.assertNotIn("Connection", headers)

    def test_the_smallest_encoding_that_the_client_accepts(self) -> None:
        _, headers, body = self.get("style.css", "Accept-Encoding: br, gzip")
        self.assertEqual(headers["Content-Encoding"], "gzip")
        self.assertEqual(gzip.decompress(body), STYLE)

    def test_conditional_requests(self) -> None:
        _, headers, _ = self.get("style.css")
        for line in (
            f"If-None-Match: {headers['ETag']}",
            f"If-Modified-Since: {headers['Last-Modified']}",
        ):
            status, answer, body = self.get("style.css", line)
            self.assertEqual((status, body), (304, b""))
            self.assertEqual(answer["ETag"], headers["ETag"])
            self.assertNotIn("Content-Length", answer)

    def test_ranges(self) -> None:
        for name, content in (("style.css", STYLE), ("picture.png", PICTURE)):
            status, headers, body = self.get(name, f"Range: bytes=7-{len(content) - 2}")
            self.assertEqual((status, body), (206, content[7:-1]))
            self.assertEqual(headers["Content-Range"], f"bytes 7-{len(content) - 2}/{len(content)}")
            status, headers, body = self.get(name, "Range: bytes=9999999-")
            self.assertEqual((status, body), (416, b""))
            self.assertEqual(headers["Content-Length"], "0")

    def test_head(self) -> None:
        for name, content in (("style.css", STYLE), ("picture.png", PICTURE)):
            status, headers, body = self.get(name, method="HEAD")
            self.assertEqual((status, body), (200, b""))
            self.assertEqual(headers["Content-Length"], str(len(content)))

    def test_other_methods_are_not_allowed(self) -> None:
        status, headers, body = self.get("style.css", "Content-Length: 0", method="POST")
        self.assertEqual((status, body, headers["Allow"]), (405, b"", "GET, HEAD"))

    def test_a_large_file(self) -> None:
        self.assertGreater(len(PICTURE), SMALL)
        status, headers, body = self.get("picture.png")
        self.assertEqual((status, body), (200, PICTURE))
        self.assertEqual(headers["Content-Length"], str(len(PICTURE)))

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        names = ("picture.png", "style.css", "missing", "empty.txt")
        transport = self.connect()
        transport.protocol.dataReceived(
            b"".join(b"GET /static/%s HTTP/1.1\r\nHost: a\r\n\r\n" % n.encode() for n in names)
        )
        self.settle()
        answer = transport.value()
        places = [answer.index(part) for part in (PICTURE, STYLE, b"HTTP/1.1 404 ")]
        self.assertEqual(places, sorted(places))
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 3)

    def test_names_are_decoded(self) -> None:
        self.assertEqual(self.get("two%20words.txt")[2], b"two")
        self.assertEqual(self.get("%ff")[0], 404)
        self.assertEqual(self.get("../static/style.css")[0], 404)

    def test_the_last_answer_of_a_connection_announces_that(self) -> None:
        self.assertEqual(self.get("style.css", "Connection: close")[1]["Connection"], "close")
        self.assertTrue(self.transport.disconnecting)
        self.site.is_closing = True
        for name in ("style.css", "picture.png"):
            self.assertEqual(self.get(name)[1]["Connection"], "close")
            self.assertTrue(self.transport.disconnecting)

    def test_a_file_that_was_removed_is_left_to_django(self) -> None:
        (self.folder / "style.css").unlink()
        self.assertEqual(self.get("style.css")[0], 404)

    def test_a_small_file_that_has_changed_has_its_own_length(self) -> None:
        (self.folder / "style.css").write_bytes(b"shorter")
        _, headers, body = self.get("style.css")
        self.assertEqual((headers["Content-Length"], body), ("7", b"shorter"))

    def test_a_large_file_that_has_become_shorter_ends_the_connection(self) -> None:
        (self.folder / "picture.png").write_bytes(PICTURE[:1000])
        status, headers, body = self.get("picture.png")
        self.assertEqual((status, body), (200, PICTURE[:1000]))
        self.assertEqual(headers["Content-Length"], str(len(PICTURE)))
        self.assertTrue(self.transport.disconnected)

    def test_a_file_stays_open(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for name, content in (("style.css", STYLE), ("picture.png", PICTURE)):
            for _ in range(3):
                self.assertEqual(self.get(name)[2], content)
            (self.folder / name).unlink()
            self.assertEqual(self.get(name)[2], content)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 2)
        self.static_files.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_a_file_that_cannot_be_read_is_left_to_django(self) -> None:
        before = len(os.listdir("/proc/self/fd"))

        def fails(*args: object) -> bytes:
            raise OSError(errno.ESTALE, "stale")

        for name, status in (("style.css", 404), ("picture.png", 200)):
            with mock.patch("os.pread", fails):
                self.assertEqual(self.get(name)[0], status)
        self.assertTrue(self.transport.disconnected)  # the header of the large one was sent
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual(self.get("style.css")[2], STYLE)

    def test_headers_belong_to_the_url(self) -> None:
        def add_url(headers: Any, path: str, url: str) -> None:
            headers["X-Url"] = url

        whitenoise = WhiteNoise(WSGIHandler(), add_headers_function=add_url)
        for prefix in ("/static/", "/other/"):
            whitenoise.add_files(str(self.folder), prefix=prefix)
        self.site.on_static_file = StaticFiles(whitenoise).take
        for name in ("style.css", "../other/style.css"):
            path = ("/static/" + name).replace("/static/../", "/")
            answer = self.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            self.assertIn(f"\r\nX-Url: {path}\r\n".encode(), answer)

    def test_no_descriptor_is_left(self) -> None:
        self.patch(self.site.sockets, "fits", lambda descriptor: False)
        before = len(os.listdir("/proc/self/fd"))
        status, headers, _ = self.get("picture.png")
        self.assertEqual((status, headers["Retry-After"]), (503, "1"))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class IndexTests(TestCase):
    """Which sites have an index: none that Django could answer in another way."""

    def index_of(self, *middleware: str, **options: Any) -> StaticFiles:
        with override_settings(MIDDLEWARE=middleware, **options):
            return StaticFiles(WSGIHandler())

    def test_whitenoise_first_or_after_djangos_own_security(self) -> None:
        self.assertGreater(len(self.index_of(WHITENOISE)), 0)
        self.assertGreater(len(self.index_of(SECURITY, WHITENOISE)), 0)

    def test_what_django_answers(self) -> None:
        session = "django.contrib.sessions.middleware.SessionMiddleware"
        own = f"{__name__}.OwnCall"
        self.assertEqual(len(self.index_of(SECURITY)), 0)
        self.assertEqual(len(self.index_of(session, WHITENOISE)), 0)
        self.assertEqual(len(self.index_of(own)), 0)
        self.assertEqual(len(self.index_of(WHITENOISE, WHITENOISE_AUTOREFRESH=True)), 0)
        self.assertEqual(len(self.index_of(WHITENOISE, DEBUG=True)), 0)
        with override_settings(MIDDLEWARE=[WHITENOISE]):
            django = WSGIHandler()
            self.assertEqual(len(StaticFiles(lambda *given: django(*given))), 0)

    def test_an_asgi_application_of_the_whole_site(self) -> None:
        router = SimpleNamespace(application_mapping={"http": ASGIHandler()})
        other = SimpleNamespace(application_mapping={"http": lambda scope, receive, send: None})
        with override_settings(MIDDLEWARE=[WHITENOISE]):
            for asgi, has_files in (
                (ASGIHandler(), True),
                (router, True),
                (other, False),
                (lambda scope, receive, send: None, False),
            ):
                self.assertEqual(len(StaticFiles(WSGIHandler(), asgi)) > 0, has_files)


class MiddlewareTests(WebTestCase):
    """The headers of the middleware before WhiteNoise."""

    def serve(self, **options: Any) -> None:
        with override_settings(MIDDLEWARE=[SECURITY, WHITENOISE], **options):
            self.site.on_static_file = StaticFiles(WSGIHandler()).take

    def get(self, *lines: bytes) -> bytes:
        head = (b"GET /static/c10k/c10k.mjs HTTP/1.1", b"Host: a", *lines, b"", b"")
        return self.ask(b"\r\n".join(head))

    def test_they_are_added(self) -> None:
        self.serve(SECURE_HSTS_SECONDS=60)
        answer = self.get()
        self.assertIn(b"\r\nX-Content-Type-Options: nosniff\r\n", answer)
        self.assertNotIn(b"Strict-Transport-Security", answer)
        self.patch(self.site, "requestFactory", self.secure)
        self.assertIn(b"\r\nStrict-Transport-Security: max-age=60\r\n", self.get())

    def secure(self, *args: Any, **kwargs: Any) -> Any:
        request = self.site._make_request(*args, **kwargs)
        request._forceSSL = 1
        return request

    def test_the_header_of_a_proxy(self) -> None:
        self.serve(
            SECURE_HSTS_SECONDS=60, SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")
        )
        for value, is_secure in ((b"https", True), (b"http", False), (b"https, http", True)):
            answer = self.get(b"X-Forwarded-Proto: " + value)
            self.assertEqual(b"Strict-Transport-Security" in answer, is_secure, value)

    def test_django_redirects_to_https(self) -> None:
        self.serve(SECURE_SSL_REDIRECT=True)
        self.get()
        self.assertEqual(self.environ["PATH_INFO"], "/static/c10k/c10k.mjs")
